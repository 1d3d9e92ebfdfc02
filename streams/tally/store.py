"""Adapter: the encrypted tally in PostgreSQL. Repeated writes have no further effect."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from schemas.tally import Create
from streams.adapters.postgres.connection import Pooled
from streams.core.keys import ELECTION_PREFIX
from streams.settings.configs import PostgresConfig
from streams.tally import statements as sql
from streams.tally.chunks import chunk_numbers, chunk_sizes, election_number, shuffle_seed
from streams.tally.crypto.ceremony import GuardianKey
from streams.tally.crypto.documents import from_json
from streams.tally.crypto.election import Context
from streams.tally.opening import BallotsHead, content_digest
from streams.tally.refusals import RefusalCheck, Refused, plain_name, require
from streams.tally.work import Admitted, DescribedElection

CAST: Final = 1
SPOILED: Final = 2
_IDS: Final = 1_000
"""Ballot ids read at a time."""
_BATCH: Final = 64
"""Ballots in memory at a time; a chunk of the usual size is one batch."""
_TALLIES: Final = 10
"""Encrypted tallies in memory at a time; as JSON they are larger than ballots."""


@dataclass(frozen=True)
class Center:
    """A product to decrypt, or a group of spoiled ballots."""

    center_id: int
    kind: str
    number: int
    """Of the chunk, or of the group of spoiled ballots."""
    ballots: int
    tallies: str
    """JSON list."""
    result: str | None


class TallyStore(Pooled):
    """The tally's tables of `sql/`; a context that opens and closes the connections.

    Every method raises :class:`streams.errors.ServiceUnavailable` if PostgreSQL does not answer.
    """

    def __init__(self, config: PostgresConfig) -> None:
        super().__init__(config, "scrutin tally")
        self._elections: dict[str, DescribedElection] = {}

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Any]:
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def _fetch(self, statement: str, *arguments: object) -> list[Any]:
        async with self.connection() as connection:
            return list(await connection.fetch(statement, *arguments))

    async def _value(self, statement: str, *arguments: object) -> Any:
        async with self.connection() as connection:
            return await connection.fetchval(statement, *arguments)

    # Elections, guardians, ballots.

    async def put_election(
        self, election: DescribedElection, backups: Sequence[tuple[str, str, str]]
    ) -> bool:
        """Add an election and its (owner, designated, backup); False if the id exists already."""
        async with self._transaction() as connection:
            new = await connection.fetchval(
                sql.PUT_ELECTION,
                election.election_id,
                election.manifest,
                election.context,
                election.guardians,
            )
            if new is not None:
                await connection.executemany(
                    sql.PUT_BACKUP, [(election.election_id, *backup) for backup in backups]
                )
        return new is not None

    async def election(self, election_id: str) -> DescribedElection:
        """An election as it was added.

        Raises:
            Refused: `context`, if it does not exist.
        """
        known = self._elections.get(election_id)
        if known is None:
            require(plain_name(election_id), RefusalCheck.CONTEXT, "no such election")
            rows = await self._fetch(sql.GET_ELECTION, election_id)
            require(bool(rows), RefusalCheck.CONTEXT, "no such election", election=election_id)
            known = self._elections[election_id] = DescribedElection(*rows[0])
        return known

    async def create_event(self, asked: Create) -> Create:
        """The command to tally an election, with its guardians and quorum.

        Raises:
            Refused: `context`, if there is no such election.
        """
        described = await self.election(asked.election_id)
        keys = from_json(list[GuardianKey], described.guardians)
        names = [key.owner_id for key in sorted(keys, key=lambda key: key.sequence_order)]
        quorum = from_json(Context, described.context).quorum
        return msgspec.structs.replace(asked, guardians=names, quorum=quorum)

    async def backup(self, election_id: str, owner: str, designated: str) -> str:
        """An encrypted backup.

        Raises:
            Refused: `backup`, if it was never added.
        """
        found = await self._value(sql.GET_BACKUP, election_id, owner, designated)
        if found is None:
            where: dict[str, object] = {"owner": owner, "guardian": designated}
            raise Refused(RefusalCheck.BACKUP, "the database has no such backup", where=where)
        return str(found)

    async def put_secret(self, election_id: str, guardian: str, sealed: bytes) -> None:
        """Store a sealed secret; it replaces an older one."""
        await self._value(sql.PUT_SEALED, election_id, guardian, sealed)

    async def has_secret(self, election_id: str, guardian: str) -> bool:
        """Whether a sealed secret exists."""
        return await self._value(sql.HAS_SEALED, election_id, guardian) is not None

    async def secret(self, election_id: str, guardian: str) -> bytes | None:
        """A sealed secret; None if there is none."""
        found = await self._value(sql.GET_SEALED, election_id, guardian)
        return None if found is None else bytes(found)

    async def put_ballots(
        self, election_id: str, ballots: Sequence[tuple[Admitted, bytes]]
    ) -> tuple[set[bytes], set[bytes]]:
        """Add verified ballots of a file, whose author gives each an id of its own.

        Returns:
            The contents that are new, and those that are stored, both among `ballots`.

        Raises:
            Refused: `tally`, if the election is being tallied already.
        """
        async with self._transaction() as connection:
            await _lock_open(connection, election_id)
            new = await _put_ballots(connection, election_id, ballots, by_vote=False)
            contents = [content_digest(admitted.ciphertexts) for admitted, _ in ballots]
            known = await connection.fetch(sql.KNOWN_CONTENTS, election_id, contents)
        return new, {bytes(row[0]) for row in known}

    async def uncollected(self, election_id: str, limit: int) -> list[tuple[str, str]]:
        """(vote hash, ballot's JSON) of counted votes whose ballots are not collected yet."""
        rows = await self._fetch(sql.UNCOLLECTED, ELECTION_PREFIX + election_id, limit)
        return [(row[0], row[1]) for row in rows]

    async def count_uncollected(self, election_id: str) -> int:
        """Number of counted votes to collect; scans all counted votes."""
        return int(await self._value(sql.COUNT_UNCOLLECTED, ELECTION_PREFIX + election_id))

    async def put_collected(
        self, election_id: str, votes: Sequence[tuple[str, Admitted, bytes]]
    ) -> list[str]:
        """Store the ballots of (vote hash, verdict, JSON), or the reasons of their refusal.

        A ballot is refused as a copy by its ciphertexts, never by its id: anybody can use the id
        of another's ballot first.

        Returns:
            The reason for each vote whose ballot was not admitted.

        Raises:
            Refused: `tally`, if the election is being tallied already.
        """
        async with self._transaction() as connection:
            # One collector at a time: the second one would take a vote's own ballot for a copy.
            await _lock_open(connection, election_id)
            known = await connection.fetch(sql.COLLECTED, [vote_hash for vote_hash, _, _ in votes])
            done = {row[0] for row in known}
            rest = [vote for vote in votes if vote[0] not in done]
            first: dict[bytes, tuple[str, Admitted, bytes]] = {}
            for vote in rest:
                if not vote[1].refused:
                    first.setdefault(content_digest(vote[1].ciphertexts), vote)
            new = await _put_ballots(
                connection, election_id, [vote[1:] for vote in first.values()], by_vote=True
            )
            admitted_hashes = {vote[0] for content, vote in first.items() if content in new}
            refused = [
                None
                if vote_hash in admitted_hashes
                else admitted.refused or "a ballot with these ciphertexts exists"
                for vote_hash, admitted, _ in rest
            ]
            await connection.execute(
                sql.PUT_COLLECTED,
                election_id,
                [vote_hash for vote_hash, _, _ in rest],
                [
                    admitted.ballot_id if why is None else None
                    for (_, admitted, _), why in zip(rest, refused, strict=True)
                ],
                refused,
            )
        return [why for why in refused if why is not None]

    async def count_ballots(self, election_id: str, state: int) -> int:
        """Number of cast or spoiled ballots."""
        return int(await self._value(sql.COUNT_BALLOTS, election_id, state))

    async def ballots(self, election_id: str) -> AsyncIterator[tuple[str, int, str]]:
        """(id, state, JSON) of every ballot, streamed."""
        async with self._transaction() as connection:
            async for row in connection.cursor(sql.BALLOTS, election_id, prefetch=_BATCH):
                yield tuple(row)

    async def ballots_head(self, election_id: str) -> str | None:
        """The head of the ballots; None until they are final."""
        found = await self._value(sql.GET_HEAD, election_id)
        return None if found is None else str(found)

    # The phases' results.

    async def plan(self, election_id: str, chunk_size: int) -> int:
        """Assign the cast ballots to chunks, once; returns the number of chunks.

        From then on no ballot is admitted, and the ballots have a head.
        """
        async with self._transaction() as connection:
            await connection.execute(sql.LOCK_ELECTION, election_id)
            planned = int(await connection.fetchval(sql.COUNT_CHUNKS, election_id))
            head = BallotsHead()
            async for state, content in connection.cursor(sql.CONTENTS, election_id, prefetch=_IDS):
                head.add(state, content)
            await connection.execute(sql.PUT_HEAD, election_id, head.value())
            if planned:
                return planned
            ballots = int(await connection.fetchval(sql.COUNT_BALLOTS, election_id, CAST))
            seed = election_number(election_id)
            async for ids in _ids(connection, election_id):
                seed = shuffle_seed(seed, ids)
            numbers = chunk_numbers(ballots, chunk_size, seed)
            place_in_order = 0
            async for ids in _ids(connection, election_id):
                records = [
                    (number, election_id, numbers[place_in_order + index])
                    for index, number in enumerate(ids)
                ]
                place_in_order += len(ids)
                await connection.copy_records_to_table(
                    "submitted_ballots",
                    records=records,
                    columns=["ballot", "election_id", "chunk_number"],
                )
            return len(chunk_sizes(ballots, chunk_size))

    async def chunk(self, election_id: str, number: int) -> AsyncIterator[list[bytes]]:
        """A chunk's packed ballots, streamed in batches."""
        async for batch in self._packed(sql.CHUNK_BALLOTS, election_id, number):
            yield batch

    async def cast_ballots(self, election_id: str) -> AsyncIterator[list[bytes]]:
        """All packed cast ballots, streamed in batches."""
        async for batch in self._packed(sql.CAST_BALLOTS, election_id):
            yield batch

    async def _packed(self, statement: str, *arguments: object) -> AsyncIterator[list[bytes]]:
        async with self._transaction() as connection:
            cursor = await connection.cursor(statement, *arguments)
            rows = await cursor.fetch(_BATCH)
            while rows:
                yield [row[0] for row in rows]
                rows = await cursor.fetch(_BATCH) if len(rows) == _BATCH else []

    async def chunk_tallies(self, election_id: str) -> AsyncIterator[list[tuple[str, int]]]:
        """(encrypted tally, ballots) of the chunks, streamed in batches."""
        async with self._transaction() as connection:
            cursor = await connection.cursor(sql.CHUNK_TALLIES, election_id)
            while rows := await cursor.fetch(_TALLIES):
                yield [(row[0], row[1]) for row in rows]

    async def spoiled(self, election_id: str, size: int) -> AsyncIterator[list[str]]:
        """Spoiled ballots as JSON, in groups."""
        async with self._transaction() as connection:
            cursor = await connection.cursor(sql.SPOILED_BALLOTS, election_id)
            while rows := await cursor.fetch(size):
                yield [row[1] for row in rows]

    async def spoiled_named(self, election_id: str, names: Sequence[str]) -> list[str]:
        """The JSON of these spoiled ballots, in their order."""
        rows = await self._fetch(sql.SPOILED_NAMED, election_id, list(names))
        return [row[0] for row in rows]

    async def chunk_places(self, election_id: str) -> dict[int, list[int]]:
        """The places of each chunk's ballots among all ballots."""
        rows = await self._fetch(sql.CHUNK_PLACES, election_id)
        return {number: list(places) for number, places in rows}

    async def has_center(self, election_id: str, kind: str, number: int) -> bool:
        """Whether a product exists already."""
        return bool(await self._value(sql.HAS_CENTER, election_id, kind, number))

    async def put_center(
        self,
        election_id: str,
        kind: str,
        number: int,
        tallies: str,
        *,
        ballots: int,
        unit: int | None = None,
    ) -> None:
        """Store a product."""
        await self._value(sql.PUT_CENTER, election_id, kind, number, unit, ballots, tallies)

    async def number_chunks(self, election_id: str) -> None:
        """Number the chunks, so that each is decrypted separately."""
        await self._value(sql.NUMBER_CHUNKS, election_id)

    async def count_centers(self, election_id: str) -> int:
        """Number of products to decrypt."""
        return int(await self._value(sql.COUNT_CENTERS, election_id))

    async def center(self, election_id: str, unit: int) -> Center:
        """A product to decrypt.

        Raises:
            Refused: `tally`, if it does not exist.
        """
        rows = await self._fetch(sql.GET_CENTER, election_id, unit)
        require(bool(rows), RefusalCheck.TALLY, "no such product", election=election_id, unit=unit)
        return Center(*rows[0])

    async def put_share(self, center: int, guardian: str, key: str, share: str) -> None:
        """Store a guardian's shares of a product."""
        await self._value(sql.PUT_SHARE, center, guardian, key, share)

    async def has_share(self, center: int, guardian: str) -> bool:
        """Whether they exist already."""
        return bool(await self._value(sql.HAS_SHARE, center, guardian))

    async def count_shares(self, election_id: str, guardian: str, missing: str = "") -> int:
        """Number of products with shares of a guardian, for itself or for a missing one."""
        if missing:
            return int(await self._value(sql.COUNT_COMPENSATED, election_id, guardian, missing))
        return int(await self._value(sql.COUNT_SHARES, election_id, guardian))

    async def put_compensated(self, center: int, guardian: str, missing: str, share: str) -> None:
        """Store a guardian's shares for a missing guardian."""
        await self._value(sql.PUT_COMPENSATED, center, guardian, missing, share)

    async def has_compensated(self, center: int, guardian: str, missing: str) -> bool:
        """Whether they exist already."""
        return bool(await self._value(sql.HAS_COMPENSATED, center, guardian, missing))

    async def shares(self, center: int, present: Sequence[str]) -> tuple[list[str], list[str]]:
        """Shares of these guardians, and their shares for all others."""
        own = await self._fetch(sql.SHARES, center, list(present))
        parts = await self._fetch(sql.COMPENSATED, center, list(present))
        return [row[1] for row in own], [row[0] for row in parts]

    async def put_result(self, center: int, result: str) -> None:
        """Store a product's counts."""
        await self._value(sql.PUT_RESULT, center, result)

    async def centers(self, election_id: str) -> AsyncIterator[Any]:
        """All products with their counts, streamed: rows of `election_center`."""
        async with self._transaction() as connection:
            async for row in connection.cursor(sql.CENTERS, election_id, prefetch=10):
                yield row

    async def put_published(self, election_id: str, result: dict[str, Any]) -> None:
        """Publish the result."""
        await self._value(sql.PUT_PUBLISHED, election_id, json.dumps(result))

    async def published(self, election_id: str) -> dict[str, Any] | None:
        """The result; None until it is published."""
        found = await self._value(sql.GET_PUBLISHED, election_id)
        return None if found is None else dict(json.loads(found))

    # Jobs and logs.

    async def put_jobs(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Update the mirror of the jobs."""
        async with self._transaction() as connection:
            await connection.executemany(sql.PUT_JOB, rows)

    async def jobs(self, statement: str, *arguments: object) -> list[dict[str, Any]]:
        """Rows of `election_jobs`."""
        return [dict(row) for row in await self._fetch(statement, *arguments)]

    async def log(self, statement: str, *arguments: object) -> None:
        """Add a row to a worker log."""
        await self._value(statement, *arguments)


async def _lock_open(connection: Any, election_id: str) -> None:
    """Lock the election's ballots, and check that they are not final."""
    await connection.execute(sql.LOCK_ELECTION, election_id)
    if await connection.fetchval(sql.IS_PLANNED, election_id):
        raise Refused(
            RefusalCheck.TALLY,
            "the election is being tallied already: no ballot is admitted any more",
            where={"election": election_id},
        )


async def _put_ballots(
    connection: Any,
    election_id: str,
    ballots: Sequence[tuple[Admitted, bytes]],
    *,
    by_vote: bool,
) -> set[bytes]:
    rows = await connection.fetch(
        sql.PUT_BALLOTS,
        election_id,
        [admitted.ballot_id for admitted, _ in ballots],
        [admitted.state for admitted, _ in ballots],
        [admitted.ciphertexts for admitted, _ in ballots],
        [text.decode() for _, text in ballots],
        by_vote,
    )
    return {bytes(row[0]) for row in rows}


async def _ids(connection: Any, election_id: str) -> AsyncIterator[list[int]]:
    """Ids of the cast ballots in order, in batches; the connection is usable in between."""
    last = -1
    while rows := await connection.fetch(sql.CAST_IDS, election_id, last, _IDS):
        last = rows[-1][0]
        yield [row[0] for row in rows]
