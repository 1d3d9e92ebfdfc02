"""Reads the result of any contest from PostgreSQL, all of it as of one moment."""

from __future__ import annotations

from collections.abc import Sequence
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
from streams.elections.store import read_definitions, read_result

READ_CONTESTS: Final = """
SELECT c.contest_id, c.kind, c.title, c.state, c.choices, c.opens_at, c.closes_at, c.updated_at,
    EXISTS (SELECT 1 FROM hidden_contests AS h WHERE h.contest_id = c.contest_id) AS hidden,
    (SELECT m.digest FROM election_maps AS m WHERE m.contest_id = c.contest_id) AS map,
    to_jsonb(f) - ARRAY['contest_id', 'command_id'] AS proof
FROM contests AS c LEFT JOIN contest_finals AS f USING (contest_id)
WHERE c.contest_id = ANY ($1::text[])
"""
LAST_CHANGES: Final = """
SELECT contest_id, max(updated_at) FROM contest_results
WHERE contest_id = ANY ($1::text[]) GROUP BY 1
"""
READ_TOTALS: Final = """
SELECT contest_id, split_part(choice, '>', 1), sum(votes)::bigint
FROM contest_results WHERE contest_id = ANY ($1::text[]) GROUP BY 1, 2
"""
READ_NOT_COUNTED: Final = """
SELECT contest, status, sum(messages)::bigint FROM rejected_counts
WHERE contest = ANY ($1::text[]) AND status IN ('duplicate', 'invalid', 'replaced') GROUP BY 1, 2
"""
WITH_RESULTS: Final = """
SELECT contest_id FROM contest_results UNION SELECT contest_id FROM contest_finals ORDER BY 1
"""
CURRENT: Final = """
SELECT contest_id FROM (
    SELECT contest_id, state = 'open' AS is_open, closes_at FROM contests
    WHERE state IN ('open', 'closed')
    UNION ALL SELECT DISTINCT contest_id, true, NULL::timestamptz FROM contest_results AS r
    WHERE NOT EXISTS (SELECT FROM contests AS c WHERE c.contest_id = r.contest_id)
) AS found ORDER BY is_open DESC, closes_at DESC NULLS LAST, contest_id LIMIT $1
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
READ_MOMENT: Final = """
SELECT now(), array_agg(ARRAY[partition, source_offset] ORDER BY partition) FROM sink_offsets
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
    read = await read_contests(connection, [contest], definitions, before)
    return read[0] if read else None


async def contests_with_results(connection: asyncpg.Connection) -> list[str]:
    """Ids of the contests that have votes or were closed.

    Raises:
        ScrutinError: the database is not migrated.
        ServiceUnavailable: the database does not answer.
    """
    return await _ids(connection, WITH_RESULTS)


async def current_results(connection: asyncpg.Connection, limit: int) -> list[ContestResult]:
    """Results of the contests that are open, then of those that closed last.

    Raises:
        ScrutinError: the database is not migrated.
        ServiceUnavailable: the database does not answer.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        contests = await _ids(connection, CURRENT, limit)
        definitions = await read_definitions(connection)
        return [one.result for one in await read_contests(connection, contests, definitions)]


async def _ids(connection: asyncpg.Connection, query: str, *given: object) -> list[str]:
    async with translated({"table": "contest_results"}):
        with migrated("tables for contests", {"table": "contest_results"}):
            return [row[0] for row in await connection.fetch(query, *given)]


async def read_contests(
    connection: asyncpg.Connection,
    contests: Sequence[str],
    definitions: Definitions,
    before: ContestReading | None = None,
) -> list[ContestReading]:
    """The results of contests, in their order, as of one moment.

    Args:
        connection: to a migrated database.
        contests: their ids; those without announcement and votes are left out.
        definitions: of all elections.
        before: an earlier reading of the only one.

    Raises:
        ScrutinError: the database is not migrated.
        ServiceUnavailable: the database does not answer.
    """
    where: dict[str, object] = {"contest": ", ".join(contests[:3])}
    elections = {
        election.contest: election
        for election in definitions.elections.values()
        if election.contest in contests
    }
    async with (
        translated(where),
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        with migrated("tables for contests", where):
            rows = {row[0]: row for row in await connection.fetch(READ_CONTESTS, contests)}
            changes = {row[0]: row[1] for row in await connection.fetch(LAST_CHANGES, contests)}
            refused = await connection.fetch(READ_NOT_COUNTED, contests)
            plain = [contest for contest in contests if contest not in elections]
            totals = await connection.fetch(READ_TOTALS, plain) if plain else []
        [(now, offsets)] = await connection.fetch(READ_MOMENT)
        moment = Moment(now, [LogPosition(*each) for each in offsets or ()])
        not_counted: dict[str, dict[str, int]] = {}
        for contest, status, messages in refused:
            not_counted.setdefault(contest, {})[status] = messages
        votes: dict[str, dict[str, int]] = {}
        for contest, choice, number in totals:
            votes.setdefault(contest, {})[choice] = number
        found = []
        for contest in contests:
            if contest not in rows and contest not in changes:
                continue
            facts = _facts(contest, rows[contest]) if contest in rows else ContestFacts(contest)
            facts = msgspec.structs.replace(
                facts,
                not_counted=NotCounted(**not_counted.get(contest, {})),
                updated_at=changes.get(contest) or facts.updated_at,
            )
            if contest in elections:
                counted = before.counted if before else None
                count = await read_result(connection, definitions, elections[contest], counted)
                known = None if before is None or counted is None else (counted, before.result)
                result = result_of_election(facts, count, moment, known)
                found.append(ContestReading(result, count))
                continue
            own = votes.get(contest, {})
            facts = msgspec.structs.replace(facts, names=await choice_names(connection, contest))
            shown = {"": sum(own.values())} if facts.hidden else own
            found.append(ContestReading(result_of_totals(facts, shown, moment)))
        return found


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
