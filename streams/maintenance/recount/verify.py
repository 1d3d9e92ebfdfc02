"""Recounts all partitions in processes of their own, and compares the whole."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from streams.adapters.postgres.connection import connected
from streams.core.leaves import id_of_secret, secret_of
from streams.core.topics import changelog_topic
from streams.maintenance.guard import Bars
from streams.maintenance.recount.findings import (
    DifferenceKind,
    Mark,
    PartitionRecount,
    RecountFinding,
)
from streams.maintenance.recount.group import recount_group
from streams.maintenance.recount.partition import PartitionTask
from streams.maintenance.recount.whole import compare_whole
from streams.proof.chain import BrokenChain, CheckpointChain
from streams.proof.checkpoints import Checkpoint
from streams.proof.notes import BadNote, Verifier
from streams.settings.configs import DeploymentConfig

IN_MEMORY: Final = 5_000_000
"""A count of more leaves than this has its voted table on disk while it is counted again."""

_FENCES: Final = """
SELECT o.partition, o.log_id, o.source_offset, o.epoch, o.tree_size, o.tree_peaks, o.tree_secret,
    coalesce(s.start_offset, 0) AS start_offset
FROM sink_offsets AS o LEFT JOIN proof_starts AS s USING (partition) ORDER BY 1
"""
_NOTES: Final = "SELECT size, note FROM proof_checkpoints ORDER BY size"
_POLL_S: Final = 0.1


@dataclass
class RecountReport:
    """What was counted again, and what differs."""

    partitions: int = 0
    records: int = 0
    votes: int = 0
    leaves: int = 0
    audit_rows: int = 0
    rejected_rows: int = 0
    checkpoints: int = 0
    last_checkpoint: Checkpoint | None = None
    trusted: bool = False
    """Whether the first key was given, not read from the database."""
    findings: list[RecountFinding] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return not self.findings

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        names = ("partitions", "records", "votes", "leaves", "audit_rows", "rejected_rows")
        last = self.last_checkpoint
        return {
            "equal": self.equal,
            **{name: getattr(self, name) for name in names},
            "checkpoints": self.checkpoints,
            "head": last.root.hex() if last else None,
            "signed_at": last.statement.at.isoformat() if last else None,
            "key_given": self.trusted,
            "differences": [finding.as_dict() for finding in self.findings],
        }


async def recount(
    config: DeploymentConfig,
    keys: Sequence[Verifier],
    seen: Mapping[int, str],
    bars: Bars,
    *,
    processes: int = 0,
    in_memory: int = IN_MEMORY,
) -> RecountReport:
    """Count everything again.

    Args:
        config: of the deployment.
        keys: of the log, got from elsewhere; empty: those of the first checkpoint.
        seen: checkpoints that others have, by number.
        bars: shows progress.
        processes: how many at once; 0: as many as there are cores.
        in_memory: leaves of the largest count whose voters are kept in memory.

    Raises:
        ServiceUnavailable: a service does not answer.
    """
    report = RecountReport(trusted=bool(keys))
    async with (
        connected(config.postgres) as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        snapshot = await connection.fetchval("SELECT pg_export_snapshot()")
        marks = await _checkpoints(connection, keys, seen, report)
        sum_key = secrets.token_bytes(32)
        tasks = await _tasks(config, connection, marks, report, sum_key)
        groups = _groups(tasks, min(len(tasks), processes or os.cpu_count() or 1))
        on_disk = sum(task.tree_size for task in tasks) > in_memory
        parts = await _count(config, snapshot, groups, bars, on_disk=on_disk)
        for part in parts:
            _add(report, part)
        last, findings = report.last_checkpoint, report.findings
        await compare_whole(connection, parts, last, findings, sum_key)
    return report


async def _checkpoints(
    connection: Any, keys: Sequence[Verifier], seen: Mapping[int, str], report: RecountReport
) -> dict[int, list[Mark]]:
    """What checkpoints say about each partition, up to the first bad one.

    That is one that is not signed, or does not continue the others. Only what is needed while the
    log is read is kept: the totals of all checkpoints would take more memory than all else.
    """
    marks: dict[int, list[Mark]] = {}
    chain = CheckpointChain(list(keys))
    equal: dict[int, bool] = {}
    fault: RecountFinding | None = None
    async for number, note in connection.cursor(_NOTES):
        if number in seen:
            equal[number] = _body(note) == _body(seen[number])
        if fault is None:
            try:
                checkpoint = Checkpoint.parse(note)
                chain.add(checkpoint)
            except BadNote as error:
                kind = DifferenceKind.CHECKPOINT_SIGNATURE
                fault = RecountFinding(kind, f"{error}", checkpoint=number)
            except BrokenChain as error:
                kind, what = DifferenceKind.CHECKPOINT_CHAIN, f"The checkpoint: {error}"
                fault = RecountFinding(kind, what, checkpoint=number)
            else:
                report.checkpoints += 1
                for tree in checkpoint.statement.trees:
                    mark = Mark(checkpoint.size, tree.log_id, tree.offset, tree.size, tree.root)
                    marks.setdefault(tree.partition, []).append(mark)
    if fault is not None:
        report.findings.append(fault)
    report.last_checkpoint = chain.last
    for number in sorted(seen):
        if number not in equal:
            what = "A checkpoint that was published is not in the database"
            report.findings.append(
                RecountFinding(DifferenceKind.CHECKPOINT_MISSING, what, checkpoint=number)
            )
            break
        if not equal[number]:
            what = "A checkpoint was published with another content"
            report.findings.append(
                RecountFinding(DifferenceKind.SPLIT_VIEW, what, checkpoint=number)
            )
            break
    return marks


def _body(note: str) -> str:
    """What is signed; witnesses add signatures to a copy."""
    return note.rpartition("\n\n")[0]


async def _tasks(
    config: DeploymentConfig,
    connection: Any,
    marks: dict[int, list[Mark]],
    report: RecountReport,
    sum_key: bytes,
) -> list[PartitionTask]:
    secret = secret_of(config.proof_secret)
    tasks = []
    for row in await connection.fetch(_FENCES):
        if row["tree_secret"] not in {b"", id_of_secret(secret)}:
            what = "The trees were made with another secret than SCRUTIN_PROOF_SECRET"
            report.findings.append(
                RecountFinding(DifferenceKind.SECRET, what, partition=row["partition"])
            )
        tasks.append(
            PartitionTask(
                partition=row["partition"],
                log_id=row["log_id"],
                end=row["source_offset"] + 1,
                epoch=row["epoch"],
                tree_start=row["start_offset"],
                tree_size=row["tree_size"],
                tree_peaks=row["tree_peaks"],
                marks=marks.pop(row["partition"], []),
                secret=secret,
                sum_key=sum_key,
                window_ms=config.window_ms,
                changelog_topic=changelog_topic(config.kafka.app_id),
            )
        )
    for partition, left in marks.items():
        what = "The database has no partition that was signed"
        first = left[0].checkpoint
        report.findings.append(
            RecountFinding(DifferenceKind.TREE, what, partition=partition, checkpoint=first)
        )
    return tasks


def _add(report: RecountReport, part: PartitionRecount) -> None:
    report.partitions += 1
    report.records += part.records
    report.votes += part.votes
    report.leaves += part.leaves
    report.audit_rows += part.audit_rows
    report.rejected_rows += part.rejected_rows
    report.findings += part.findings


# Processes

_progress: Any = None


def _begin(progress: Any) -> None:
    global _progress  # noqa: PLW0603 - the only way into a process of a pool
    _progress = progress


async def _count(
    config: DeploymentConfig,
    snapshot: str,
    groups: list[list[PartitionTask]],
    bars: Bars,
    *,
    on_disk: bool,
) -> list[PartitionRecount]:
    if not groups:
        return []
    total = sum(task.end for group in groups for task in group)
    if len(groups) == 1:
        with bars("counting again", total) as advance:
            return await recount_group(config, snapshot, groups[0], advance, on_disk=on_disk)
    context = multiprocessing.get_context("spawn")
    progress = context.Array("q", len(groups))
    with (
        ProcessPoolExecutor(len(groups), context, initializer=_begin, initargs=(progress,)) as pool,
        bars("counting again", total) as advance,
    ):
        running = [
            pool.submit(_work, config, snapshot, group, number, on_disk=on_disk)
            for number, group in enumerate(groups)
        ]
        done = 0
        while not all(each.done() for each in running):
            await asyncio.sleep(_POLL_S)
            done = _show(progress, done, advance)
        _show(progress, done, advance)
        parts = [part for each in running for part in each.result()]
        return sorted(parts, key=lambda part: part.partition)


def _show(progress: Any, shown: int, advance: Callable[[int], None]) -> int:
    now = sum(progress)
    advance(now - shown)
    return int(now)


def _work(
    config: DeploymentConfig,
    snapshot: str,
    tasks: list[PartitionTask],
    number: int,
    *,
    on_disk: bool,
) -> list[PartitionRecount]:
    def advance(records: int) -> None:
        _progress[number] += records

    return asyncio.run(recount_group(config, snapshot, tasks, advance, on_disk=on_disk))


def _groups(tasks: list[PartitionTask], count: int) -> list[list[PartitionTask]]:
    """As many groups with about as many leaves each."""
    groups: list[list[PartitionTask]] = [[] for _ in range(count)]
    for task in sorted(tasks, key=lambda task: -task.tree_size):
        min(groups, key=lambda group: sum(each.tree_size + each.end for each in group)).append(task)
    return groups
