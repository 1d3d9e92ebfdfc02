"""From votes to totals through every stage as pure code, whatever is repeated, lost or late.

Two validation workers and two sinks over one partition: deliveries, redeliveries, replays,
takeovers, zombies, crashes within a write, offsets that lie. At any moment the totals are those of
some beginning of the log, and in the end those of all of it, as the simplest model tells them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from schemas.codec import decode_verdicts
from schemas.votes import REPLAYABLE, Flag, Kind, Vote, VoteBatch
from streams.core.fence import Fence, FlushResult, FlushWork, MissingRange, admit
from streams.core.records import VerdictEvent
from streams.core.topics import VALIDATED_TOPIC
from streams.core.windows import Deltas, Windows
from streams.worker.aggregation import event_of
from tests.strategies import LOG_ID, batches, make_batch
from tests.unit.worker.stage_harness import Crashed, OneWorker, legible, new_broker

LATEST = 8
"""Identities of later attempts that an entry keeps."""
WINDOWS = Windows(1000)


@dataclass
class Simple:
    """Who has voted, in a dictionary; knows nothing of batches, tables, chains or fences."""

    totals: Counter[tuple[str, str]] = field(default_factory=Counter)
    windows: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    attempts: Counter[tuple[str, ...]] = field(default_factory=Counter)
    refused: int = 0
    seen: dict[tuple[str, ...], list[tuple[bytes, bool]]] = field(default_factory=dict)
    """Submissions: identity, and whether the delivery was marked as perhaps not the first."""

    def vote(self, vote: Vote, window_ms: int) -> None:
        """Take one vote of the log."""
        law = vote.kind == Kind.LAW
        if not vote.flags & Flag.ON_ROLL or (law and vote.choice not in {"oui", "non"}):
            self.refused += 1
            return
        voter = (vote.hash,) if law else (vote.contest, vote.hash)
        known = self.seen.get(voter)
        # 63 bits: the last of the eight bytes shares its place with the mark.
        identity = vote.identity[:7] + bytes((vote.identity[7] >> 1,))
        marked = bool(vote.flags & REPLAYABLE)
        if known is None:
            self.seen[voter] = [(identity, marked)]
            self.totals[vote.contest, vote.choice] += 1
            self.windows[vote.contest, vote.choice, window_ms] += 1
        elif (identity, True) not in known and not (marked and (identity, False) in known):
            self.attempts[voter] += 1
            self.refused += 1
            self.seen[voter] = [known[0], *[*known[1:], (identity, marked)][-LATEST:]]


@dataclass
class Database:
    """What one transaction of the sink changes."""

    fence: Fence
    totals: Counter[tuple[str, str]] = field(default_factory=Counter)
    windows: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    refused: int = 0


class ExactlyOnce(RuleBasedStateMachine):
    """Everything that may happen between a vote and its total."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.broker = new_broker()
        self.workers = [OneWorker(self.broker), OneWorker(self.broker)]
        self.alive = [False, False]
        self.generation = 0
        self.database = Database(Fence(LOG_ID, -1, -1, -1, epoch=0))

    def teardown(self) -> None:
        self.runner.close()

    # Validation.

    @rule(batch=batches)
    def votes_arrive(self, batch: VoteBatch) -> None:
        self.broker.append_input(batch)

    @rule(batch=batches)
    def a_batch_is_delivered_again(self, batch: VoteBatch) -> None:
        """The bridge died after Kafka had it; RabbitMQ delivers all of it once more."""
        self.broker.append_input(batch)
        again = [vote_again(vote) for vote in batch.votes]
        self.broker.append_input(make_batch(*again, ingest_ms=batch.ingest_ms + 700))

    @rule(worker=st.integers(0, 1))
    def a_worker_takes_over(self, worker: int) -> None:
        self.generation += 1
        if not self.alive[worker]:
            self.workers[worker] = OneWorker(self.broker)
        self.workers[worker].assign(self.generation)
        self.alive[worker] = True

    @precondition(lambda self: any(self.alive))
    @rule(
        worker=st.integers(0, 1),
        count=st.integers(1, 4),
        skip=st.integers(0, 3),
        back=st.integers(0, 3),
        writes=st.none() | st.integers(0, 7),
    )
    def a_worker_or_a_zombie_works(
        self, worker: int, count: int, skip: int, back: int, writes: int | None
    ) -> None:
        """From where it is or from an offset that lies; it may die at any write."""
        if not self.alive[worker]:
            return
        self.broker.writes_left = writes
        try:
            self.runner.run(self.workers[worker].work(count, skip=skip, back=back))
        except Crashed:
            self.alive[worker] = False
        self.broker.writes_left = None

    # The sink.

    @rule(start=st.integers(0, 40), count=st.integers(1, 6), commits=st.booleans())
    def a_sink_flushes(self, start: int, count: int, commits: bool) -> None:
        """From any position, its own or a zombie's; COMMIT may not come to pass."""
        end = len(self.broker.topics[VALIDATED_TOPIC])
        self._flush(min(start, end), min(start + count, end), commits=commits)

    def _flush(self, start: int, end: int, *, commits: bool = True) -> None:
        try:
            after = self._apply(self._events(start, end))
        except MissingRange as gap:
            # As the stage does: what is missing first. With a hole in the chain it meets the gap
            # again.
            after = self._apply(self._events(gap.start, max(gap.end, end)))
        if commits:
            self.database = after
            self._check()

    def _events(self, start: int, end: int) -> list[VerdictEvent]:
        records = self.broker.topics[VALIDATED_TOPIC][start:end]
        return [
            event_of(0, offset, decode_verdicts(value), size_bytes=len(value))
            for offset, (_, value) in enumerate(records, start=start)
        ]

    def _apply(self, events: list[VerdictEvent]) -> Database:
        before = self.database
        at = before.fence
        fence = Fence(LOG_ID, at.source_offset, at.validated_offset, at.validated_offset, at.epoch)
        work, result, deltas = FlushWork(), FlushResult(), Deltas()
        for event in events:
            admit(event, fence, work, result)
        for _, batch, accepted in work.accepted:
            deltas.add((vote for _, vote in accepted), WINDOWS.start_ms(batch.ingest_ms))
        return Database(
            fence,
            before.totals + deltas.contests,
            before.windows + deltas.windows,
            before.refused + len(work.rejected),
        )

    # What must hold.

    def _simple(self, records: int) -> Simple:
        simple = Simple()
        for record in legible(self.broker.input_log())[:records]:
            if isinstance(record, VoteBatch):
                for vote in record.votes:
                    simple.vote(vote, record.ingest_ms // 1000 * 1000)
                simple.refused += len(record.malformed)
        return simple

    def _check(self) -> None:
        """The totals are those of a beginning of the log."""
        simple = self._simple(self.database.fence.source_offset + 1)
        assert self.database.totals == simple.totals
        assert self.database.windows == simple.windows
        assert self.database.refused == simple.refused

    @rule(worker=st.integers(0, 1))
    def in_the_end_all_is_counted(self, worker: int) -> None:
        self.a_worker_takes_over(worker)
        self.runner.run(self.workers[worker].work())
        fence = self.database.fence
        self._flush(fence.validated_offset + 1, len(self.broker.topics[VALIDATED_TOPIC]))
        log = self.broker.input_log()
        assert self.database.fence.source_offset == len(log) - 1
        table = self.workers[worker].store.partitions[0]
        attempts = sorted(entry.attempts for key in table if (entry := table.get(key)))
        simple = self._simple(len(log))
        assert len(table) == simple.totals.total()
        assert [n for n in attempts if n] == sorted(simple.attempts.values())


def vote_again(vote: Vote) -> Vote:
    """The same message, delivered once more."""
    return Vote(
        vote.hash,
        vote.contest,
        vote.kind,
        vote.choice,
        vote.flags | Flag.REDELIVERED,
        vote.identity,
        vote.timestamp_us,
    )


TestExactlyOnce = ExactlyOnce.TestCase
TestExactlyOnce.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
