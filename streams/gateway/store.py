"""What the gateway reads from PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import asyncpg
import msgspec

from schemas.verdicts import Reason, Status
from streams.adapters.postgres.connection import Pooled, translated
from streams.adapters.postgres.statements import POLL_TEXTS
from streams.core.rows import moment
from streams.errors import ServiceUnavailable
from streams.gateway.batch_lookup import Lookups
from streams.gateway.contest_feed import ContestStanding
from streams.intake.receipts import Submission
from streams.settings.configs import PostgresConfig

MAX_POINTS: Final = 500
"""Most points of a timeline."""

VOTE_TIMEOUT_S: Final = 10.0
"""Of a statement that a vote waits for."""
READ_TIMEOUT_S: Final = 20.0
"""Of any other statement."""
READ_CONNECTIONS: Final = 4
LIVE_TIMEOUT_S: Final = 5.0
"""Of a statement that watchers wait for."""
LIVE_CONNECTIONS: Final = 2
ACQUIRE_TIMEOUT_S: Final = 5.0
"""Longest wait for a connection; then the answer is 503."""

COUNTED: Final = """
SELECT 1 FROM vote_audit WHERE vote_hash = $1 AND "timestamp" = $2
"""
REPLACED: Final = """
SELECT 1 FROM rejected_votes WHERE vote_hash = $1 AND "timestamp" = $2 AND status = 'replaced'
"""
VOTERS: Final = """
SELECT vote_hash FROM vote_audit WHERE vote_hash = ANY($1::text[])
"""
REJECTED: Final = """
SELECT status, reason, attempt_count FROM rejected_votes WHERE identity = $1 ORDER BY id LIMIT 1
"""
LAWS: Final = """
SELECT law_id, oui_count, non_count, total_votes, updated_at FROM vote_results
WHERE $1::text IS NULL OR law_id = $1 ORDER BY law_id
"""
TOTALS: Final = """
SELECT contest_id,
    CASE WHEN contest_id IN (SELECT h.contest_id FROM hidden_contests AS h) THEN ''
        ELSE split_part(choice, '>', 1) END AS choice,
    sum(votes)::bigint AS votes
FROM contest_results WHERE contest_id = ANY($1::text[]) GROUP BY 1, 2
"""
"""A ranking counts for its first candidate here, and a hidden vote for the empty name."""
SPAN: Final = """
SELECT min(window_start) AS first, max(window_start) AS last FROM vote_windows
WHERE contest = $1 AND ($2::timestamptz IS NULL OR window_start >= $2)
"""
TIMELINE: Final = """
SELECT date_bin($3::interval, window_start, '2000-01-01T00:00:00Z') AS starts,
    CASE WHEN contest IN (SELECT contest_id FROM hidden_contests) THEN '' ELSE choice END AS choice,
    sum(votes)::bigint AS votes
FROM vote_windows
WHERE contest = $1 AND ($2::timestamptz IS NULL OR window_start >= $2)
GROUP BY 1, 2 ORDER BY 1, 2
"""

ELECTIONS: Final = """
SELECT id, election_code, election_name, election_type, election_date, status
FROM elections ORDER BY election_date DESC, id
"""
REGIONS: Final = """
SELECT id, region_code, region_name, description FROM regions ORDER BY region_name, id
"""
CANDIDATES: Final = """
SELECT c.id, c.first_name, c.last_name, p.party_code, p.party_name, p.party_color, c.bio,
    c.photo_url
FROM candidates AS c LEFT JOIN political_parties AS p ON p.id = c.party_id
WHERE c.election_id = $1 AND (c.region_id = $2 OR c.region_id IS NULL)
ORDER BY c.last_name, c.first_name, c.id
"""

CONTESTS: Final = """
SELECT contest_id AS contest FROM contests WHERE state <> 'archived'
UNION SELECT r.contest_id FROM contest_results AS r
WHERE NOT EXISTS (
    SELECT 1 FROM contests AS c WHERE c.contest_id = r.contest_id AND c.state = 'archived'
)
ORDER BY 1 LIMIT 10000
"""
STANDINGS: Final = """
SELECT c.contest_id,
    CASE WHEN c.state IN ('closed', 'archived') AND NOT coalesce(f.enforced, false)
        THEN 'not_enforced' ELSE c.state END AS state,
    coalesce(f.final, false) AS final, c.closes_at
FROM contests AS c LEFT JOIN contest_finals AS f USING (contest_id)
WHERE c.contest_id = ANY($1::text[])
"""

WINDOW: Final = """
SELECT c.state, coalesce(k.enforced, false) OR c.kind = 'poll' AS enforced
FROM contests AS c LEFT JOIN control_commands AS k ON k.command_id = c.command_id
WHERE c.contest_id = $1
"""

MAY_REVOTE: Final = """
SELECT 1 FROM contests WHERE contest_id = $1 AND (conduct ->> 'revote')::boolean
"""

STEPS_S: Final = (1, 5, 10, 30, 60, 300, 900, 3600, 21_600, 86_400, 604_800, 2_592_000)


class VoteStatus(msgspec.Struct):
    """Whether a vote was counted."""

    status: str
    """`pending`, `counted`, `replaced`, `duplicate` or `invalid`."""
    reason: str | None = None
    """Why it was not counted."""
    attempt: int | None = None
    """Of a duplicate: its number among the attempts after the counted vote."""


class LawResult(msgspec.Struct):
    """Totals of a law."""

    law_id: str
    oui_count: int
    non_count: int
    total_votes: int
    updated_at: datetime
    """Without votes: when the law was announced or last changed."""


class TimelinePoint(msgspec.Struct):
    """One step of a timeline."""

    starts: datetime
    votes: dict[str, int]
    """Choice -> votes counted in it."""


class Timeline(msgspec.Struct):
    """Votes over time, by the time when the bridge received them."""

    contest: str
    step_s: int
    """Width of every step in seconds."""
    points: list[TimelinePoint]
    """Steps with votes, in order."""


def fate_of(status: str, reason: str, attempt: int) -> VoteStatus:
    """The status of a vote that was not counted; voters see a malformed one as invalid."""
    if status == "duplicate":
        return VoteStatus(status, reason, attempt)
    return VoteStatus("invalid", reason)


def step_for(span_s: float) -> int:
    """The finest step in seconds that shows a span in at most :data:`MAX_POINTS` points."""
    return next((step for step in STEPS_S if span_s / step < MAX_POINTS), STEPS_S[-1])


class Store(Pooled):
    """Reads the result database. Enter it to connect.

    Args:
        config: where the database is.
        name: of this process, as PostgreSQL shows it.
        statement_timeout_s: after which PostgreSQL cancels a statement.
    """

    def __init__(
        self, config: PostgresConfig, name: str, *, statement_timeout_s: float = VOTE_TIMEOUT_S
    ) -> None:
        super().__init__(
            config,
            f"scrutin-gateway {name}",
            statement_timeout_s=statement_timeout_s,
            acquire_timeout_s=ACQUIRE_TIMEOUT_S,
        )
        self._voters = Lookups(self._counted)

    async def fetch(self, query: str, *arguments: object) -> list[Any]:
        """Rows of one query.

        Raises:
            ServiceUnavailable: the database does not answer.
        """
        async with translated(self._where):
            try:
                async with self.connections.acquire(timeout=self._acquire_timeout_s) as connection:
                    rows: list[Any] = await connection.fetch(query, *arguments)
            except asyncpg.UndefinedTableError as error:
                raise ServiceUnavailable(
                    "The database has not all tables yet",
                    where=self._where,
                    todo="Start a worker, or run `scrutin migrate`",
                ) from error
            return rows

    async def ping(self) -> None:
        """Check that the database answers.

        Raises:
            ServiceUnavailable: the database does not answer.
        """
        await self.fetch("SELECT 1")

    async def counted(self, stored_hash: str) -> bool:
        """Whether a voter's vote is counted."""
        return await self._voters.has(stored_hash)

    async def _counted(self, stored_hashes: list[str]) -> list[str]:
        return [row["vote_hash"] for row in await self.fetch(VOTERS, stored_hashes)]

    async def fate(self, submission: Submission) -> VoteStatus:
        """Whether a vote was counted, as far as the database knows."""
        at = moment(submission.timestamp_us)
        if await self.fetch(COUNTED, submission.stored_hash, at):
            return VoteStatus("counted")
        if await self.fetch(REPLACED, submission.stored_hash, at):
            return VoteStatus(Status.REPLACED, Reason.REVOTED)
        for row in await self.fetch(REJECTED, submission.identity):
            return fate_of(row["status"], row["reason"], row["attempt_count"])
        return VoteStatus("pending")

    async def laws(self, law_id: str | None = None) -> list[LawResult]:
        """Totals of all laws with votes, or of one law."""
        return [LawResult(*row) for row in await self.fetch(LAWS, law_id)]

    async def totals(self, contests: Sequence[str]) -> dict[str, dict[str, int]]:
        """Contest -> choice -> votes; contests without votes are left out."""
        found: dict[str, dict[str, int]] = {}
        for row in await self.fetch(TOTALS, list(contests)):
            found.setdefault(row["contest_id"], {})[row["choice"]] = row["votes"]
        return found

    async def contests(self) -> list[str]:
        """Ids of contests that have votes or were announced, except archived ones."""
        return [row["contest"] for row in await self.fetch(CONTESTS)]

    async def announced(self, contest: str) -> datetime | None:
        """When a contest was announced or last changed; None if it was not announced."""
        for row in await self.fetch(
            "SELECT updated_at FROM contests WHERE contest_id = $1", contest
        ):
            changed: datetime = row["updated_at"]
            return changed
        return None

    async def window(self, contest: str) -> tuple[str, bool] | None:
        """State of an announced contest, and whether it applies to votes."""
        for row in await self.fetch(WINDOW, contest):
            return row["state"], row["enforced"]
        return None

    async def may_revote(self, contest: str) -> bool:
        """Whether the last vote of a voter counts in a contest."""
        return bool(await self.fetch(MAY_REVOTE, contest))

    async def elections(self) -> list[dict[str, object]]:
        """All elections; none while their tables do not exist."""
        return await self._listed(ELECTIONS)

    async def regions(self) -> list[dict[str, object]]:
        """All regions; none while their tables do not exist."""
        return await self._listed(REGIONS)

    async def candidates(self, election_id: int, region_id: int) -> list[dict[str, object]]:
        """Candidates of a region in an election."""
        return await self._listed(CANDIDATES, election_id, region_id)

    async def _listed(self, query: str, *arguments: object) -> list[dict[str, object]]:
        async with translated(self._where):
            try:
                async with self.connections.acquire(timeout=self._acquire_timeout_s) as connection:
                    return [dict(row) for row in await connection.fetch(query, *arguments)]
            except asyncpg.UndefinedTableError:
                return []

    async def standings(
        self, contests: Sequence[str]
    ) -> dict[str, tuple[dict[str, int], ContestStanding]]:
        """Totals and state of contests; unknown contests have neither."""
        names = list(contests)
        totals, states = await self.totals(names), await self.fetch(STANDINGS, names)
        standing = {row["contest_id"]: _standing(row) for row in states}
        return {
            name: (totals.get(name, {}), standing.get(name, ContestStanding())) for name in names
        }

    async def poll_texts(self, poll_id: int) -> tuple[str, dict[int, str]] | None:
        """Title and options of a poll."""
        for row in await self.fetch(POLL_TEXTS, poll_id):
            return row["title"], dict(zip(row["numbers"], row["options"], strict=True))
        return None

    async def timeline(
        self, contest: str, *, since: datetime | None, step_s: int | None
    ) -> Timeline:
        """Votes over time.

        Args:
            contest: its id.
            since: leave out earlier votes.
            step_s: width of a step; wider if there would be too many steps.
        """
        [span] = await self.fetch(SPAN, contest, since)
        if span["first"] is None:
            return Timeline(contest, step_s or STEPS_S[0], [])
        needed_s = step_for((span["last"] - span["first"]).total_seconds())
        width_s = max(needed_s, step_s or 0)
        points: dict[datetime, TimelinePoint] = {}
        rows = await self.fetch(TIMELINE, contest, since, _seconds(width_s))
        for row in rows:
            point = points.setdefault(row["starts"], TimelinePoint(row["starts"], {}))
            point.votes[row["choice"]] = row["votes"]
        return Timeline(contest, width_s, list(points.values()))


def _standing(row: Any) -> ContestStanding:
    closes = row["closes_at"]
    return ContestStanding(row["state"], row["final"], closes.isoformat() if closes else None)


def _seconds(seconds: int) -> Any:
    return moment(seconds * 1_000_000) - moment(0)
