"""Discard a rehearsal while everything runs: open a new epoch in every partition of the log.

The order:

1. The bridges pause.
2. Queues and mirror are emptied.
3. PostgreSQL is emptied and records the epoch, since workers may not remove what they counted.
4. The epoch record is written to every partition; closed contests become drafts again.
5. Once the workers have passed it, `votes.windows` is emptied too.
6. The bridges resume.

A reset that fails can be repeated. Once the epoch was opened it must be repeated: until then the
bridges, which resume on their own after a while, take in votes for the previous epoch, and those
are void.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
from redis.asyncio import Redis

from schemas.codec import encode
from schemas.control import EpochOpened
from schemas.genesis import Genesis, RehearsalGenesis
from schemas.notices import IntakePaused, IntakeResumed, Notice
from streams.adapters.kafka.view import LogView
from streams.adapters.postgres.connection import translated
from streams.adapters.rabbitmq.client import Channel, QueueMissing, connected
from streams.adapters.redis.client import batches, redis_errors
from streams.adapters.redis.keys import COUNTER_PREFIX, THROTTLE_PREFIX, VOTED_HASHES
from streams.control.epochs import read_epochs
from streams.control.issuer import NOW_MS, Issuer
from streams.core.contests import reset_to_drafts
from streams.core.records import OutRecord
from streams.core.topics import CONTROL_TOPIC, VALIDATION_TOPIC, WINDOWS_TOPIC
from streams.errors import LogMismatch, ScrutinError
from streams.settings.configs import RabbitConfig
from streams.worker.sink_epochs import open_epoch

PAUSE_S: Final = 15.0
"""Longest pause of the bridges."""
_SETTLE_S: Final = 2.0
"""Longest wait for the bridges to stop."""
_POLL_S: Final = 0.02
_CHUNK: Final = 1_000

Say = Callable[[str], None]
Passed = Callable[[bytes], Awaitable[None]]


def require_rehearsal(genesis: Mapping[int, Genesis], name: str) -> None:
    """Refuse a log that did not begin as this rehearsal; its processes would ignore the reset.

    Args:
        genesis: of each partition of the input log.
        name: of the rehearsal.

    Raises:
        LogMismatch: the log has no mark, or that of another rehearsal.
    """
    for partition, first in sorted(genesis.items()):
        marked = first.rehearsal if isinstance(first, RehearsalGenesis) else None
        if marked != name:
            raise LogMismatch(
                "The log did not begin as a rehearsal, so its votes stay"
                if marked is None
                else f"The log began as the rehearsal {marked!r}, so its votes stay",
                where={"topic": VALIDATION_TOPIC, "partition": partition},
                todo="A log is marked when it begins, and only then. For a rehearsal: stop all"
                " processes, delete the topics, set SCRUTIN_REHEARSAL for all of them, start them,"
                " and let `scrutin fresh` archive the results of the old log",
            )


@dataclass(kw_only=True)
class Reset:
    """One reset, done by :meth:`run`."""

    issuer: Issuer
    """Holding its turn."""
    view: LogView
    """Of Kafka."""
    redis: Redis
    """Of the mirror."""
    rabbit: RabbitConfig
    """Where RabbitMQ is."""
    ingress: list[str]
    """Deployed names of the queues that the bridges read."""
    review: str
    """Deployed name of the review queue."""
    passed: Passed
    """Waits until every partition has passed a command."""
    say: Say
    """Called with each step done."""

    def __post_init__(self) -> None:
        self._opened = False

    async def run(self) -> dict[str, Any]:
        """Reset; returns `epoch`, `messages_removed` and `took_s`.

        Raises:
            ScrutinError: the workers have not yet taken over every partition.
            ServiceUnavailable: a service does not answer.
        """
        began_s = time.monotonic()
        await self._check_fences()
        current, epoch = await self._epochs()
        until_ms = int((time.time() + PAUSE_S) * 1000)
        await self._send(IntakePaused(self.issuer.log_id, epoch, until_ms))
        try:
            removed = await self._empty(epoch)
        except BaseException:
            # Once the epoch may be in the log, votes count again only after a reset that succeeds.
            if not self._opened:
                await asyncio.shield(self._send(IntakeResumed(self.issuer.log_id, current)))
            raise
        return {
            "epoch": epoch,
            "messages_removed": removed,
            "took_s": round(time.monotonic() - began_s, 2),
        }

    async def _empty(self, epoch: int) -> int:
        async with connected(self.rabbit, "scrutin reset") as connection:
            channel = await connection.channel()
            await self._until_idle(channel)
            removed = await self._purge(channel, [*self.ingress, self.review])
            self.say("queues are empty")
            await self._empty_mirror()
            self.say("the mirror is empty")
            command = await self._open_epoch(epoch)
            self.say("the results are empty, the epoch is in every partition of the log")
            await self.issuer.change_contests(lambda known, _: reset_to_drafts(known))
            await self.passed(command.command_id)
            await self._empty_windows()
            self.say("the workers have passed it")
            # Messages that were being requeued when their consumer stopped.
            removed += await self._purge(channel, self.ingress)
        await self._send(IntakeResumed(self.issuer.log_id, epoch))
        self.say("the intake continues")
        return removed

    async def _check_fences(self) -> None:
        async with translated({"table": "sink_offsets"}):
            fences = await self.issuer.connection.fetchval("SELECT count(*) FROM sink_offsets")
        if fences < self.issuer.partitions:
            raise ScrutinError(
                f"Only {fences} of {self.issuer.partitions} partitions were ever counted",
                where={"table": "sink_offsets"},
                todo="Start a worker, wait until it is ready, and try again",
            )

    async def _epochs(self) -> tuple[int, int]:
        """The current epoch of the bridges, and the first one that was never opened."""
        current, begun = await read_epochs(self.view, self.issuer.log_id)
        async with translated({"table": "sink_offsets"}):
            known = await self.issuer.connection.fetchval("SELECT max(epoch) FROM sink_offsets")
        return current, max(begun, int(known)) + 1

    async def _send(self, notice: Notice) -> None:
        await self.issuer.writer.write([OutRecord(CONTROL_TOPIC, 0, encode(notice))])

    async def _until_idle(self, channel: Channel) -> None:
        """Wait until no bridge consumes; votes of one that does not stop become void."""
        deadline = time.monotonic() + _SETTLE_S
        for queue in self.ingress:
            try:
                while (await channel.depth(queue)).consumers and time.monotonic() < deadline:  # noqa: ASYNC110
                    await asyncio.sleep(_POLL_S)
            except QueueMissing:
                return

    async def _purge(self, channel: Channel, queues: list[str]) -> int:
        removed = 0
        for queue in queues:
            try:
                removed += await channel.purge(queue)
            except QueueMissing:
                # A missing queue closes the channel, and is empty.
                return removed
        return removed

    async def _empty_mirror(self) -> None:
        async with redis_errors("empty the mirror"):
            await self.redis.unlink(VOTED_HASHES)
            # Requests of the rehearsal must not throttle the real vote.
            for prefix in (COUNTER_PREFIX, THROTTLE_PREFIX):
                scan = self.redis.scan_iter(f"{prefix}*", count=_CHUNK)
                async for names in batches(scan, _CHUNK):
                    await self.redis.unlink(*names)

    async def _open_epoch(self, epoch: int) -> EpochOpened:
        async with translated({"table": "control_commands"}):
            now_ms = await self.issuer.connection.fetchval(NOW_MS)
        command = EpochOpened(
            number=await self.issuer.next_number(now_ms),
            command_id=secrets.token_bytes(16),
            issued_ms=now_ms,
            epoch=epoch,
        )

        async def empty() -> None:
            await open_epoch(self.issuer.connection, epoch)

        self._opened = True
        await self.issuer.issue(command, empty)
        return command

    async def _empty_windows(self) -> None:
        """Remove every window from the topic; the publisher waits for the cursor meanwhile."""
        connection: asyncpg.Connection = self.issuer.connection
        async with translated({"table": "window_cursor"}), connection.transaction():
            await connection.fetchval("SELECT 1 FROM window_cursor FOR UPDATE")
            keys: set[bytes] = set()
            spans = await self.view.spans(WINDOWS_TOPIC)
            async for records in self.view.read(WINDOWS_TOPIC, spans):
                for record in records:
                    if record.key is not None:
                        (keys.add if record.value is not None else keys.discard)(record.key)
            tombstones = [OutRecord(WINDOWS_TOPIC, 0, None, key) for key in sorted(keys)]
            for first in range(0, len(tombstones), _CHUNK):
                await self.issuer.writer.write(tombstones[first : first + _CHUNK])
