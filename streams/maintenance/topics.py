"""Rebuilds `votes.validated` and the voted table's changelog from the input log."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from schemas.codec import DecodeError, decode_verdicts, decode_voted
from schemas.genesis import Genesis
from schemas.voted import CHANGELOG_KEY
from streams.adapters.kafka.admin import delete_topic, ensure_topics
from streams.adapters.kafka.reader import LogReader
from streams.adapters.kafka.view import LogView
from streams.adapters.kafka.writer import writing
from streams.adapters.postgres import statements
from streams.adapters.postgres.connection import connected
from streams.core.topics import VALIDATED_TOPIC, VALIDATION_TOPIC, changelog_topic, egress_group
from streams.errors import LOG_LOST, LogMismatch
from streams.maintenance.derived import (
    Changelog,
    DerivedFinding,
    DerivedKind,
    Validated,
    examine,
    write,
)
from streams.maintenance.groups import commit_positions, read_positions
from streams.maintenance.guard import Bars
from streams.maintenance.replay import Replay
from streams.settings.configs import DeploymentConfig
from streams.worker.log_check import check_database, check_epochs
from streams.worker.validation import TAIL_RECORDS


@dataclass
class TopicRebuildReport:
    """Outcome of rebuilding a derived topic."""

    topic: str
    found: list[DerivedFinding]
    """State before the rebuild."""
    recreated: bool = False
    written: int = 0
    verified: list[DerivedFinding] = field(default_factory=list)
    """State after the rebuild; empty if nothing was written."""

    @property
    def right(self) -> bool:
        """Whether the topic agrees with the log now."""
        return all(finding.right for finding in self.verified or self.found)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "topic": self.topic,
            "found": [finding.as_dict() for finding in self.found],
            "recreated": self.recreated,
            "written": self.written,
            "right": self.right,
        }


@dataclass
class Marks:
    """How far each consumer of the log got: last input offset per partition; -1: none."""

    end: dict[int, int]
    """Partition -> offset that the input log's next record will get."""
    decided: dict[int, int]
    emitted: dict[int, int]
    counted: dict[int, int]

    def ends(self, *which: Mapping[int, int]) -> dict[int, int]:
        """Partition -> offset up to which (exclusive) the given marks go.

        Raises:
            LogMismatch: a mark lies beyond the end of the log.
        """
        found = {p: max(mark.get(p, -1) for mark in which) + 1 for p in sorted(self.end)}
        for partition, end in found.items():
            if end > self.end[partition]:
                raise LogMismatch(
                    f"Input offset {end - 1} was decided, but the log ends at"
                    f" {self.end[partition] - 1}",
                    where={"topic": VALIDATION_TOPIC, "partition": partition},
                    todo=LOG_LOST,
                )
        return found


@dataclass
class TopicRebuild:
    """Rebuilds a derived topic."""

    config: DeploymentConfig
    """Of this deployment."""
    bars: Bars
    """Shows progress."""

    def __post_init__(self) -> None:
        self._kafka = self.config.kafka
        self._servers = self.config.kafka.servers
        self._reader = LogReader(self._servers)

    async def voted(self, *, dry_run: bool = False) -> TopicRebuildReport:
        """Rebuild the voted table's changelog up to the last emitted verdict.

        Workers decide the rest. No worker may run.

        Raises:
            LogMismatch: the log is not the one that was counted.
            PoisonRecord: the log holds a record that stops the count.
            ServiceUnavailable: a service does not answer.
        """
        genesis = await ensure_topics(self._kafka)
        marks = await self._marks(genesis)
        ends = marks.ends(marks.emitted, marks.counted)
        return await self._rebuild(self._changelog(), genesis, ends, dry_run=dry_run)

    async def validated(self, *, dry_run: bool = False) -> TopicRebuildReport:
        """Rebuild `votes.validated` up to the last decision. Neither worker nor bridge may run.

        Raises:
            As :meth:`voted`.
        """
        genesis = await ensure_topics(self._kafka)
        marks = await self._marks(genesis)
        ends = marks.ends(marks.emitted, marks.counted, marks.decided)
        positions = {} if dry_run else await read_positions(self._kafka, self._reader)
        outcome = await self._rebuild(Validated(), genesis, ends, dry_run=dry_run)
        if outcome.recreated and outcome.right:
            # The topic has one record for every input record from the start: offsets match.
            await self._move_fence(statements.ALIGN_VALIDATED)
            await commit_positions(self._kafka, positions)
        return outcome

    async def all_of(self, ends: dict[int, int]) -> list[TopicRebuildReport]:
        """Rebuild both topics after a rebuild of the log wrote its records up to `ends`.

        Reviews of these records were published when they were first counted, and are not repeated.
        """
        genesis = await ensure_topics(self._kafka)
        kinds = (self._changelog(), Validated())
        outcomes = [await self._rebuild(kind, genesis, ends, dry_run=False) for kind in kinds]
        if all(outcome.right for outcome in outcomes):
            done = {partition: end - 1 for partition, end in ends.items()}
            await commit_positions(self._kafka, {egress_group(self._kafka.app_id): done})
        return outcomes

    def _changelog(self) -> Changelog:
        return Changelog(changelog_topic(self._kafka.app_id))

    async def _marks(self, genesis: Mapping[int, Genesis]) -> Marks:
        counted: dict[int, int] = {}
        if self.config.sinks:
            async with connected(self.config.postgres) as connection:
                if await connection.fetchval(statements.HAS_FENCE):
                    await check_epochs(connection, genesis)
                    counted = await check_database(connection, genesis, self._reader)
        return Marks(
            end=await self._reader.end_offsets(VALIDATION_TOPIC, list(genesis)),
            decided=await self._last(changelog_topic(self._kafka.app_id), genesis, _decided),
            emitted=await self._last(VALIDATED_TOPIC, genesis, _emitted),
            counted=counted,
        )

    async def _last(
        self,
        topic: str,
        genesis: Mapping[int, Genesis],
        read: Callable[[Any, bytes], int],
    ) -> dict[int, int]:
        """Highest input offset that the last records of each partition name.

        Unreadable records are ignored: the rebuild replaces them.
        """
        found = {}
        for partition, first in genesis.items():
            records = await self._reader.tail(topic, partition, TAIL_RECORDS)
            found[partition] = max((read(r, first.log_id) for r in records), default=-1)
        return found

    async def _rebuild(
        self,
        kind: DerivedKind,
        genesis: Mapping[int, Genesis],
        ends: dict[int, int],
        *,
        dry_run: bool,
    ) -> TopicRebuildReport:
        log_ids = {partition: first.log_id for partition, first in genesis.items()}
        outcome = TopicRebuildReport(
            kind.topic, await self._examine(kind, log_ids, ends, "comparing")
        )
        if outcome.right or dry_run:
            return outcome
        if kind.ordered:
            # From now on the sink reads from the beginning, even if this rebuild is interrupted.
            await self._move_fence(statements.REWIND_VALIDATED)
        if any(finding.wrong for finding in outcome.found):
            outcome.recreated = True
            await delete_topic(self._servers, kind.topic)
            await ensure_topics(self._kafka)
        outcome.written = await self._write(kind, log_ids, outcome)
        outcome.verified = await self._examine(kind, log_ids, ends, "verifying")
        return outcome

    async def _examine(
        self, kind: DerivedKind, log_ids: dict[int, bytes], ends: dict[int, int], what: str
    ) -> list[DerivedFinding]:
        async with LogView(self._servers) as view:
            replay = Replay(view, self._reader, log_ids, changelog_topic(self._kafka.app_id))
            with self.bars(f"{what} {kind.topic}", sum(ends.values())) as advance:
                return await examine(view, replay, kind, ends, advance)

    async def _write(
        self, kind: DerivedKind, log_ids: dict[int, bytes], outcome: TopicRebuildReport
    ) -> int:
        if outcome.recreated:
            todo = [_all_of(finding) for finding in outcome.found]
        else:
            todo = outcome.found
        async with (
            writing(self._kafka, self.config.retry) as writer,
            LogView(self._servers) as view,
        ):
            replay = Replay(view, self._reader, log_ids, changelog_topic(self._kafka.app_id))
            total = sum(max(f.missing_offsets, default=-1) + 1 for f in todo)
            with self.bars(f"writing {kind.topic}", total) as advance:
                return await write(replay, kind, todo, writer, advance)

    async def _move_fence(self, statement: str) -> None:
        if not self.config.sinks:
            return
        async with connected(self.config.postgres) as connection:
            if await connection.fetchval(statements.HAS_FENCE):
                await connection.execute(statement)


def _all_of(finding: DerivedFinding) -> DerivedFinding:
    return replace(finding, missing_offsets=set(range(finding.expected)))


def _decided(record: Any, log_id: bytes) -> int:
    try:
        (offset,) = CHANGELOG_KEY.unpack(record.key)
        return int(offset) if decode_voted(record.value).log_id == log_id else -1
    except (DecodeError, TypeError, struct.error):
        return -1


def _emitted(record: Any, log_id: bytes) -> int:
    try:
        verdicts = decode_verdicts(record.value)
    except DecodeError:
        return -1
    return verdicts.offset if verdicts.log_id == log_id else -1
