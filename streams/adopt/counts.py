"""Reads the totals of a count: of Scrutin, of a replaced system's database, or over HTTP."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

import aiohttp
import asyncpg

from schemas.control import ContestKind
from streams.adapters.postgres.connection import connected
from streams.adopt import moving
from streams.adopt.compare import SourceTotals
from streams.adopt.copying import LONG_S
from streams.adopt.dialects import COUNTED, TOTALS_OF, dialect
from streams.adopt.staging import columns
from streams.core.contests import kind_of
from streams.core.keys import ELECTION_PREFIX
from streams.core.polls import POLL_PREFIX
from streams.errors import ScrutinError, ServiceUnavailable, SettingsError
from streams.settings.configs import PostgresConfig

_TIMEOUT_S: Final = aiohttp.ClientTimeout(total=10.0)
_MAX_PAGES: Final = 500

_TOTALS: Final = """
SELECT contest_id, CASE WHEN contest_id IN (SELECT h.contest_id FROM hidden_contests AS h) THEN ''
    ELSE split_part(choice, '>', 1) END AS choice, sum(votes)::bigint AS votes,
    max(updated_at) AS updated
FROM contest_results GROUP BY 1, 2
"""
"""A ranking is compared as a vote for its first candidate, a hidden one without name."""

_BY_CHOICE: Final = """
SELECT contest, split_part(choice, '>', 1) AS choice, count(DISTINCT hash)::bigint AS votes,
       max(at) AS changed
FROM ({query}) AS v
WHERE coalesce(status, 'counted') = ANY($1) AND contest IS NOT NULL AND choice IS NOT NULL
GROUP BY 1, 2
"""


@dataclass(frozen=True)
class CountSource:
    """Where a count is read."""

    name: str
    """As given, without a password."""
    postgres: PostgresConfig | None = None
    schema: str = "public"
    url: str = ""
    """Of the HTTP API, if there is no database."""


@dataclass(frozen=True)
class Database:
    """A schema of a database."""

    name: str
    """As given, without a password."""
    postgres: PostgresConfig
    schema: str


def parse_source(given: str, ours: PostgresConfig) -> CountSource:
    """Parse `DATABASE[/SCHEMA]`, `postgresql://…` or `http[s]://…`.

    Args:
        given: the source; empty for Scrutin's own database.
        ours: Scrutin's database; what a source leaves out is taken from it.

    Raises:
        SettingsError: it is none of these.
    """
    if given.startswith(("http://", "https://")):
        return CountSource(given.rstrip("/"), url=given.rstrip("/"))
    found = parse_database(given, ours)
    return CountSource(found.name, found.postgres, found.schema)


def parse_database(given: str, ours: PostgresConfig) -> Database:
    """Parse `DATABASE[/SCHEMA]` or `postgresql://…`; as :func:`parse_source`."""
    if "://" not in given:
        database, _, schema = given.partition("/")
        config = replace(ours, database=database or ours.database)
        return Database(given or ours.database, config, schema or "public")
    url = urlsplit(given)
    if url.scheme not in {"postgresql", "postgres"} or not url.hostname:
        raise SettingsError(
            "Not a count that can be read",
            where={"scheme": url.scheme},
            todo="Give DATABASE, DATABASE/SCHEMA, postgresql://USER@HOST/DATABASE or http://HOST",
        )
    config = replace(
        ours,
        host=url.hostname,
        port=url.port or 5432,
        database=unquote(url.path.lstrip("/")) or ours.database,
        user=unquote(url.username) if url.username else ours.user,
        password=unquote(url.password) if url.password else ours.password,
    )
    schema = parse_qs(url.query).get("schema", ["public"])[0]
    return Database(f"{config.host}/{config.database}/{schema}", config, schema)


async def read_count(source: CountSource, default_election: str) -> SourceTotals:
    """Read the totals of a count.

    Args:
        source: where.
        default_election: election of candidate votes that name none.

    Raises:
        ScrutinError: there are no totals there.
        ServiceUnavailable: it does not answer.
    """
    if source.postgres is None:
        return await _over_http(source)
    async with (
        connected(source.postgres) as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        looked = await connection.fetchval("SELECT now()")
        if source.schema == "public" and await moving.is_ours(connection):
            return await _of_scrutin(connection, source, looked)
        return await _of_tables(connection, source, looked, default_election)


async def _of_scrutin(
    connection: asyncpg.Connection, source: CountSource, looked: datetime
) -> SourceTotals:
    rows = await connection.fetch(_TOTALS)
    return SourceTotals(
        source.name,
        {(row["contest_id"], row["choice"]): row["votes"] for row in rows},
        dict.fromkeys(ContestKind, "Scrutin's totals"),
        looked,
        max((row["updated"] for row in rows), default=None),
    )


async def _of_tables(
    connection: asyncpg.Connection, source: CountSource, looked: datetime, default_election: str
) -> SourceTotals:
    """Totals as the old system keeps them; without a table of totals, its rows counted."""
    tables = dialect(source.schema, await columns(connection, source.schema), default_election)
    totals: Counter[tuple[str, str]] = Counter()
    moments: list[datetime] = []
    read: dict[ContestKind, list[str]] = {}

    def take(rows: Sequence[Any], table: str, *, kinds: set[ContestKind]) -> None:
        for row in rows:
            if (kind := kind_of(row["contest"])) in kinds:
                totals[row["contest"], row["choice"]] += row["votes"]
                read.setdefault(kind, [])
                if table not in read[kind]:
                    read[kind].append(table)

    for table, query in tables.totals.items():
        take(await connection.fetch(query), table, kinds=set(ContestKind))
    for query in tables.changed.values():
        if (at := await connection.fetchval(query)) is not None:
            moments.append(at)
    for table, query in tables.votes.items():
        kinds = {kind for kind in ContestKind if TOTALS_OF.get((table, kind)) not in tables.totals}
        rows = await connection.fetch(_BY_CHOICE.format(query=query), COUNTED, timeout=LONG_S)
        take(rows, f"rows of {table}", kinds=kinds)
        moments += [row["changed"] for row in rows]
    # Before its first vote an old system has totals of the kinds that it has tables for: none.
    for kind, there in (
        (ContestKind.LAW, tables.laws),
        (ContestKind.ELECTION, tables.candidates),
        (ContestKind.POLL, tables.polls),
    ):
        if there:
            read.setdefault(kind, ["no rows yet"])
    return SourceTotals(
        source.name,
        totals,
        {kind: ", ".join(names) for kind, names in read.items()},
        looked,
        max(moments, default=None),
    )


async def _over_http(source: CountSource) -> SourceTotals:
    """Totals over the HTTP API of the replaced services, which Scrutin's gateway has too."""
    totals: dict[tuple[str, str], int] = {}
    read: dict[ContestKind, str] = {}
    left_out: list[str] = []
    moments: list[datetime] = []
    try:
        async with aiohttp.ClientSession(timeout=_TIMEOUT_S) as session:
            get = _getter(session, source.url)
            for kind, what, fetch in (
                (ContestKind.LAW, "/api/v1/results", _laws),
                (ContestKind.ELECTION, "/api/v1/elections", _elections),
                (ContestKind.POLL, "/api/polls/get-list/", _polls),
            ):
                try:
                    found, changed = await fetch(get)
                except (_Absent, KeyError, TypeError, ValueError) as error:
                    left_out.append(f"{source.name}{what}: {error or type(error).__name__}")
                    continue
                totals |= found
                moments += changed
                read[kind] = what
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise ServiceUnavailable(
            f"The API does not answer: {type(error).__name__}",
            where={"url": source.url},
            todo="Check the address, and that it is up",
        ) from error
    if not read:
        raise ScrutinError(
            "This address shows no results",
            where={"url": source.url, "asked": "; ".join(left_out)},
            todo="Give the base URL of the API, for example http://localhost:8000",
        )
    return SourceTotals(
        source.name,
        totals,
        read,
        datetime.now(UTC),
        max(moments, default=None),
        tuple(left_out),
    )


class _Absent(Exception):
    """The API does not have this page."""


_Get = Callable[[str], Any]
_Found = tuple[dict[tuple[str, str], int], list[datetime]]


def _getter(session: aiohttp.ClientSession, url: str) -> _Get:
    async def get(path: str) -> Any:
        async with session.get(url + path) as answer:
            if answer.status != 200:
                raise _Absent(f"answers {answer.status}")
            return await answer.json(content_type=None)

    return get


async def _laws(get: _Get) -> _Found:
    rows = await get("/api/v1/results")
    rows = rows["results"] if isinstance(rows, dict) else rows
    totals = {
        (str(row["law_id"]), choice): int(row[f"{choice}_count"])
        for row in rows
        for choice in ("oui", "non")
    }
    return totals, _moments(rows)


async def _elections(get: _Get) -> _Found:
    totals: Counter[tuple[str, str]] = Counter()
    moments: list[datetime] = []
    regions = [region["id"] for region in await get("/api/v1/regions")]
    for election in await get("/api/v1/elections"):
        for region in regions:
            try:
                found = await get(f"/api/v1/elections/{election['id']}/regions/{region}/results")
            except _Absent:
                # Not every election is held in every region.
                continue
            for row in found["candidates"]:
                key = f"{ELECTION_PREFIX}{election['id']}", str(row["candidate_id"])
                totals[key] += int(row["votes"])
            moments += _moments([found])
    return totals, moments


async def _polls(get: _Get) -> _Found:
    totals: dict[tuple[str, str], int] = {}
    for page in range(1, _MAX_PAGES):
        found = await get(f"/api/polls/get-list/?page={page}")
        for poll in found["results"]:
            for option in poll["options"]:
                key = f"{POLL_PREFIX}{poll['id']}", str(option["id"])
                totals[key] = int(option["vote_count"])
        if not found["next"]:
            break
    return totals, []


def _moments(rows: Sequence[dict[str, Any]]) -> list[datetime]:
    found = []
    for row in rows:
        if text := row.get("updated_at"):
            at = datetime.fromisoformat(str(text))
            found.append(at if at.tzinfo else at.replace(tzinfo=UTC))
    return found
