"""Reads the result of any contest from PostgreSQL, all of it as of one moment."""

from __future__ import annotations

from typing import Final, NamedTuple

import asyncpg
import msgspec

from streams.adapters.postgres.connection import migrated, translated
from streams.adapters.postgres.statements import POLL_TEXTS
from streams.core.polls import POLL_PREFIX, is_number
from streams.elections.contest_making import (
    ContestFacts,
    Moment,
    result_of_election,
    result_of_totals,
)
from streams.elections.contest_result import (
    ContestPhase,
    ContestResult,
    ContestSummary,
    LogPosition,
    NotCounted,
    phase_of,
)
from streams.elections.definitions import Definitions
from streams.elections.results import ElectionResult
from streams.elections.store import find, read_result

READ_CONTEST: Final = """
SELECT c.kind, c.title, c.state, c.choices, c.opens_at, c.closes_at, c.updated_at,
    EXISTS (SELECT 1 FROM hidden_contests AS h WHERE h.contest_id = c.contest_id) AS hidden,
    (SELECT m.digest FROM election_maps AS m WHERE m.contest_id = c.contest_id) AS map,
    to_jsonb(f) - ARRAY['contest_id', 'command_id'] AS proof
FROM contests AS c LEFT JOIN contest_finals AS f USING (contest_id)
WHERE c.contest_id = $1
"""
LAST_CHANGE: Final = "SELECT max(updated_at) FROM contest_results WHERE contest_id = $1"
READ_TOTALS: Final = """
SELECT split_part(choice, '>', 1), sum(votes)::bigint, max(updated_at)
FROM contest_results WHERE contest_id = $1 GROUP BY 1
"""
READ_NOT_COUNTED: Final = """
SELECT status, count(*) FROM rejected_votes
WHERE contest = $1 AND status IN ('duplicate', 'invalid', 'replaced') GROUP BY 1
"""
LIST_CONTESTS: Final = """
SELECT c.contest_id, c.kind, c.title, c.state, c.opens_at, c.closes_at,
    to_jsonb(f) - ARRAY['contest_id', 'command_id'] AS proof, (
        SELECT coalesce(sum(r.votes), 0)::bigint FROM contest_results AS r
        WHERE r.contest_id = c.contest_id
    ) AS votes
FROM contests AS c LEFT JOIN contest_finals AS f USING (contest_id)
WHERE c.kind = $1 AND c.state <> 'archived'
ORDER BY c.state = 'open' DESC, c.closes_at DESC NULLS LAST, c.contest_id LIMIT $2
"""
READ_POSITION: Final = """
SELECT partition, source_offset FROM sink_offsets ORDER BY partition
"""


class ContestReading(NamedTuple):
    """A result, and the count of an election from which it was made."""

    result: ContestResult
    counted: ElectionResult | None = None


async def read_contest(
    connection: asyncpg.Connection,
    contest: str,
    definitions: Definitions,
    before: ContestReading | None = None,
) -> ContestReading | None:
    """The result of a contest; None if it was not announced and has no votes.

    Args:
        connection: to a migrated database.
        contest: its id.
        definitions: of all elections.
        before: an earlier reading of it; what did not change is not counted again.

    Raises:
        ScrutinError: the database is not migrated.
        ServiceUnavailable: the database does not answer.
    """
    where: dict[str, object] = {"contest": contest}
    election = find(definitions, contest)
    if election is not None and election.contest != contest:
        election = None
    async with (
        translated(where),
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        with migrated("tables for contests", where):
            row = await connection.fetchrow(READ_CONTEST, contest)
            refused = await connection.fetch(READ_NOT_COUNTED, contest)
            if election is None:
                totals = await connection.fetch(READ_TOTALS, contest)
                changed = max((each[2] for each in totals), default=None)
            else:
                totals = []
                changed = await connection.fetchval(LAST_CHANGE, contest)
        if row is None and changed is None:
            return None
        position = [LogPosition(*each) for each in await connection.fetch(READ_POSITION)]
        moment = Moment(await connection.fetchval("SELECT now()"), position)
        facts = ContestFacts(contest) if row is None else _facts(contest, row)
        facts = msgspec.structs.replace(
            facts,
            not_counted=NotCounted(**{each[0]: each[1] for each in refused}),
            updated_at=changed or facts.updated_at,
        )
        if election is not None:
            last = before.counted if before else None
            found = await read_result(connection, definitions, election, last)
            known = None if before is None or last is None else (last, before.result)
            return ContestReading(result_of_election(facts, found, moment, known), found)
        names = await choice_names(connection, contest)
        votes = {each[0]: each[1] for each in totals}
        if facts.hidden:
            votes = {"": sum(votes.values())}
        facts = msgspec.structs.replace(facts, names=names)
        return ContestReading(result_of_totals(facts, votes, moment))


async def read_contest_result(
    connection: asyncpg.Connection, contest: str, definitions: Definitions
) -> ContestResult | None:
    """The result alone; see :func:`read_contest`."""
    read = await read_contest(connection, contest, definitions)
    return None if read is None else read.result


async def list_contests(
    connection: asyncpg.Connection, kind: str, limit: int
) -> list[ContestSummary]:
    """Announced contests of a kind, open ones first, then those that close or closed last.

    Args:
        connection: to a migrated database.
        kind: `law`, `election` or `poll`.
        limit: of contests.

    Raises:
        ScrutinError: the database is not migrated.
        ServiceUnavailable: the database does not answer.
    """
    where: dict[str, object] = {"kind": kind}
    async with translated(where):
        with migrated("tables for contests", where):
            rows = await connection.fetch(LIST_CONTESTS, kind, limit)
    return [_summary(row) for row in rows]


def _summary(row: asyncpg.Record) -> ContestSummary:
    proof = None if row["proof"] is None else msgspec.json.decode(row["proof"])
    phase = phase_of(row["state"], proof)
    closed = proof["closed_at"] if proof and phase is not ContestPhase.NOT_ENFORCED else None
    return ContestSummary(
        row["contest_id"],
        row["kind"],
        row["title"],
        phase,
        row["opens_at"],
        row["closes_at"],
        closed,
        row["votes"],
    )


def _facts(contest: str, row: asyncpg.Record) -> ContestFacts:
    proof = row["proof"]
    return ContestFacts(
        contest,
        kind=row["kind"],
        title=row["title"],
        state=row["state"],
        choices=None if row["choices"] is None else tuple(row["choices"]),
        opens_at=row["opens_at"],
        closes_at=row["closes_at"],
        updated_at=row["updated_at"],
        hidden=row["hidden"],
        map=row["map"],
        proof=None if proof is None else msgspec.json.decode(proof),
    )


async def choice_names(connection: asyncpg.Connection, contest: str) -> dict[str, str]:
    """Texts of the choices of a poll; none for other contests, whose choices say it."""
    number = contest.removeprefix(POLL_PREFIX)
    if number == contest or not is_number(number):
        return {}
    row = await connection.fetchrow(POLL_TEXTS, int(number))
    if row is None:
        return {}
    return {str(n): text for n, text in zip(row["numbers"], row["options"], strict=True)}
