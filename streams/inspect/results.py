"""Results in PostgreSQL."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import asyncpg

from streams.adapters.postgres.connection import migrated, translated
from streams.core.keys import ELECTION_PREFIX, is_contest_name
from streams.errors import ScrutinError
from streams.inspect.contests import Closing, fetch_finals


@dataclass(frozen=True)
class ResultTotals:
    """One contest's votes."""

    contest: str
    """A law's id, or `election:` followed by an election's id."""
    is_law: bool
    choices: tuple[tuple[str, int], ...]
    """(choice, votes): `oui` and `non` for laws, else by descending votes."""
    updated: datetime | None
    """Last change; None for a contest without votes."""
    closing: Closing | None = None
    """Proof of completeness, once the contest was closed."""
    ranked: bool = False
    """Whether votes are rankings, which count for their first candidate here: this is no result."""

    @property
    def total(self) -> int:
        """All votes."""
        return sum(votes for _, votes in self.choices)

    def as_dict(self) -> dict[str, Any]:
        """For JSON; a law with the column names of `vote_results`."""
        updated = self.updated.isoformat() if self.updated else None
        final = {"final": self.closing.as_dict()} if self.closing else {}
        if self.is_law:
            votes = dict(self.choices)
            return {
                **final,
                "law_id": self.contest,
                "oui_count": votes["oui"],
                "non_count": votes["non"],
                "total_votes": self.total,
                "updated_at": updated,
            }
        return {
            **final,
            **({"ranked": True} if self.ranked else {}),
            "contest_id": self.contest,
            "choices": dict(self.choices),
            "total_votes": self.total,
            "updated_at": updated,
        }


def share(votes: int, total: int) -> float:
    """Percentage; 0 if the total is 0."""
    return 100 * votes / total if total else 0.0


def empty(contest: str) -> ResultTotals:
    """A contest without votes."""
    if contest.startswith(ELECTION_PREFIX):
        return ResultTotals(contest, False, (), None)
    return ResultTotals(contest, True, (("oui", 0), ("non", 0)), None)


def select(tallies: list[ResultTotals], name: str) -> ResultTotals:
    """The tally of a law, or of an election by its id; an empty one if there are no votes."""
    return _found(tallies, name) or empty(name)


def _found(tallies: list[ResultTotals], name: str) -> ResultTotals | None:
    wanted = (name, f"{ELECTION_PREFIX}{name}")
    return next((t for each in wanted for t in tallies if t.contest == each), None)


async def require_known(
    connection: asyncpg.Connection, tallies: list[ResultTotals], name: str
) -> None:
    """Tell a contest without votes from one that does not exist.

    Args:
        connection: to the database.
        tallies: of :func:`fetch_results`.
        name: a law or another contest, or an election by its id.

    Raises:
        ScrutinError: nothing was announced under this name, and no vote is counted for it.
    """
    announced = "SELECT EXISTS (SELECT FROM contests WHERE contest_id = ANY($1::text[]))"
    if _found(tallies, name) is not None:
        return
    if is_contest_name(name) and await connection.fetchval(
        announced, [name, ELECTION_PREFIX + name]
    ):
        return
    raise ScrutinError(
        "There is no such contest: it was not announced, and no vote is counted for it",
        where={"contest": name},
        todo="See `scrutin results`, and `scrutin contest list --all`",
    )


async def fetch_results(
    connection: asyncpg.Connection, where: dict[str, object] | None = None
) -> list[ResultTotals]:
    """All laws by id, then all other contests, from one snapshot.

    Args:
        connection: to the database.
        where: its location, for error messages.

    Raises:
        ScrutinError: the database was not migrated.
        ServiceUnavailable: the database does not answer.
    """
    async with translated(where or {}):
        with migrated("result tables", where):
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                laws = await connection.fetch(
                    "SELECT law_id, oui_count, non_count, updated_at FROM vote_results"
                    " ORDER BY law_id"
                )
                # A ranking is shown as a vote for its first candidate, a hidden one without name.
                others = await connection.fetch(
                    "SELECT contest_id, CASE WHEN contest_id IN"
                    " (SELECT h.contest_id FROM hidden_contests AS h) THEN ''"
                    " ELSE split_part(choice, '>', 1) END AS choice,"
                    " sum(votes)::bigint AS votes, max(updated_at) AS updated_at,"
                    " bool_or(strpos(choice, '>') > 0) AS ranked"
                    " FROM contest_results GROUP BY 1, 2 ORDER BY 1, 3 DESC, 2"
                )
                closings = await fetch_finals(connection)
    tallies = [
        ResultTotals(
            row["law_id"],
            True,
            (("oui", row["oui_count"]), ("non", row["non_count"])),
            row["updated_at"],
            closings.get(row["law_id"]),
        )
        for row in laws
    ]
    counted = {tally.contest for tally in tallies}
    grouped: dict[str, list[asyncpg.Record]] = {}
    for row in others:
        if row["contest_id"] not in counted:
            grouped.setdefault(row["contest_id"], []).append(row)
    for contest, rows in grouped.items():
        choices = tuple((row["choice"], row["votes"]) for row in rows)
        updated = max(row["updated_at"] for row in rows)
        ranked = any(row["ranked"] for row in rows)
        tallies.append(
            ResultTotals(contest, False, choices, updated, closings.get(contest), ranked)
        )
    counted = {tally.contest for tally in tallies}
    # A contest that closed without a vote has a result too.
    return tallies + [
        replace(empty(contest), closing=closing)
        for contest, closing in sorted(closings.items())
        if contest not in counted
    ]
