"""Elections in PostgreSQL: definitions, ballots and counts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import astuple, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import asyncpg
import msgspec

from schemas.control import Conduct, RankedRules
from streams.adapters.postgres.connection import migrated, translated
from streams.core.rows import moment
from streams.elections.definitions import (
    CandidateDefinition,
    Definitions,
    ElectionDefinition,
    PartyDefinition,
    Region,
)
from streams.elections.results import ElectionResult, Seat, result_of
from streams.elections.rounds import Count, Round
from streams.errors import ScrutinError

READ_ELECTIONS: Final = """
SELECT e.id, election_code, election_name, election_type, election_date, e.status, voting_method,
    e.description, (extract(epoch FROM starts_at) * 1000)::bigint,
    (extract(epoch FROM ends_at) * 1000)::bigint, coalesce(c.roll, 'default'), c.rules,
    c.conduct
FROM elections AS e LEFT JOIN contests AS c USING (contest_id) ORDER BY e.id
"""
READ_CANDIDATES: Final = """
SELECT id, election_id, region_id, party_id, first_name, last_name, bio, photo_url
FROM candidates ORDER BY id
"""

DIGEST_DEFINITIONS: Final = f"""
SELECT sum(hashtextextended(row, 0))::text FROM (
    SELECT 'party' || p::text AS row FROM political_parties AS p
    UNION ALL SELECT 'region' || r::text FROM regions AS r
    UNION ALL SELECT 'election' || e::text FROM ({READ_ELECTIONS}) AS e
    UNION ALL SELECT 'candidate' || c::text FROM candidates AS c
) AS definitions
"""  # noqa: S608 - constants

BALLOTS_BY_CHOICE: Final = """
SELECT choice, NULL::text, votes FROM contest_results WHERE contest_id = $1 AND votes <> 0
"""
BALLOTS_BY_REGION: Final = """
SELECT choice, metadata ->> 'region_id', sum(weight)::bigint FROM vote_audit
WHERE contest = $1 GROUP BY 1, 2
"""
DIFFERENT_TOTALS: Final = """
SELECT count(*) FROM (
    SELECT choice, sum(weight)::bigint AS votes FROM vote_audit WHERE contest = $1 GROUP BY 1
) AS a FULL JOIN (
    SELECT choice, votes FROM contest_results WHERE contest_id = $1 AND votes <> 0
) AS r USING (choice)
WHERE a.votes IS DISTINCT FROM r.votes
"""

UPDATED: Final = """
SELECT coalesce(
    (SELECT max(updated_at) FROM contest_results WHERE contest_id = $1),
    (SELECT updated_at FROM contests WHERE contest_id = $1),
    now()
) AS at
"""
"""Without votes: when the contest was announced or last changed."""

READ_STATE: Final = """
SELECT EXISTS (SELECT 1 FROM hidden_contests WHERE contest_id = $1),
    coalesce((SELECT final FROM contest_finals WHERE contest_id = $1), false)
"""

WRITE_COUNT: Final = """
INSERT INTO election_counts (election_id, region_id, method, ballots, uncountable, elected, tied,
    final, blank, outcome, lot_between, seats, all_elected, lists, awards, tied_seats)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14::text::jsonb,
    $15::text::jsonb, $16)
"""
WRITE_ROUND: Final = """
INSERT INTO election_rounds (election_id, region_id, round, active, exhausted, eliminations,
    elected, tied, tie_round, inactive, all_elected, quota, surplus_of, keep_factors)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::text::jsonb, $11, $12, $13, $14::text::jsonb)
"""
WRITE_VOTES: Final = """
INSERT INTO election_round_votes (election_id, region_id, round, candidate_id, votes, transferred)
VALUES ($1, $2, $3, $4, $5, $6)
"""


WRITE_MAP: Final = """
INSERT INTO election_maps AS m (contest_id, digest, document) VALUES ($1, $2, $3)
ON CONFLICT (contest_id) DO UPDATE SET (digest, document) = ($2, $3) WHERE m.digest <> $2
"""
READ_MAP: Final = "SELECT digest, document FROM election_maps WHERE contest_id = $1"
REMOVE_MAP: Final = "DELETE FROM election_maps WHERE contest_id = $1"


async def read_definitions(connection: asyncpg.Connection) -> Definitions:
    """Read all definitions of elections.

    Raises:
        ScrutinError: the database is not migrated.
        ServiceUnavailable: the database does not answer.
    """
    async with translated({"table": "elections"}):
        with migrated("tables for elections", {"table": "elections"}):
            parties = await connection.fetch(
                "SELECT id, party_code, party_name, party_color FROM political_parties"
            )
            regions = await connection.fetch(
                "SELECT id, region_code, region_name, description FROM regions"
            )
            elections = await connection.fetch(READ_ELECTIONS)
            candidates = await connection.fetch(READ_CANDIDATES)
    return Definitions(
        {row[0]: PartyDefinition(*row) for row in parties},
        {row[0]: Region(*row) for row in regions},
        {row[0]: ElectionDefinition(*_decoded(row)) for row in elections},
        {row[0]: CandidateDefinition(*row) for row in candidates},
    )


async def digest_definitions(connection: asyncpg.Connection) -> str | None:
    """What is another one for other definitions; costs less than :func:`read_definitions`.

    Raises:
        ScrutinError: the database is not migrated.
        ServiceUnavailable: the database does not answer.
    """
    async with translated({"table": "elections"}):
        with migrated("tables for elections", {"table": "elections"}):
            digest: str | None = await connection.fetchval(DIGEST_DEFINITIONS)
    return digest


async def write_definitions(connection: asyncpg.Connection, new: Definitions) -> None:
    """Write definitions within the caller's transaction.

    If `new` has candidates of an election, they replace all its candidates.
    """
    await connection.executemany(
        _upsert("political_parties", "party_code, party_name, party_color"),
        [astuple(party) for party in new.parties.values()],
    )
    await connection.executemany(
        _upsert("regions", "region_code, region_name, description"),
        [astuple(region) for region in new.regions.values()],
    )
    await connection.executemany(
        _upsert(
            "elections",
            "election_code, election_name, election_type, election_date, status, voting_method,"
            " description, starts_at, ends_at",
        ),
        [
            (
                *(e.id, e.code, e.name, e.type, e.date, e.status, e.method, e.description),
                *(_at(e.starts_ms), _at(e.ends_ms)),
            )
            for e in new.elections.values()
        ],
    )
    replaced = sorted({candidate.election_id for candidate in new.candidates.values()})
    await connection.execute("DELETE FROM candidates WHERE election_id = ANY($1)", replaced)
    await connection.executemany(
        "INSERT INTO candidates (id, election_id, region_id, party_id, first_name, last_name, bio,"
        " photo_url) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        [astuple(candidate) for candidate in new.candidates.values()],
    )


def _upsert(table: str, columns: str) -> str:
    """Writes a row by its id; `columns` are the others, in order."""
    values = ", ".join(f"${number}" for number in range(2, columns.count(",") + 3))
    return (
        f"INSERT INTO {table} (id, {columns}) VALUES ($1, {values})"  # noqa: S608 - constants
        f" ON CONFLICT (id) DO UPDATE SET ({columns}) = ({values})"
    )


async def read_result(
    connection: asyncpg.Connection,
    definitions: Definitions,
    election: ElectionDefinition,
    before: ElectionResult | None = None,
) -> ElectionResult:
    """An election's result from the current totals.

    If candidates have no region, the audit table supplies the region of each voter.

    Args:
        connection: to a migrated database.
        definitions: of all elections.
        election: to count.
        before: an earlier count of it; what did not change is not counted again.
    """
    standing = definitions.standing(election.id)
    nationwide = bool(standing) and standing[0].region_id is None
    query = BALLOTS_BY_REGION if nationwide else BALLOTS_BY_CHOICE
    return await _result(connection, definitions, election, query, before)


async def read_report(
    connection: asyncpg.Connection, election_id: int
) -> tuple[ElectionResult, datetime] | None:
    """An election's result, and since when it is so, as of one moment; None: there is none.

    Everybody who reads the same state of the database gets the same.
    """
    async with (
        translated({"table": "contest_results"}),
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        definitions = await read_definitions(connection)
        election = definitions.elections.get(election_id)
        if election is None:
            return None
        result = await read_result(connection, definitions, election)
        return result, await connection.fetchval(UPDATED, election.contest)


async def write_map(connection: asyncpg.Connection, contest: str, document: bytes | None) -> bool:
    """Keep the map of an election's regions, within the caller's transaction.

    Args:
        connection: to a migrated database.
        contest: of the election.
        document: a :class:`~streams.elections.maps.geojson.RegionMap`; None: it gets none.

    Returns:
        Whether anything changed.
    """
    with migrated("table of maps", {"table": "election_maps"}):
        if document is None:
            done = await connection.execute(REMOVE_MAP, contest)
        else:
            digest = hashlib.sha256(document).hexdigest()
            done = await connection.execute(WRITE_MAP, contest, digest, document)
    return not done.endswith(" 0")


async def count(connection: asyncpg.Connection, election_id: int) -> ElectionResult:
    """Count an election from its audit rows and store every round.

    Raises:
        ScrutinError: there is no such election, it is hidden, or totals and audit rows differ.
        ServiceUnavailable: the database does not answer.
    """
    async with (
        translated({"table": "vote_audit"}),
        connection.transaction(isolation="repeatable_read"),
    ):
        definitions = await read_definitions(connection)
        election = named(definitions, str(election_id))
        if different := await connection.fetchval(DIFFERENT_TOTALS, election.contest):
            raise ScrutinError(
                f"{different} totals differ from the sums of the audit rows",
                where={"contest": election.contest, "table": "contest_results"},
                todo="Nothing was counted; see `scrutin rebuild postgres --dry-run`",
            )
        result = await _result(connection, definitions, election, BALLOTS_BY_REGION)
        if result.hidden is not None:
            raise ScrutinError(
                "Nothing of this election is shown before its closing is final",
                where={"contest": election.contest},
                todo="Close it, and see `scrutin contest show` for the proof",
            )
        await _save(connection, result)
    return result


def named(definitions: Definitions, name: str) -> ElectionDefinition:
    """An election by its id, code or contest.

    Raises:
        ScrutinError: there is no such election.
    """
    found = find(definitions, name)
    if found is None:
        raise ScrutinError(
            "There is no such election",
            where={"election": name},
            todo="See `scrutin election list`",
        )
    return found


def find(definitions: Definitions, name: str) -> ElectionDefinition | None:
    """Like :func:`named`; None if there is no such election."""
    for election in definitions.elections.values():
        if name in {str(election.id), election.code, election.contest}:
            return election
    return None


async def _result(
    connection: asyncpg.Connection,
    definitions: Definitions,
    election: ElectionDefinition,
    query: str,
    before: ElectionResult | None = None,
) -> ElectionResult:
    async with translated({"contest": election.contest}):
        # A final result does not change any more, so it is asked before the votes are read.
        [(hidden, final)] = await connection.fetch(READ_STATE, election.contest)
        rows = await connection.fetch(query, election.contest)
    ballots = [(row[0], row[1], row[2]) for row in rows]
    if hidden:
        nothing = result_of(definitions, election, [])
        return replace(nothing, hidden=sum(number for _, _, number in ballots))
    return replace(result_of(definitions, election, ballots, before), final=final)


async def _save(connection: asyncpg.Connection, result: ElectionResult) -> None:
    election_id = result.election.id
    for table in ("election_counts", "election_rounds", "election_round_votes"):
        await connection.execute(
            f"DELETE FROM {table} WHERE election_id = $1",  # noqa: S608 - the name is a constant
            election_id,
        )
    for seat in result.seats:
        region_id = seat.place
        counted = seat.count
        await connection.execute(
            WRITE_COUNT,
            election_id,
            region_id,
            result.election.method,
            seat.ballots,
            counted.uncountable,
            _number(counted.elected) if result.decided else None,
            _numbers(counted.tied),
            result.final,
            counted.blank,
            result.outcome(seat),
            _numbers(counted.awaits),
            counted.seats,
            _numbers(counted.winners) if result.decided else [],
            *_texts(result.lists(seat), result.awards(seat)),
            counted.tied_seats,
        )
        await _save_rounds(connection, result, seat, region_id)


async def _save_rounds(
    connection: asyncpg.Connection, result: ElectionResult, seat: Seat, region_id: int
) -> None:
    counted, election_id = seat.count, result.election.id
    rounds = counted.rounds

    await connection.executemany(
        WRITE_ROUND,
        [(election_id, region_id, *_round(one, counted, decided=result.decided)) for one in rounds],
    )
    await connection.executemany(
        WRITE_VOTES,
        [
            (
                *(election_id, region_id, one.number, int(name), _votes(counted, votes)),
                _votes(counted, dict(one.transfers).get(name, 0)),
            )
            for one in rounds
            for name, votes in one.votes
        ],
    )


def _decoded(row: asyncpg.Record) -> list[Any]:
    *fields, rules, conduct = row
    return [
        *fields,
        None if rules is None else msgspec.json.decode(rules, type=RankedRules),
        Conduct() if conduct is None else msgspec.json.decode(conduct, type=Conduct),
    ]


def _round(one: Round, count: Count, *, decided: bool) -> tuple[Any, ...]:
    tie, transfer = one.tie, one.transfer
    inactive = {reason: count.number(n) for reason, n in one.inactive if n}
    kept = {} if transfer is None else {n: count.number(k) for n, k in transfer.keep_factors}
    inactive_text, kept_text = _texts(inactive, kept)
    return (
        one.number,
        _votes(count, one.active),
        _votes(count, one.exhausted),
        _numbers(one.eliminated),
        _number(one.elected) if decided else None,
        _numbers(tie.candidates if tie else ()),
        tie.round if tie else None,
        inactive_text,
        _numbers(one.winners) if decided else [],
        None if transfer is None else _votes(count, transfer.quota),
        None if transfer is None else _number(transfer.surplus_of),
        kept_text,
    )


def _votes(count: Count, number: int) -> Decimal:
    return Decimal(number).scaleb(-count.places)


def _texts(*values: Any) -> list[str]:
    return [msgspec.json.encode(value).decode() for value in values]


def _number(name: str | None) -> int | None:
    return None if name is None else int(name)


def _numbers(names: Sequence[str]) -> list[int]:
    return [int(name) for name in names]


def _at(ms: int | None) -> datetime | None:
    return None if ms is None else moment(ms * 1000)
