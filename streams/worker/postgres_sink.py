"""The fenced sink: writes verdict batches to PostgreSQL, exactly once.

A flush is one transaction. It locks the fence rows of its partitions first, drops batches at or
below the fence, writes all rows and totals, moves the fence, and commits. A second worker that
believes it owns a partition waits on the lock and then sees that it is late. If the reply to COMMIT
is lost, the same flush is repeated and the fence drops what was applied.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any, Final

import asyncpg
import structlog

from schemas.control import EpochOpened
from schemas.verdicts import Rejection, Status, VerdictBatch
from schemas.votes import Vote, VoteBatch
from streams.adapters.postgres import statements
from streams.adapters.postgres.connection import Pooled, keep_session, translated
from streams.adapters.postgres.copying import copy_encoded
from streams.adapters.postgres.stretches import (
    STRETCH_VOTES,
    StretchState,
    read_state,
    state_of,
)
from streams.core.counted_rows import VOTE_COLUMNS, StoredKey, vote_rows
from streams.core.fence import Fence, FlushResult, FlushWork, Place, admit
from streams.core.keys import stored_hash
from streams.core.leaves import id_of_secret, secret_of
from streams.core.records import VerdictEvent
from streams.core.rows import (
    REJECTED_COLUMNS,
    RejectedItem,
    moment,
    rejected_row,
    source_of,
    unix_us,
)
from streams.core.rules import epoch_of
from streams.core.tree_growth import Growth, Tree, grow
from streams.core.windows import Deltas, Windows
from streams.errors import SettingsError
from streams.runtime import failpoints
from streams.runtime.failpoints import Point
from streams.runtime.metrics import WorkerMetrics
from streams.settings.configs import PostgresConfig
from streams.worker.sink_controls import write_controls
from streams.worker.sink_epochs import begin_epoch, make_fences, stop_flushes
from streams.worker.sink_totals import add_and_move, plan_flush
from streams.worker.stretch_filters import Stretches

log = structlog.get_logger(__name__)

FROZEN_AFTER_S: Final = 15
"""Time without a byte from a worker in the middle of its rows, after which it counts as frozen."""
PLANNED_CONNECTIONS: Final = 5
"""As many as flushes, their upkeep, windows, contests and metrics use at the same time."""
ALREADY_COUNTED: Final = "already_counted"
"""Reason for an accepted vote that `vote_audit` already had: table and database disagree."""


class _Unfenced(Exception):
    """A partition has no fence yet."""


class _CountedBefore(Exception):
    """An earlier stretch of votes has one that is accepted now."""


class PostgresSink(Pooled):
    """Adapter to the result database.

    Args:
        config: where the database is.
        windows: assigns batches to windows.
        metrics: the worker's.
        name: of the worker.
        partitions: of the log.
        secret: of the proof (`SCRUTIN_PROOF_SECRET`).
        schema: of the tables; the user's own by default.
        stretch_votes: see :class:`Stretches`.
    """

    def __init__(
        self,
        config: PostgresConfig,
        windows: Windows,
        metrics: WorkerMetrics,
        *,
        name: str,
        partitions: int,
        secret: str = "",
        schema: str = "",
        stretch_votes: int = STRETCH_VOTES,
    ) -> None:
        self._stretches = Stretches(stretch_votes)
        self._stretch: StretchState | None = None
        self._partitions = partitions
        self._secret = secret_of(secret)
        super().__init__(config, f"scrutin-worker {name}", schema, reset=keep_session)
        self._windows = windows
        self._metrics = metrics
        self._summing_up: asyncio.Task[None] | None = None

    async def __aexit__(self, *exc: object) -> None:
        if self._summing_up is not None:
            self._summing_up.cancel()
            await asyncio.wait([self._summing_up])
        await super().__aexit__(*exc)

    async def prepare(self) -> None:
        """Do what the first flush would be late for.

        Read what many votes before make large, and have PostgreSQL plan a flush's statements.

        Raises:
            ServiceUnavailable: the database does not answer.
        """
        async with translated(self._where), AsyncExitStack() as opened:
            for _ in range(min(PLANNED_CONNECTIONS, self._config.max_connections)):
                connection = await opened.enter_async_context(self.connections.acquire())
                state = await read_state(connection)
                await plan_flush(connection)
                await self._stretches.load(connection, state)

    async def positions(self) -> dict[int, int]:
        """Next offset of `votes.validated` to apply, by partition.

        Raises:
            ServiceUnavailable: the database does not answer.
        """
        async with translated(self._where), self.connections.acquire() as connection:
            rows = await connection.fetch(statements.READ_OFFSETS)
        return {row["partition"]: row["validated_offset"] + 1 for row in rows}

    async def flush(self, events: Sequence[VerdictEvent]) -> FlushResult:
        """Apply events in one transaction.

        Raises:
            MissingRange: batches before one of the events are missing; nothing was applied.
            LogMismatch: an event belongs to another log than the database.
            ServiceUnavailable: the database does not answer. Whether the flush was applied is
                unknown; repeat it.
        """
        started_s = time.perf_counter()
        async with translated(self._where), self.connections.acquire() as connection:
            try:
                result = await self._write(connection, events)
            except _Unfenced:
                await make_fences(connection, events)
                result = await self._write(connection, events)
            except asyncpg.LockNotAvailableError:
                await _end_frozen(connection)
                raise
            failpoints.at(Point.AFTER_COMMIT)
            took_s = time.perf_counter() - started_s
            if self._stretch is not None:
                # One worker builds filters; the others read them.
                builds = any(event.verdicts.partition == 0 for event in events)
                votes = sum(event.weight for event in events)
                await self._stretches.keep_up(connection, self._stretch, builds=builds, votes=votes)
                if builds:
                    self._sum_up(self._stretch)
        self._metrics.flush_duration.observe(took_s)
        self._metrics.batch_processing_duration.set(took_s)
        self._metrics.database_operations.labels("flush", "success").inc()
        self._metrics.ignored_commands.labels(stage="sink").inc(result.ignored)
        return result

    def _sum_up(self, state: StretchState) -> None:
        if self._summing_up is not None:
            if not self._summing_up.done():
                return
            # What may fail did so in the log.
            self._summing_up.result()
        if self._stretches.has_to_sum_up(state):
            beside = self._stretches.sum_up_beside(self.connections, state)
            self._summing_up = asyncio.create_task(beside)

    async def _write(self, connection: Any, events: Sequence[VerdictEvent]) -> FlushResult:
        try:
            async with connection.transaction():
                return await self._apply(connection, events, self._copy)
        except (asyncpg.ExclusionViolationError, asyncpg.UniqueViolationError, _CountedBefore):
            # The fast path works only while voted table and database agree.
            self._metrics.database_operations.labels("flush", "conflict").inc()
            async with connection.transaction():
                return await self._apply(connection, events, self._insert)

    async def _apply(
        self, connection: Any, events: Sequence[VerdictEvent], write_votes: Any
    ) -> FlushResult:
        result = FlushResult()
        fences = await self._lock(connection, events)
        work = FlushWork()
        for event in events:
            admit(event, fences[event.verdicts.partition], work, result)
        if work.rehearsals:
            await connection.execute(statements.MARK_REHEARSAL, work.rehearsals)
        # Before items are void: leaves follow from the log alone.
        grown = self._grow(work, fences)
        await self._open_epoch(connection, work, fences)
        if work.controls:
            await write_controls(connection, work.controls, self._partitions)
        work.settle()
        taken_back = await _take_back(connection, work)
        already_counted = await write_votes(connection, work)
        deltas = self._deltas(work, already_counted)
        rejected = [*work.rejected, *already_counted.values()]
        result.already_counted = len(already_counted)
        for row in taken_back:
            start_ms = self._windows.start_ms(unix_us(row["taken_in"]) // 1000)
            deltas.take_back(row["contest"], row["choice"], start_ms, row["weight"])
        result.rejected = await self._write_rejected(connection, rejected)
        await _write_duplicates(connection, rejected)
        result.totals, result.counted = await add_and_move(connection, deltas, fences, grown)
        failpoints.at(Point.BEFORE_COMMIT)
        return result

    def _deltas(self, work: FlushWork, already_counted: Mapping[Place, RejectedItem]) -> Deltas:
        """What the accepted votes add, without those that the database already had."""
        deltas = Deltas()
        by_window: defaultdict[int, list[Vote]] = defaultdict(list)
        for event, batch, accepted in work.accepted:
            partition, offset = event.verdicts.partition, event.verdicts.offset
            start_ms = self._windows.start_ms(batch.ingest_ms)
            counted = accepted
            if already_counted:
                counted = [
                    (index, vote)
                    for index, vote in accepted
                    if (partition, offset, index) not in already_counted
                ]
            if work.weights:
                by_window[start_ms] += [
                    v for i, v in counted if (partition, offset, i) not in work.weights
                ]
                for index, vote in counted:
                    if weight := work.weights.get((partition, offset, index)):
                        deltas.add_weighted(vote, start_ms, weight)
            else:
                by_window[start_ms] += [vote for _, vote in counted]
        for start_ms, votes in by_window.items():
            deltas.add(votes, start_ms)
        return deltas

    async def _lock(self, connection: Any, events: Sequence[VerdictEvent]) -> dict[int, Fence]:
        partitions = sorted({event.verdicts.partition for event in events})
        if any(isinstance(event.record, EpochOpened) for event in events):
            # Before this flush's fences, so that two flushes that open an epoch cannot deadlock.
            await stop_flushes(connection)
        rows = await connection.fetch(statements.LOCK_FENCE, partitions)
        if len(rows) < len(partitions):
            raise _Unfenced
        self._stretch = state_of(rows[0])
        await self._stretches.load(connection, self._stretch)
        return {
            row["partition"]: Fence(
                row["log_id"],
                row["source_offset"],
                row["validated_offset"],
                row["validated_offset"],
                row["epoch"],
                row["rehearsal"],
                Tree(row["tree_size"], row["tree_peaks"], row["tree_start"]),
                row["tree_secret"],
            )
            for row in rows
        }

    def _grow(self, work: FlushWork, fences: Mapping[int, Fence]) -> list[Growth]:
        by_partition: dict[int, list[tuple[VerdictBatch, VoteBatch]]] = {}
        for event, batch, _ in work.accepted:
            by_partition.setdefault(event.verdicts.partition, []).append((event.verdicts, batch))
        secret_id = id_of_secret(self._secret)
        grown = []
        for partition, batches in by_partition.items():
            fence = fences[partition]
            if fence.tree_secret not in {b"", secret_id}:
                raise SettingsError(
                    "The proof of this count was begun with another secret",
                    where={**self._where, "variable": "SCRUTIN_PROOF_SECRET"},
                    todo="Set it to what it was; it cannot change while a count lasts",
                )
            growth = grow(self._secret, fence.tree, batches)
            if growth is not None:
                fence.tree, fence.tree_secret = growth.tree, secret_id
                grown.append(growth)
        return grown

    async def _open_epoch(self, connection: Any, work: FlushWork, fences: dict[int, Fence]) -> None:
        """Void items of epochs before the database's epoch.

        Normally the reset emptied the results. A database that did not see it, because it was
        restored from a backup or rebuilt, is emptied by the first flush that reaches the epoch.
        Other partitions may still be in the previous epoch; their votes are void from here on.
        """
        known = max((fence.epoch for fence in fences.values()), default=0)
        opened = [p.control.epoch for p in work.controls if isinstance(p.control, EpochOpened)]
        epoch = max([known, *opened])
        if epoch > known:
            await self._empty(connection, epoch)
        if epoch:
            work.accepted = [one for one in work.accepted if epoch_of(one[1]) >= epoch]
            work.rejected = [one for one in work.rejected if one.source.epoch >= epoch]

    async def _empty(self, connection: Any, epoch: int) -> None:
        try:
            await begin_epoch(connection, epoch)
        except asyncpg.InsufficientPrivilegeError as error:
            raise SettingsError(
                "The log was reset but this database was not, and the worker's user may not"
                " delete votes",
                where={**self._where, "variable": "POSTGRES_USER"},
                todo="Run `scrutin rebuild postgres --drop-unknown`, or `scrutin reset` once more,"
                " as the owner of the tables",
            ) from error

    async def _copy(self, connection: Any, work: FlushWork) -> dict[Place, RejectedItem]:
        keys, rows = self._encoded(work)
        if await self._stretches.counted(connection, self._open(), keys):
            raise _CountedBefore
        await copy_encoded(connection, "counted_votes", VOTE_COLUMNS, rows)
        return {}

    async def _insert(self, connection: Any, work: FlushWork) -> dict[Place, RejectedItem]:
        """The slow path: votes that the database already has become rejections."""
        work.accepted.sort(key=lambda one: (one[0].verdicts.partition, one[0].verdicts.offset))
        keys, encoded = self._encoded(work)
        votes = [
            (event.verdicts, batch, index, vote)
            for event, batch, accepted in work.accepted
            for index, vote in accepted
        ]
        counted = await self._stretches.counted(connection, self._open(), keys, with_open=True)
        names = [stored_hash(vote.hash, vote.contest, vote.kind) for *_, vote in votes]
        if await connection.fetchval(statements.HAS_TEXT):
            in_text = await connection.fetch(statements.COUNTED_IN_TEXT, names)
            counted.update(row["vote_hash"] for row in in_text)
        rows, already_counted = [], {}
        for (verdicts, batch, index, vote), name, row in zip(votes, names, encoded, strict=True):
            if name in counted:
                rejection = Rejection(index, Status.DUPLICATE, ALREADY_COUNTED)
                already_counted[verdicts.partition, verdicts.offset, index] = RejectedItem(
                    source_of(verdicts, batch), rejection, vote
                )
            else:
                counted.add(name)
                rows.append(row)
        await copy_encoded(connection, "counted_votes", VOTE_COLUMNS, rows)
        return already_counted

    def _encoded(self, work: FlushWork) -> tuple[list[StoredKey], list[bytes]]:
        """Keys and rows of accepted votes."""
        keys: list[StoredKey] = []
        rows: list[bytes] = []
        stretch = self._open().open_stretch
        for event, batch, accepted in work.accepted:
            made = vote_rows(event.verdicts, batch, accepted, work.weights, stretch)
            keys += made[0]
            rows += made[1]
        return keys, rows

    def _open(self) -> StretchState:
        assert self._stretch is not None, "a flush locks first"
        return self._stretch

    async def _write_rejected(self, connection: Any, rejected: list[RejectedItem]) -> int:
        possibly_known = [r.item.identity for r in rejected if r.may_be_known]
        known: set[tuple[bytes, str]] = set()
        if possibly_known:
            rows = await connection.fetch(statements.KNOWN_REJECTIONS, possibly_known)
            known = {(row["identity"], row["status"]) for row in rows}
        rows_to_write = []
        for item in rejected:
            name = (item.item.identity, str(item.rejection.status))
            if item.may_be_known and name in known:
                self._metrics.replays.labels(stage="sink").inc()
                continue
            known.add(name)
            rows_to_write.append(rejected_row(item))
        if rows_to_write:
            await connection.copy_records_to_table(
                "rejected_votes", records=rows_to_write, columns=REJECTED_COLUMNS
            )
        return len(rows_to_write)


async def _end_frozen(connection: Any) -> None:
    """Free fences that frozen workers hold; what they had not committed is not counted."""
    frozen = timedelta(seconds=FROZEN_AFTER_S)
    if ended := await connection.fetch(statements.END_FROZEN, frozen):
        log.warning("sessions of frozen workers are ended", sessions=len(ended))


async def _take_back(connection: Any, work: FlushWork) -> list[Any]:
    """Take votes back that later ones replace; one that may not be makes the later one surplus."""
    if not work.replacing:
        return []
    rows: list[Any] = await connection.fetch(statements.TAKE_BACK, sorted(work.replacing))
    return rows


async def _write_duplicates(connection: Any, rejected: Iterable[RejectedItem]) -> None:
    latest: dict[str, tuple[Vote, RejectedItem]] = {}
    for item in rejected:
        vote = item.item
        if item.rejection.status == Status.DUPLICATE and isinstance(vote, Vote):
            key = stored_hash(vote.hash, vote.contest, vote.kind)
            # An already-counted vote comes last and has no attempt number.
            if key not in latest or item.rejection.attempt >= latest[key][1].rejection.attempt:
                latest[key] = (vote, item)
    if latest:
        rows = [
            (
                *(key, vote.hash, vote.citizen_id, vote.contest, vote.kind, vote.choice),
                *(moment(vote.timestamp_us), item.rejection.attempt, item.rejection.reason),
            )
            for key, (vote, item) in sorted(latest.items(), key=lambda named: named[0])
        ]
        await connection.execute(statements.UPSERT_DUPLICATES, *zip(*rows, strict=True))
