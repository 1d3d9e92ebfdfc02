"""Commands and queries of the tally, shared by the command line, the HTTP API and the queues."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from schemas.tally import (
    Cancel,
    Combine,
    Create,
    Decrypt,
    LaneKey,
    Mode,
    Phase,
    Resume,
    TallyEvent,
    Uploaded,
)
from streams.adapters.kafka.writer import LogWriter, writing
from streams.adapters.postgres.connection import connected
from streams.adapters.postgres.migrations import migrate
from streams.core.records import OutRecord
from streams.settings.processes import TallyConfig
from streams.tally import statements as sql
from streams.tally.chunks import chunk_sizes
from streams.tally.codec import encode
from streams.tally.crypto.ceremony import GuardianKey
from streams.tally.crypto.documents import from_json, to_json
from streams.tally.crypto.election import Context
from streams.tally.crypto.group import to_hex
from streams.tally.crypto.shares import (
    CompensatedShare,
    DecryptionShare,
    verify_compensated_share,
    verify_share,
)
from streams.tally.crypto.tallies import EncryptedTally
from streams.tally.mirror import job_id, queued_row
from streams.tally.refusals import RefusalCheck, Refused, require
from streams.tally.store import CAST, TallyStore
from streams.tally.topics import EVENTS_TOPIC, ensure_tally_topics, partition_for


@dataclass(frozen=True)
class Created:
    """A requested tally."""

    job_id: uuid.UUID
    ballots: int
    chunks: int


class TallyCommands:
    """Sends commands and queries their progress. Created by :func:`tally`."""

    def __init__(self, config: TallyConfig, store: TallyStore, writer: LogWriter) -> None:
        self._kafka = config.kafka
        self._min_ballots = config.tally_min_ballots
        self.store = store
        self._writer = writer
        self._topics_there = False

    async def send(self, event: TallyEvent) -> None:
        """Write a command to `tally.events`.

        Raises:
            ServiceUnavailable: Kafka does not confirm; the command may have been written.
        """
        if not self._topics_there:
            await ensure_tally_topics(self._kafka)
            self._topics_there = True
        partition = partition_for(event.election_id, self._kafka.partitions)
        await self._writer.write([OutRecord(EVENTS_TOPIC, partition, encode(event))])

    async def create(
        self, election_id: str, *, mode: Mode = Mode.SINGLE, chunk_size: int = 50, by: str = ""
    ) -> Created:
        """Tally an election; a repeated call changes nothing.

        Raises:
            Refused: there is no such election, ballots of counted votes are not collected, or
                there are too few ballots to decrypt their count.
        """
        asked = Create(election_id, [], 0, mode, chunk_size, by)
        event = await self.store.create_event(asked)
        waiting = await self.store.count_uncollected(election_id)
        if waiting:
            raise Refused(
                RefusalCheck.TALLY,
                f"the ballots of {waiting} counted votes are not admitted yet",
                where={"election": election_id},
                todo="`scrutin tally collect` admits them",
            )
        ballots = await self.store.count_ballots(election_id, CAST)
        sizes = chunk_sizes(ballots, chunk_size)
        chunks = len(sizes)
        fewest = min(sizes, default=0) if mode == Mode.CHUNKED else ballots
        if 0 < fewest < self._min_ballots:
            raise Refused(
                RefusalCheck.MINIMUM,
                f"the count of {fewest} ballots would be decrypted, which reveals votes below"
                f" {self._min_ballots}",
                where={"election": election_id},
                todo="Wait for more ballots, choose larger chunks, or lower"
                " SCRUTIN_TALLY_MIN_BALLOTS where that is known to be no secret",
            )
        await self.send(event)
        # A query before a worker starts the job finds it queued.
        await self.store.put_jobs([queued_row(event, chunks, time.time_ns() // 1_000_000)])
        return Created(job_id(election_id, "TALLY"), ballots, chunks)

    async def decrypt(self, election_id: str, guardian: str) -> str:
        """Let workers compute a guardian's shares with its sealed secret; returns its name.

        Args:
            guardian: its name, or its number as in older deployments.

        Raises:
            Refused: there is no such guardian, or it has no sealed secret.
        """
        guardian = await self.guardian_name(election_id, guardian)
        require(
            await self.store.has_secret(election_id, guardian),
            RefusalCheck.SECRET,
            "this guardian has no sealed secret",
            election=election_id,
            guardian=guardian,
        )
        await self.send(Decrypt(election_id, guardian))
        return guardian

    async def decrypt_sealed(self, election_id: str) -> list[str]:
        """As :meth:`decrypt`, for every guardian that has a sealed secret; returns their names.

        Raises:
            Refused: there is no such election, or none of its guardians has a sealed secret.
        """
        described = await self.store.election(election_id)
        keys = from_json(list[GuardianKey], described.guardians)
        names = [k.owner_id for k in keys if await self.store.has_secret(election_id, k.owner_id)]
        require(
            bool(names),
            RefusalCheck.SECRET,
            "no guardian of this election has a sealed secret: each types `scrutin guardian seal`,"
            " or `scrutin guardian decrypt` to keep the secret at home",
            election=election_id,
        )
        for name in names:
            await self.send(Decrypt(election_id, name))
        return names

    async def guardian_name(self, election_id: str, guardian: str) -> str:
        """The name of a guardian, given its name or number.

        Raises:
            Refused: there is no such election or guardian.
        """
        return (await self._guardian(election_id, guardian)).owner_id

    async def combine(self, election_id: str) -> None:
        """Decrypt with the shares that exist; no more guardians are expected."""
        await self.store.election(election_id)
        await self.send(Combine(election_id))

    async def cancel(self, election_id: str) -> None:
        """Stop assigning work."""
        await self.send(Cancel(election_id))

    async def resume(self, election_id: str) -> None:
        """Assign work again, and retry failed units."""
        await self.send(Resume(election_id))

    async def upload(self, election_id: str, unit: int, shares: list[DecryptionShare]) -> bool:
        """Verify and store shares that a guardian computed elsewhere; True once complete.

        Raises:
            Refused: the shares do not verify.
        """
        described = await self.store.election(election_id)
        extended_hash = from_json(Context, described.context).crypto_extended_base_hash
        center = await self.store.center(election_id, unit)
        tallies = from_json(list[EncryptedTally], center.tallies)
        require(
            len(shares) == len(tallies) > 0,
            RefusalCheck.SHARE,
            "the number of shares differs from that of tallies",
        )
        key = await self._guardian(election_id, shares[0].guardian_id)
        for share, tally in zip(shares, tallies, strict=True):
            verify_share(share, tally, key, extended_hash)
        document = _json_list(shares)
        await self.store.put_share(center.center_id, key.owner_id, to_hex(key.key), document)
        return await self._uploaded(election_id, LaneKey(Phase.PARTIAL, key.owner_id))

    async def upload_compensated(
        self, election_id: str, unit: int, shares: list[CompensatedShare]
    ) -> bool:
        """Verify and store shares that a guardian computed elsewhere for a missing guardian.

        Raises:
            Refused: the shares do not verify.
        """
        described = await self.store.election(election_id)
        extended_hash = from_json(Context, described.context).crypto_extended_base_hash
        center = await self.store.center(election_id, unit)
        tallies = from_json(list[EncryptedTally], center.tallies)
        require(
            len(shares) == len(tallies) > 0,
            RefusalCheck.SHARE,
            "the number of shares differs from that of tallies",
        )
        key = await self._guardian(election_id, shares[0].guardian_id)
        missing = await self._guardian(election_id, shares[0].missing_guardian_id)
        for share, tally in zip(shares, tallies, strict=True):
            verify_compensated_share(share, tally, key, missing, extended_hash)
        names = (key.owner_id, missing.owner_id)
        await self.store.put_compensated(center.center_id, *names, _json_list(shares))
        return await self._uploaded(election_id, LaneKey(Phase.COMPENSATED, *names))

    async def _uploaded(self, election_id: str, lane: LaneKey) -> bool:
        given = await self.store.count_shares(election_id, lane.guardian, lane.missing)
        complete = given == await self.store.count_centers(election_id)
        if complete:
            await self.send(Uploaded(election_id, lane))
        return complete

    async def _guardian(self, election_id: str, name: str) -> GuardianKey:
        described = await self.store.election(election_id)
        keys = from_json(list[GuardianKey], described.guardians)
        for key in keys:
            if key.owner_id == name:
                return key
        for key in keys:
            if str(key.sequence_order) == name:
                return key
        require(
            False, RefusalCheck.GUARDIANS, "no such guardian", election=election_id, guardian=name
        )
        raise AssertionError("unreachable")

    # Queries.

    async def jobs(self, election_id: str) -> list[dict[str, Any]]:
        """The jobs of an election, in the documented fields."""
        return [
            job_document(row) for row in await self.store.jobs(sql.JOBS_OF_ELECTION, election_id)
        ]

    async def job(self, identity: uuid.UUID) -> dict[str, Any] | None:
        """One job; None if it does not exist."""
        rows = await self.store.jobs(sql.JOB, identity)
        return job_document(rows[0]) if rows else None

    async def tally_status(self, election_id: str) -> dict[str, Any] | None:
        """Progress of the tally (`tally_creation_status`); None before it is requested."""
        return next(iter(await self.store.jobs(sql.TALLY_STATUS, election_id)), None)

    async def decryption_status(self, election_id: str) -> list[dict[str, Any]]:
        """Progress of each guardian's shares (`decryption_status`)."""
        return await self.store.jobs(sql.DECRYPTION_STATUS, election_id)

    async def combine_status(self, election_id: str) -> dict[str, Any] | None:
        """Progress of the combination (`combine_status`); None before it begins."""
        return next(iter(await self.store.jobs(sql.COMBINE_STATUS, election_id)), None)

    async def elections(self) -> list[tuple[str, datetime, str]]:
        """(id, time added, tally status) of all elections, the newest first."""
        rows = await self.store.jobs(sql.ELECTIONS)
        return [(row["election_id"], row["created_at"], row["status"]) for row in rows]

    async def active_jobs(self) -> list[dict[str, Any]]:
        """Jobs that are queued or in progress."""
        return [job_document(row) for row in await self.store.jobs(sql.ACTIVE_JOBS)]


def job_document(row: dict[str, Any]) -> dict[str, Any]:
    """A row of `election_jobs` with the field names that clients of older deployments read."""
    total = row["total_chunks"]
    complete = row["status"] == "COMPLETED"
    share = 100.0 if complete else (100 * row["processed_chunks"] / total if total else 0.0)
    return {
        "jobId": str(row["job_id"]),
        "electionId": row["election_id"],
        "operationType": row["operation_type"],
        "guardianId": row["guardian_id"] or None,
        "missingGuardianId": row["missing_guardian_id"] or None,
        "status": row["status"],
        "totalChunks": total,
        "processedChunks": row["processed_chunks"],
        "failedChunks": row["failed_chunks"],
        "progressPercent": round(share, 1),
        "startedAt": row["started_at"].isoformat(),
        "completedAt": row["completed_at"].isoformat() if row["completed_at"] else None,
        "errorMessage": row["error_message"],
    }


def _json_list(shares: list[DecryptionShare] | list[CompensatedShare]) -> str:
    return to_json(shares).decode()


@asynccontextmanager
async def tally(config: TallyConfig) -> AsyncIterator[TallyCommands]:
    """Connect to PostgreSQL and migrate its schema; connect to Kafka at the first command.

    Raises:
        ServiceUnavailable: PostgreSQL or Kafka does not answer.
    """
    async with connected(config.postgres) as connection:
        await migrate(connection)
    async with (
        TallyStore(config.postgres) as store,
        writing(config.kafka, config.retry) as writer,
    ):
        yield TallyCommands(config, store, writer)
