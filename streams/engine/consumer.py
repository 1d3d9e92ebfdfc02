"""Faust's Kafka consumer, changed to survive outages and to read from the stages' positions.

Nine changes to Faust 0.15.3:

1. A commit that fails because Kafka does not answer is tried again with the next one. Faust would
   end the worker, and would treat the offset as committed.
2. Offsets from before a rebalance are not committed after it. They would set back an offset that
   another owner committed meanwhile.
3. After a rebalance a partition is read from its stage's position, not from the committed offset,
   which may be ahead of the stage.
4. Nothing is delivered while that position is looked up. Faust delivers records and seeks back
   meanwhile.
5. Records that were fetched in a rebalance and dropped are fetched again. Faust seeks back only
   where an offset is committed, and not for a fetch in progress, so a partition could stall with
   records in it.
6. The newest acknowledged offset is committed. Faust would wait for records that it dropped itself.
7. A worker that stops leaves its group even during a rebalance. aiokafka would first wait for the
   rebalance, and so for workers that are frozen.
8. The consumer's thread has an event loop of asyncio's own. Faust touches aiokafka's futures from
   the main thread too. At worst that wakes this loop late; with uvloop it ended a stopping worker
   with a segmentation fault.
9. Until partitions are read from their positions, Kafka answers a fetch soon even if there is
   nothing. aiokafka has one fetch at a time in progress; after the seek the first records would
   wait until one from before it has come back, 1.5 s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Set
from typing import Any, Final

import structlog
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from aiokafka.protocol.group import LeaveGroupRequest
from aiokafka.structs import OffsetAndMetadata
from faust.auth import Credentials, SASLCredentials, SSLCredentials
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from streams.settings.kafka_security import Security

log = structlog.get_logger(__name__)

COMMIT_TIMEOUT_S: Final = 5.0
NOTIFY_TIMEOUT_S: Final = 3.0
LEAVE_TIMEOUT_S: Final = 2.0
CANCEL_AGAIN_S: Final = 0.1
FETCH_WAIT_MS: Final = 1500
"""As Faust sets it."""
FETCH_WAIT_BEFORE_SEEK_MS: Final = 20

Positions = Callable[[set[TP]], Awaitable[Mapping[TP, int]]]
"""Given assigned partitions: the next offset to read of those that a stage knows."""


def credentials(security: Security) -> Credentials | None:
    """Credentials in Faust's form; None for plain connections."""
    if security.sasl:
        return SASLCredentials(
            username=security.user,
            password=security.secret,
            mechanism=security.mechanism,
            ssl_context=security.context,
        )
    return None if security.context is None else SSLCredentials(security.context)


class _Active:
    """A live view of the active partitions that is never empty.

    Faust changes the set during a fetch. For an empty set aiokafka would return the records of all
    partitions, and Faust would drop them.
    """

    def __init__(self, partitions: Set[TP]) -> None:
        self._partitions = partitions

    def __bool__(self) -> bool:
        return True

    def __contains__(self, tp: object) -> bool:
        return tp in self._partitions


class ConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """Survives failed commits, and delivers no record that was fetched before a seek."""

    seeks = 0
    """Number of seeks; counted in the thread."""

    rebalances = 0
    """Number of revokes and assignments; counted in the thread."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._committing: asyncio.Timeout | None = None
        self._notifying = asyncio.Lock()
        # The loop it was given is used by nothing else.
        self._close_thread_loop_on_stop = True

    async def committed(self, tps: Set[TP]) -> dict[TP, int | None]:
        """Committed offset of each partition; None where nothing is committed."""
        return dict(await self.call_thread(self._committed, tps))

    async def _committed(self, tps: Set[TP]) -> dict[TP, int | None]:
        consumer, asked = self._ensure_consumer(), list(tps)
        offsets = (consumer.committed(driver.ensure_aiokafka_TP(tp)) for tp in asked)
        return dict(zip(asked, await asyncio.gather(*offsets), strict=True))

    def answer_within(self, wait_ms: int) -> None:
        """How long Kafka may hold back the answers to fetches from now on, if there is nothing."""
        self._ensure_consumer()._fetcher._fetch_max_wait_ms = wait_ms

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Cancel the commit in progress: aiokafka would repeat it after the rebalance."""
        self.rebalances += 1
        self.answer_within(FETCH_WAIT_BEFORE_SEEK_MS)
        if self._committing is not None:
            self._committing.reschedule(0)
        async with self._notifying:
            await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Start a new assignment; only offsets acknowledged in it will be committed."""
        self.rebalances += 1
        async with self._notifying:
            await super().on_partitions_assigned(assigned, generation_id)

    async def on_thread_stop(self) -> None:
        """Leave the group and close."""
        coordinator = self._consumer and self._consumer._coordinator
        if isinstance(coordinator, GroupCoordinator):
            try:
                # The main thread commits while it handles a revoke, and needs this loop.
                async with asyncio.timeout(NOTIFY_TIMEOUT_S):
                    await self._notifying.acquire()
            except TimeoutError:
                log.warning("a rebalance did not finish before the stop", waited_s=NOTIFY_TIMEOUT_S)
            await self.method_queue.stop()
            await self._leave(coordinator)
        await super().on_thread_stop()

    async def _leave(self, coordinator: GroupCoordinator) -> None:
        joining = coordinator._coordination_task
        while not joining.done():
            # While it stops its heartbeat task, that task may absorb the cancellation: repeat it.
            joining.cancel()
            await asyncio.wait({joining}, timeout=CANCEL_AGAIN_S)
        if coordinator.member_id and coordinator.coordinator_id is not None:
            request = LeaveGroupRequest(coordinator.group_id, coordinator.member_id)
            try:
                async with asyncio.timeout(LEAVE_TIMEOUT_S):
                    # By the data connection: Kafka reads the coordinator's only after the join.
                    await coordinator._client.send(coordinator.coordinator_id, request)
            except (KafkaError, TimeoutError) as error:
                log.info("the group was not notified of the leave", error=type(error).__name__)
        coordinator.reset_generation()

    async def _seek_wait(self, consumer: Any, partitions: Mapping[TP, int]) -> None:
        self.seeks += 1
        await super()._seek_wait(consumer, partitions)

    async def _fetch_records(
        self,
        consumer: Any,
        active_partitions: Set[TP],
        timeout: float | None = None,
        max_records: int | None = None,
    ) -> Any:
        """Records of active partitions; none if there was a seek meanwhile."""
        if not active_partitions:
            return {}
        seeks = self.seeks
        records = await super()._fetch_records(
            consumer, _Active(active_partitions), timeout, max_records
        )
        if seeks == self.seeks:
            return records
        # The caller of the seek has paused the partitions, so Faust may drop these records. They
        # come after the new position: aiokafka returns no others after a seek.
        for tp, found in records.items():
            consumer.seek(tp, found[0].offset)
        return {}

    async def commit_unless_rebalanced(self, offsets: Mapping[TP, int], rebalances: int) -> bool:
        """Commit next offsets unless there was a rebalance since `rebalances` was read.

        Returns:
            Whether Kafka has them.
        """
        return bool(await self.call_thread(self._commit_unless_rebalanced, offsets, rebalances))

    async def _commit_unless_rebalanced(self, offsets: Mapping[TP, int], rebalances: int) -> bool:
        if rebalances != self.rebalances:
            return False
        consumer = self._ensure_consumer()
        commit = {
            driver.ensure_aiokafka_TP(tp): OffsetAndMetadata(offset, "")
            for tp, offset in offsets.items()
        }
        try:
            async with asyncio.timeout(COMMIT_TIMEOUT_S) as self._committing:
                await consumer.commit(commit)
        except (KafkaError, IllegalStateError, CommitFailedError, TimeoutError) as error:
            log.warning("offsets will be committed later", error=type(error).__name__)
            return False
        finally:
            self._committing = None
        return True


class Consumer(driver.Consumer):  # type: ignore[misc]
    """Keeps offsets that could not be committed, and asks the stages for their positions."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._uncommitted: dict[TP, int] = {}

    def _new_consumer_thread(self) -> ConsumerThread:
        thread_loop = asyncio.SelectorEventLoop()
        return ConsumerThread(self, loop=self.loop, thread_loop=thread_loop, beacon=self.beacon)

    @property
    def thread_loop(self) -> asyncio.AbstractEventLoop:
        """Event loop of the consumer's thread."""
        loop: asyncio.AbstractEventLoop = self._thread.thread_loop
        return loop

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Drop offsets of revoked partitions; the new owner commits its own."""
        for tp in revoked:
            self._uncommitted.pop(tp, None)
        await super().on_partitions_revoked(revoked)

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterable[TP]:
        pending = set(super()._filter_tps_with_pending_acks(topics))
        return pending | {tp for tp in self._uncommitted if topics is None or tp.topic in topics}

    def _filter_committable_offsets(self, tps: Iterable[TP]) -> dict[TP, int]:
        return {**self._uncommitted, **super()._filter_committable_offsets(tps)}

    def _new_offset(self, tp: TP) -> int | None:
        """Next offset to commit: a stage that acknowledged a record has processed all before it.

        Records that Faust read before a rebalance and dropped in it are not delivered again. The
        stage reads them from the log itself, so they are never acknowledged.
        """
        acked = self._acked[tp]
        if not acked:
            return None
        newest = max(acked)
        for state in (self._acked, self._acked_index, self._gap):
            state.pop(tp, None)
        return int(newest) + 1

    async def _commit_offsets(
        self,
        offsets: Mapping[TP, int],
        start_new_transaction: bool = True,  # noqa: ARG002 - Faust's signature
    ) -> bool:
        rebalances = self._thread.rebalances
        assignment = self.assignment()
        owned = {tp: offset for tp, offset in offsets.items() if tp in assignment}
        for tp in owned:
            self._uncommitted.pop(tp, None)
        if owned and await self._thread.commit_unless_rebalanced(owned, rebalances):
            self._committed_offset.update(owned)
            return True
        if rebalances == self._thread.rebalances:
            # Offsets added meanwhile are newer.
            self._uncommitted = {**owned, **self._uncommitted}
        return False

    async def perform_seek(self) -> None:
        """Seek every partition, with delivery to the stages paused."""
        generation = self.app.consumer_generation_id
        flowing = {
            tp
            for tp in self._get_active_partitions() | self._buffered_partitions
            if not self._is_changelog_tp(tp)
        }
        self._buffered_partitions.difference_update(flowing)
        self.pause_partitions(flowing)
        try:
            await super().perform_seek()
        finally:
            if self.app.consumer_generation_id == generation:
                self.resume_partitions(flowing)

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Seek partitions to their stages' positions, else to committed offsets or beginnings."""
        rebalances = self._thread.rebalances
        stages = {tp for tp in self.assignment() if not self._is_changelog_tp(tp)}
        committed = await self._thread.committed(stages)
        positions: Positions = self.app.stage_positions
        known = await positions(stages)
        # If the log begins after 0, Kafka finds the beginning.
        starts = {tp: known.get(tp, committed[tp] or 0) for tp in stages}
        # In the consumer's thread; `_seek` would race with a fetch in progress there.
        await self._thread.seek_wait(starts)
        if rebalances == self._thread.rebalances:
            self._thread.answer_within(FETCH_WAIT_MS)
            # Also if no record follows: the group's reported lag must be correct.
            self._uncommitted = {tp: at for tp, at in known.items() if at != committed[tp]}
        return starts


class Transport(driver.Transport):  # type: ignore[misc]
    """Faust's aiokafka transport with this consumer."""

    Consumer = Consumer
