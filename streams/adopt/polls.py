"""Adopts the polls of the replaced poll services: their votes, their voters and their texts.

Two services wrote a row for each vote, mostly in two databases: the vote service when it accepted
the vote, the poll service when it counted it. Voters are names. They become the hashes that a
gateway makes of names, so that nobody can vote again, and no name is copied into Scrutin's tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import asyncpg
import msgspec
from redis.asyncio import Redis

from schemas.control import Contest, ContestRoll, ContestState
from streams.adapters.kafka.writer import LogWriter
from streams.adapters.redis.client import batches, redis_errors
from streams.adopt import statements as sql
from streams.adopt.copying import LONG_S, copy, put
from streams.adopt.dialects import POLL_LOG, POLL_OPTIONS, POLLS, from_table
from streams.control.issuer import Issuer
from streams.core.contests import MAX_TITLE_CHARACTERS, draft
from streams.core.polls import POLL_PREFIX, Who, folded_name, is_number, keyed_hash, poll_key
from streams.core.texts import is_plain
from streams.errors import ScrutinError

REDIS_VOTERS: Final = "poll:ID:voters"
"""Sets of names that an earlier vote service kept in Redis."""

_CHUNK: Final = 5_000
_POLLS_A_COMMAND: Final = 200
_ALIKE: Final = "name as adopted"
"""Type of a hash of a name that another voter of the poll has in another form."""

_CARDS: Final = (
    "SELECT id, title::text, description::text, creator_name::text, created_at::timestamptz,"
    " end_time::timestamptz AS ends_at, is_active AS active {table}"
)
_CHOICES: Final = "SELECT poll_id AS poll, id AS number, text::text {table}"
_VOTES: Final = (
    "SELECT '{origin}'::text AS origin, {poll}::bigint AS poll, {option}::bigint AS option,"
    " voter_name::text AS name, created_at::timestamptz AS at {table} ORDER BY id"
)

_NAMES: Final = """
SELECT poll, name FROM poll_votes WHERE name IS NOT NULL
GROUP BY poll, name ORDER BY poll, min(at), min(n)
"""

_TO_AUDIT: Final = f"""
CREATE INDEX ON poll_voters (poll, name);
CREATE TABLE poll_counted AS
SELECT poll, name, option, at FROM poll_votes WHERE origin = '{POLL_LOG}';
CREATE INDEX ON poll_counted (poll, name);
ANALYZE poll_voters, poll_counted;

-- The poll service's row is the counted one: the vote service's row of the same vote repeats it, at
-- the same time, and one for another option comes after it.
INSERT INTO audit (hash, kind, contest, choice, at, extra, unranked, origin)
SELECT v.hash, 1, '{POLL_PREFIX}' || c.id, o.number::text,
       CASE WHEN k.option = p.option THEN k.at ELSE greatest(p.at, k.at) END,
       '{{}}', false, p.origin
FROM poll_votes AS p
LEFT JOIN poll_cards AS c ON c.id = p.poll
    AND EXISTS (SELECT 1 FROM poll_choices AS h WHERE h.poll = c.id)
LEFT JOIN poll_choices AS o ON o.poll = c.id AND o.number = p.option
LEFT JOIN poll_voters AS v ON v.poll = c.id AND v.name = p.name
LEFT JOIN poll_counted AS k ON k.poll = p.poll AND k.name = p.name
WHERE p.origin <> '{REDIS_VOTERS}' OR NOT EXISTS (
    SELECT 1 FROM poll_votes AS r
    WHERE r.poll = p.poll AND r.name = p.name AND r.origin <> '{REDIS_VOTERS}')
ORDER BY p.n;

ALTER TABLE poll_voters DROP COLUMN name;
DROP TABLE poll_votes, poll_counted;
"""

_TAKEN: Final = """
SELECT count(*) FROM public.polls WHERE id IN (SELECT id FROM scrutin_adoption.poll_cards)
"""
_RESERVE: Final = """
SELECT setval(pg_get_serial_sequence('public.polls', 'id'), greatest(
    (SELECT max(id) FROM scrutin_adoption.poll_cards),
    nextval(pg_get_serial_sequence('public.polls', 'id'))))
"""
_ANNOUNCED: Final = f"""
SELECT c.*, (extract(epoch FROM ends_at) * 1000)::bigint AS ends_ms,
    (SELECT array_agg(h.number::text ORDER BY h.number)
        FROM {sql.SCHEMA}.poll_choices AS h WHERE h.poll = c.id) AS choices
FROM {sql.SCHEMA}.poll_cards AS c
WHERE EXISTS (SELECT 1 FROM {sql.SCHEMA}.poll_choices AS h WHERE h.poll = c.id)
ORDER BY c.id
"""
# No token has this digest: in the replaced service nobody could edit a poll either.
_INSERT_CARDS: Final = f"""
INSERT INTO public.polls
    (id, title, description, creator_name, who, edit_token_sha256, created_at)
SELECT id, title, description, creator_name, '{Who.NAME}', ''::bytea, created_at
FROM {sql.SCHEMA}.poll_cards WHERE id = ANY($1) ON CONFLICT DO NOTHING
"""
_INSERT_CHOICES: Final = f"""
INSERT INTO public.poll_options (poll_id, number, text)
SELECT poll, number, text FROM {sql.SCHEMA}.poll_choices
WHERE poll = ANY($1) ON CONFLICT DO NOTHING
"""


@dataclass(frozen=True)
class VoteService:
    """The database of the vote service, where it is another one."""

    connection: asyncpg.Connection
    schema: str


async def stage_polls(
    source: asyncpg.Connection,
    target: asyncpg.Connection,
    schema: str,
    *,
    logs: Mapping[str, VoteService],
    redis: Redis | None,
    secret: str,
) -> dict[str, dict[str, int]]:
    """Copy polls and their votes, with hashes in the place of names; in the staging transaction.

    Args:
        source: to the poll service's database.
        target: to Scrutin's database, with the search path of the staging.
        schema: of the poll service's tables.
        logs: the tables of votes (`polls_votelog`, `votes_votelog`) and where each is.
        redis: of the old services; None to skip it.
        secret: `SCRUTIN_SECRET`.

    Returns:
        Outcomes of rows that are no votes in a table, by source.

    Raises:
        ScrutinError: there is no secret, or the polls cannot keep their numbers.
    """
    if not secret:
        raise ScrutinError(
            "The voters of polls are names, and hashing them needs a secret",
            where={"schema": schema, "table": POLLS},
            todo="Set SCRUTIN_SECRET to the value that the gateways will have",
        )
    await copy(source, target, _CARDS.format(table=from_table(schema, POLLS)), "poll_cards")
    await copy(
        source, target, _CHOICES.format(table=from_table(schema, POLL_OPTIONS)), "poll_choices"
    )
    await _check_numbers(target)
    for table, place in logs.items():
        poll, option = (
            ("poll_id_id", "option_id_id")
            if table == POLL_LOG
            else (
                "poll_id",
                "option_id",
            )
        )
        query = _VOTES.format(
            origin=table, poll=poll, option=option, table=from_table(place.schema, table)
        )
        await copy(place.connection, target, query, "poll_votes")
    marked = 0 if redis is None else await _copy_voters(redis, target)
    await _hash_names(target, poll_key(secret))
    await target.execute(_TO_AUDIT, timeout=LONG_S)
    return await _outcomes(target, marked)


async def _check_numbers(target: asyncpg.Connection) -> None:
    if await target.fetchval("SELECT max(number) > 2147483647 FROM poll_choices"):
        raise ScrutinError(
            "An option's number is above 2147483647",
            where={"table": POLL_OPTIONS},
            todo="Such polls cannot be adopted",
        )
    if await target.fetchval("SELECT to_regclass('public.polls')") is not None:
        await _check_free(target)


async def _check_free(connection: asyncpg.Connection) -> None:
    if taken := await connection.fetchval(_TAKEN):
        raise ScrutinError(
            f"Scrutin has {taken} polls with numbers of the old ones",
            where={"table": "polls"},
            todo="Adopt before the first poll is created here, or into another database",
        )


async def _copy_voters(redis: Redis, target: asyncpg.Connection) -> int:
    """Names in sets of Redis, and how many there are."""
    found = 0
    async with redis_errors("read who has voted in polls"):
        async for key in redis.scan_iter("poll:*:voters", count=_CHUNK):
            name = key if isinstance(key, str) else key.decode(errors="replace")
            poll = name.split(":")[1]
            if not is_number(poll):
                continue
            async for members in batches(redis.sscan_iter(key, count=_CHUNK), _CHUNK):
                names = [m if isinstance(m, str) else m.decode(errors="replace") for m in members]
                await target.executemany(
                    "INSERT INTO poll_votes (origin, poll, name, at) VALUES ($1, $2, $3, now())",
                    [(REDIS_VOTERS, int(poll), n.replace("\0", "\ufffd")) for n in names],
                )
                found += len(names)
    return found


async def _hash_names(target: asyncpg.Connection, key: bytes) -> None:
    """The hash of each voter: of names that look the same, only the first gets the name's own."""
    seen: set[str] = set()
    poll: int | None = None
    waiting: list[tuple[int, str, str, bool]] = []
    async for row in target.cursor(_NAMES, prefetch=_CHUNK):
        if row["poll"] != poll:
            poll, seen = row["poll"], set()
        contest, folded = f"{POLL_PREFIX}{poll}", folded_name(row["name"])
        alike = folded in seen
        seen.add(folded)
        hashed = (
            keyed_hash(key, _ALIKE, contest, row["name"])
            if alike
            else keyed_hash(key, Who.NAME, contest, folded)
        )
        waiting.append((row["poll"], row["name"], hashed, alike))
    for start in range(0, len(waiting), _CHUNK):
        await put(target, "poll_voters", waiting[start : start + _CHUNK])


async def _outcomes(target: asyncpg.Connection, marked: int) -> dict[str, dict[str, int]]:
    row = await target.fetchrow(
        "SELECT count(*) AS polls, count(*) FILTER (WHERE NOT EXISTS (SELECT 1 FROM poll_choices"
        " AS h WHERE h.poll = c.id)) AS empty, (SELECT count(*) FROM audit WHERE origin = $1)"
        " AS lost FROM poll_cards AS c",
        REDIS_VOTERS,
    )
    assert row is not None
    found = {POLLS: {"announced": row["polls"] - row["empty"], "without_options": row["empty"]}}
    if marked:
        found[REDIS_VOTERS] = {"voters_with_vote": marked - row["lost"]}
    return {source: {o: n for o, n in each.items() if n} for source, each in found.items()}


async def reserve(connection: asyncpg.Connection) -> None:
    """Keep the numbers of the staged polls free; after the migrations.

    Raises:
        ScrutinError: polls of Scrutin have them.
    """
    if await _staged(connection):
        await _check_free(connection)
        await connection.execute(_RESERVE)


async def announce(
    connection: asyncpg.Connection, writer: LogWriter, *, partitions: int, name: str
) -> None:
    """Announce the staged polls with their texts, open or closed; those that are known stay.

    Raises:
        ServiceUnavailable: PostgreSQL or Kafka does not answer.
    """
    rows = await connection.fetch(_ANNOUNCED) if await _staged(connection) else []
    issuer = Issuer(
        connection=connection, writer=writer, partitions=partitions, name=name, enforced=True
    )
    for start in range(0, len(rows), _POLLS_A_COMMAND):
        part = rows[start : start + _POLLS_A_COMMAND]
        async with issuer.turn():
            await issuer.change_contests(
                partial(_unknown, [dict(row) for row in part]),
                partial(_insert, connection, [row["id"] for row in part]),
            )


async def _staged(connection: asyncpg.Connection) -> bool:
    """Whether there are polls; an adoption that an earlier version began has no table of them."""
    table = f"{sql.SCHEMA}.poll_cards"
    if await connection.fetchval("SELECT to_regclass($1)", table) is None:
        return False
    return bool(await connection.fetchval(f"SELECT EXISTS (SELECT 1 FROM {table})"))


async def _insert(connection: asyncpg.Connection, ids: list[int]) -> None:
    await connection.execute(_INSERT_CARDS, ids)
    await connection.execute(_INSERT_CHOICES, ids)


def _unknown(
    rows: Sequence[Mapping[str, Any]], known: dict[str, Contest], now_ms: int
) -> list[Contest]:
    contests = [contest_of_poll(row, now_ms) for row in rows]
    return [contest for contest in contests if contest.id not in known]


def contest_of_poll(row: Mapping[str, Any], now_ms: int) -> Contest:
    """The contest of an old poll: open until its end, or closed.

    Args:
        row: `id`, `title`, `choices`, `ends_ms`, `active`.
        now_ms: Unix milliseconds.
    """
    title = row["title"]
    if len(title) > MAX_TITLE_CHARACTERS or not is_plain(title, joiners=True):
        # The title of the poll's page stays as it was.
        title = ""
    new = draft(
        f"{POLL_PREFIX}{row['id']}",
        title=title,
        choices=row["choices"],
        roll=ContestRoll.OPEN,
        closes_ms=row["ends_ms"],
    )
    is_open = row["active"] and row["ends_ms"] > now_ms
    return msgspec.structs.replace(new, state=ContestState.OPEN if is_open else ContestState.CLOSED)
