"""Polls in PostgreSQL: reading them, and creating and changing them through commands to the log."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime
from typing import Any, Final

import msgspec

from schemas.control import Contest, ContestRoll, ContestsChanged, ContestState
from streams.adapters.kafka.writer import LogWriter
from streams.adapters.postgres.connection import translated
from streams.control.issuer import NOW_MS, Issuer, upsert_contests
from streams.core.contests import draft
from streams.core.polls import POLL_PREFIX, Who
from streams.gateway.store import Store

_CARDS: Final = """
SELECT p.id, p.contest_id, p.title, p.description, p.creator_name,
    CASE WHEN c.roll <> 'open' THEN 'roll' WHEN p.who = 'roll' THEN 'name' ELSE p.who END AS who,
    p.edit_token_sha256, p.created_at, c.state, c.opens_at, c.closes_at,
    (SELECT jsonb_object_agg(o.number, o.text) FROM poll_options AS o WHERE o.poll_id = p.id)
        AS options
FROM polls AS p JOIN contests AS c ON c.contest_id = p.contest_id
"""
ONE: Final = f"{_CARDS} WHERE p.id = $1"
_FILTER: Final = """
WHERE c.state = ANY($1::text[])
    AND ($2::text IS NULL OR strpos(lower(p.title), lower($2)) > 0)
    AND ($3::text IS NULL OR p.creator_name = $3)
"""
LISTED: Final = f"{_CARDS} {_FILTER} ORDER BY p.created_at DESC, p.id DESC LIMIT $4 OFFSET $5"
COUNT: Final = (
    f"SELECT count(*) FROM polls AS p JOIN contests AS c ON c.contest_id = p.contest_id {_FILTER}"  # noqa: S608
)
VOTED: Final = "SELECT vote_hash, choice FROM vote_audit WHERE vote_hash = ANY($1::text[])"
PROOF: Final = """
SELECT closed_at, final, passed, partitions, passed_at, vector
FROM contest_finals WHERE contest_id = $1 AND enforced
"""
INSERT_POLL: Final = """
INSERT INTO polls (id, title, description, creator_name, who, edit_token_sha256)
VALUES ($1, $2, $3, $4, $5, $6)
"""
UPDATE_POLL: Final = "UPDATE polls SET title = $2, description = $3, who = $4 WHERE id = $1"
DELETE_OPTIONS: Final = "DELETE FROM poll_options WHERE poll_id = $1"
INSERT_OPTIONS: Final = """
INSERT INTO poll_options (poll_id, number, text)
SELECT $1, n.number, n.text FROM unnest($2::text[]) WITH ORDINALITY AS n (text, number)
"""


class Card(msgspec.Struct, frozen=True):
    """A poll as announced, and its state."""

    id: int
    contest_id: str
    title: str
    description: str
    creator_name: str
    who: str
    """By the roll of its contest, which decides; `polls.who` only tells the kinds of voters of an
    open roll apart."""
    edit_token_sha256: bytes
    created_at: datetime
    state: str
    opens_at: datetime | None
    closes_at: datetime | None
    options: dict[int, str]
    """Number -> text, by number. Those of an adopted poll keep the numbers that they had."""


class Proof(msgspec.Struct):
    """Where every partition of the log closed, and whether every vote before that is counted."""

    closed_at: datetime
    final: bool
    passed: int
    partitions: int
    passed_at: datetime | None
    vector: list[dict[str, Any]]


@dataclass(frozen=True)
class Wanted:
    """What the creator of a poll asks for."""

    title: str
    description: str
    creator_name: str
    options: list[str]
    who: Who
    opens_ms: int | None
    """Unix milliseconds; None: at once."""
    closes_ms: int
    """Unix milliseconds."""
    edit_token: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)


def _card(row: Sequence[Any]) -> Card:
    fields = list(row)
    by_number = msgspec.json.decode(fields[-1] or "{}", type=dict[int, str])
    fields[-1] = dict(sorted(by_number.items()))
    return Card(*fields)


def token_digest(token: str) -> bytes:
    """The digest of an edit token, which is all that is kept of it."""
    return hashlib.sha256(token.encode()).digest()


def contest_for(poll_id: int, wanted: Wanted, now_ms: int) -> Contest:
    """The contest of a poll: a draft until its opening time, if it has one."""
    drafted = draft(
        f"{POLL_PREFIX}{poll_id}",
        title=wanted.title,
        choices=[str(number) for number in range(1, len(wanted.options) + 1)],
        # Entries of its own: a citizen may have a hash for every law on the deployment's roll.
        roll=ContestRoll.TABLE if wanted.who is Who.ROLL else ContestRoll.OPEN,
        opens_ms=wanted.opens_ms,
        closes_ms=wanted.closes_ms,
    )
    if wanted.opens_ms is not None and wanted.opens_ms > now_ms:
        return drafted
    return msgspec.structs.replace(drafted, state=ContestState.OPEN)


@dataclass(frozen=True)
class Polls:
    """Reads polls, and changes them through commands to the log."""

    store: Store
    """The database."""
    writer: LogWriter
    """To the log."""
    _: KW_ONLY
    partitions: int
    """Of the input topic."""
    name: str
    """Of the process."""

    async def one(self, poll_id: int) -> Card | None:
        """One poll; also an archived one."""
        rows = await self.store.fetch(ONE, poll_id)
        return _card(rows[0]) if rows else None

    async def listed(
        self,
        *,
        states: Sequence[str],
        search: str | None,
        creator: str | None,
        page: int,
        page_size: int,
    ) -> tuple[int, list[Card]]:
        """The number of matching polls, and one page of them, the newest first."""
        given = (list(states), search, creator)
        [count] = await self.store.fetch(COUNT, *given)
        rows = await self.store.fetch(LISTED, *given, page_size, (page - 1) * page_size)
        return count[0], [_card(row) for row in rows]

    async def choices(self, stored_hashes: Sequence[str]) -> dict[str, str]:
        """Counted votes among the given ones: `vote_audit.vote_hash` -> choice."""
        if not stored_hashes:
            return {}
        rows = await self.store.fetch(VOTED, list(stored_hashes))
        return {row["vote_hash"]: row["choice"] for row in rows}

    async def proof(self, contest: str) -> Proof | None:
        """The proof that a closed contest's result is complete; None while it is not closed."""
        rows = await self.store.fetch(PROOF, contest)
        if not rows:
            return None
        row = dict(rows[0])
        return Proof(**{**row, "vector": msgspec.json.decode(row["vector"])})

    async def create(self, wanted: Wanted) -> int:
        """Announce a poll, and open it unless it opens later; returns its id.

        Raises:
            ServiceUnavailable: PostgreSQL or Kafka does not answer; the poll may still be created.
            ContestRefused: the contest is not valid.
        """
        async with self._turn() as (issuer, now_ms):
            poll_id: int = await issuer.connection.fetchval(
                "SELECT nextval(pg_get_serial_sequence('polls', 'id'))"
            )
            texts = (wanted.title, wanted.description, wanted.creator_name, wanted.who)
            new = (INSERT_POLL, poll_id, *texts, token_digest(wanted.edit_token))
            await self._issue(issuer, now_ms, poll_id, wanted, new)
        return poll_id

    async def edit(self, poll_id: int, wanted: Wanted) -> bool:
        """Replace a draft; returns False if the poll is no draft any more."""
        async with self._turn() as (issuer, now_ms):
            if await self._state(issuer.connection, poll_id) != ContestState.DRAFT:
                return False
            changed = (UPDATE_POLL, poll_id, wanted.title, wanted.description, wanted.who)
            await self._issue(issuer, now_ms, poll_id, wanted, changed, (DELETE_OPTIONS, poll_id))
        return True

    async def archive(self, card: Card) -> None:
        """Stop counting and listing a poll. Its votes and its result stay."""

        def archive(known: dict[str, Contest], _now_ms: int) -> list[Contest]:
            old = known[card.contest_id]
            if old.state == ContestState.ARCHIVED:
                return []
            return [msgspec.structs.replace(old, state=ContestState.ARCHIVED)]

        async with self._turn() as (issuer, _):
            await issuer.change_contests(archive)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[tuple[Issuer, int]]:
        """The only issuer, and PostgreSQL's clock in Unix milliseconds."""
        async with self.store.connection() as connection:
            issuer = Issuer(
                connection=connection,
                writer=self.writer,
                partitions=self.partitions,
                name=self.name,
                # Poll votes are always validated against their contest.
                enforced=True,
            )
            async with issuer.turn():
                yield issuer, await connection.fetchval(NOW_MS)

    async def _state(self, connection: Any, poll_id: int) -> str | None:
        async with translated({"table": "contests"}):
            state: str | None = await connection.fetchval(
                "SELECT state FROM contests WHERE contest_id = $1", f"{POLL_PREFIX}{poll_id}"
            )
        return state

    async def _issue(
        self,
        issuer: Issuer,
        now_ms: int,
        poll_id: int,
        wanted: Wanted,
        *statements: tuple[Any, ...],
    ) -> None:
        """Issue a poll's contest; the statements write its other rows with it."""
        command = ContestsChanged(
            number=await issuer.next_number(now_ms),
            command_id=secrets.token_bytes(16),
            issued_ms=now_ms,
            enforced=True,
            contests=[contest_for(poll_id, wanted, now_ms)],
        )

        async def mark() -> None:
            await upsert_contests(issuer.connection, command)
            for statement in (*statements, (INSERT_OPTIONS, poll_id, wanted.options)):
                await issuer.connection.execute(*statement)

        await issuer.issue(command, mark)
