"""`python -m tests.bench.recount_memory`: memory of `audit verify` as a count grows, no services.

Log, changelog, rows and stored leaves of a count are made while they are read, so that tens of
millions of votes need no disk but that of the voted table. What a process of the command holds is
as in the command: recounters, voted tables, and rows that are read once for all partitions. Clients
of Kafka and PostgreSQL are not there; they hold lists of a fixed size, and
`python -m tests.bench --only recount` has them.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import typer

from schemas.codec import decode_verdicts, encode
from schemas.genesis import Genesis
from schemas.verdicts import Acceptance, Rejection
from schemas.voted import FIRST_VOTE, Repeat, TableControl
from schemas.votes import Flag, VoteBatch
from streams.adapters.kafka.reader import LogReader
from streams.control.skips import Skips
from streams.core.decide import VoterEntry
from streams.core.leaves import secret_of
from streams.core.recent_verdicts import RecentVerdicts
from streams.core.rows import audit_rows, split
from streams.core.transition import apply_record
from streams.core.tree_growth import Tree, grow
from streams.core.voted_partition import VotedPartition
from streams.core.voter_stores import entry_of
from streams.maintenance.recount.compared_rows import rejected_columns
from streams.maintenance.recount.findings import PartitionRecount
from streams.maintenance.recount.group import side_by_side, voted_tables
from streams.maintenance.recount.partition import (
    PartitionRecounter,
    PartitionSources,
    PartitionTask,
)
from streams.maintenance.recount.row_streams import AUDIT, REJECTED, SEGMENTS
from streams.maintenance.recount.side_streams import ChangelogBeside
from tests.bench.cpu import memory_mib
from tests.bench.stage import SIZES
from tests.strategies import LOG_ID, law_hash, make_vote

RECORD: Final = SIZES["scrutin"]
PER_S: Final = 20_000
_AGAIN: Final = 50
"""A voter comes again so many records later."""
LAWS: Final = 5
LOG: Final = "log"
CHANGELOG: Final = "changelog"
_SECRET: Final = secret_of("bench")


class MadeRecord(NamedTuple):
    """A record of Kafka."""

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


class ShortMemory:
    """Voters of the latest records only; of each record the first one, who comes again."""

    def __init__(self) -> None:
        self._entries: dict[bytes, VoterEntry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._entries)

    def get(self, key: bytes) -> VoterEntry | None:
        return self._entries.get(key)

    def add(self, offset: int, first_votes: bytes) -> None:
        if first_votes:
            key, index, _, identity = FIRST_VOTE.unpack_from(first_votes)
            self._entries[key] = VoterEntry(offset, index, identity)
        while len(self._entries) > 2 * _AGAIN:
            del self._entries[next(iter(self._entries))]

    def repeat(self, repeat: Repeat) -> None:
        self._entries[repeat.key] = entry_of(repeat)

    def reject(
        self, offset: int, rejections: list[Rejection], acceptances: list[Acceptance]
    ) -> None:
        """Do nothing."""

    def control(self, offset: int, control: TableControl) -> None:
        """Do nothing."""

    def clear(self) -> None:
        self._entries.clear()


class MadePartition:
    """One partition of a count, made record by record."""

    def __init__(self, partition: int, partitions: int) -> None:
        self._partition, self._partitions = partition, partitions
        self._state = VotedPartition(
            partition, voters=ShortMemory(), recent=RecentVerdicts(records=1)
        )
        self._offset = 0
        self.tree = Tree()
        self.waiting: dict[str, deque[Any]] = {
            name: deque() for name in (LOG, CHANGELOG, SEGMENTS, REJECTED)
        }

    def next_rows(self) -> list[tuple[object, ...]]:
        """Make a record; returns its rows of `vote_audit`."""
        offset, self._offset = self._offset, self._offset + 1
        record: Genesis | VoteBatch = self._batch(offset) if offset else Genesis(LOG_ID, 0)
        raw = encode(record)
        made = apply_record(self._state, LOG_ID, offset, record, raw, changelog_topic=CHANGELOG)
        place = (self._partition, offset, 0)
        self.waiting[LOG].append(MadeRecord(*place, None, raw))
        changelog = made.changelog
        self.waiting[CHANGELOG].append(MadeRecord(*place, changelog.key, changelog.value))
        if not isinstance(record, VoteBatch):
            return []
        verdicts = decode_verdicts(made.verdicts.value)
        growth = grow(_SECRET, self.tree, [(verdicts, record)])
        assert growth is not None
        self.tree, segment = growth.tree, growth.segment
        self.waiting[SEGMENTS].append((segment.first, segment.records, segment.hashes))
        accepted, rejected = split(verdicts, record)
        self.waiting[REJECTED] += map(rejected_columns, rejected)
        return [
            (self._partition, *row[:9], 1, offset, row[12])
            for row in audit_rows(verdicts, record, accepted)
        ]

    def _batch(self, offset: int) -> VoteBatch:
        first = offset * RECORD
        numbers = [*range(first, first + RECORD - 1), max(first - _AGAIN * RECORD, RECORD)]
        votes = [
            make_vote(
                law_hash(name), contest=f"L2025-{name % LAWS:03}", message=n, flags=Flag.ON_ROLL
            )
            for n, name in enumerate(
                (n * self._partitions + self._partition for n in numbers), first
            )
        ]
        ingest_ms = 1_760_000_000_000 + first * self._partitions * 1000 // PER_S
        return VoteBatch(ingest_ms, "bench", votes, [])

    async def records(self, name: str) -> AsyncIterator[list[Any]]:
        """What was made and not yet read of the log or of the changelog."""
        while True:
            taken = list(self.waiting[name])
            self.waiting[name].clear()
            yield taken


class MadeRows:
    """Rows as from a connection to PostgreSQL.

    Args:
        made: the partitions.
        end: records of each.
        watch: called after each fetch.
    """

    def __init__(self, made: list[MadePartition], end: int, watch: Callable[[], None]) -> None:
        self._made = made
        self._end = end
        self._watch = watch

    async def cursor(self, query: str, argument: Any) -> MadeCursor:
        """A cursor on one of the queries of a recount."""
        if query == AUDIT:
            return MadeCursor(self._audit())
        return MadeCursor(self._waiting(self._made[argument].waiting[query]))

    def _audit(self) -> Iterator[list[Any]]:
        for _ in range(self._end):
            if rows := [row for each in self._made for row in each.next_rows()]:
                yield rows
                self._watch()

    def _waiting(self, waiting: deque[Any]) -> Iterator[list[Any]]:
        while True:
            taken = list(waiting)
            waiting.clear()
            yield taken


class MadeCursor:
    """Rows in lists, whatever number is asked for."""

    def __init__(self, rows: Iterator[list[Any]]) -> None:
        self._rows = rows

    async def fetch(self, _: int) -> list[Any]:
        """The next rows; nothing at the end."""
        return next(self._rows, [])


def memory(
    *,
    votes: Annotated[int, typer.Option(min=100_000, help="Votes.")] = 10_000_000,
    partitions: Annotated[int, typer.Option(min=1, help="Of one process.")] = 6,
    steps: Annotated[int, typer.Option(min=1, help="Lines of the curve.")] = 20,
    on_disk: Annotated[bool, typer.Option(help="Where the voted table is.")] = True,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write figures here.")] = None,
) -> None:
    """Count votes again, and print the memory of this process as a curve."""
    curve: list[dict[str, float]] = []
    end = votes // (partitions * RECORD)
    seen = 0

    def watch() -> None:
        nonlocal seen
        seen += 1
        if seen * steps // end > len(curve):
            held, peak = memory_mib()
            counted = seen * partitions * RECORD
            curve.append(
                {
                    "votes": counted,
                    "mib": round(held, 1),
                    "peak_mib": round(peak, 1),
                    "cpu_s": round(time.process_time(), 1),
                }
            )
            print(json.dumps(curve[-1]), flush=True)

    found = asyncio.run(recount_made(partitions, end + 1, watch, on_disk=on_disk))
    assert sum(part.votes for part in found) == end * partitions * (RECORD - 1)
    if json_file is not None:
        json_file.write_text(json.dumps({"on_disk": on_disk, "curve": curve}, indent=2) + "\n")


async def recount_made(
    partitions: int, end: int, watch: Callable[[], None], *, on_disk: bool
) -> list[PartitionRecount]:
    """Count partitions again of as many records each, and fail if anything differs."""
    made = [MadePartition(number, partitions) for number in range(partitions)]
    rows = MadeRows(made, end, watch)
    counting = {}
    with voted_tables(partitions, on_disk=on_disk) as voted:
        for number, each in enumerate(made):
            task = PartitionTask(
                partition=number,
                log_id=LOG_ID,
                end=end,
                epoch=0,
                tree_start=0,
                tree_size=0,
                tree_peaks=b"",
                marks=[],
                secret=_SECRET,
                sum_key=b"bench",
                window_ms=1000,
                changelog_topic=CHANGELOG,
            )
            changelog = ChangelogBeside(each.records(CHANGELOG), end)
            sources = PartitionSources(each.records(LOG), Skips(LogReader([])), changelog, rows)
            state, save = voted(number)
            counting[number] = PartitionRecounter(task, state, sources, lambda _: None, save)
        await side_by_side(rows, counting)
    # The tree's size and root were not known before.
    differ = [
        f for each in counting.values() for f in each.found.findings if f.table != "sink_offsets"
    ]
    assert not differ, differ
    return [each.found for each in counting.values()]


if __name__ == "__main__":
    typer.run(memory)
