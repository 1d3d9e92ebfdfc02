"""The validation stage over a log in memory: takeovers, zombies, crashes, commits that lie.

A state machine drives two workers over one partition in every way Kafka can, and a reader with a
fence, as the sink has, must always have seen the verdicts of a plain fold of the log.
"""

from __future__ import annotations

import asyncio
import hashlib

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from schemas.codec import decode_input, encode
from schemas.control import Control
from schemas.genesis import Genesis
from schemas.skip import Skip
from schemas.voted import CHANGELOG_KEY
from schemas.votes import VoteBatch
from streams.control.skips import UNDECODABLE_RECORD, read_input
from streams.core.records import Undecodable
from streams.core.topics import VALIDATED_TOPIC, VALIDATION_TOPIC
from streams.errors import LogMismatch, PoisonRecord, RecoveryFailed
from streams.worker.validation import VALIDATION_GROUP_RECORDS
from tests.strategies import (
    LOG_ID,
    batches,
    controls,
    make_batch,
    make_malformed,
    make_vote,
    ruled_batches,
)
from tests.unit.worker.stage_harness import (
    CHANGELOG,
    GENESIS,
    Broker,
    Crashed,
    OneWorker,
    legible,
    new_broker,
    plain_fold,
    through_the_fence,
)


def skip_of(offset: int, raw: bytes) -> Skip:
    """An operator's decision."""
    return Skip(offset, len(raw), hashlib.sha256(raw).digest(), 1_760_000_009_000, "test")


class Takeovers(RuleBasedStateMachine):
    """Two workers, one partition."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.broker = new_broker()
        self.workers = [OneWorker(self.broker), OneWorker(self.broker)]
        self.alive = [False, False]
        self.owner = 0
        self.generation = 0

    def teardown(self) -> None:
        self.runner.close()

    def _assign(self, worker: int) -> None:
        self.generation += 1
        if not self.alive[worker]:
            self.workers[worker] = OneWorker(self.broker)
        self.workers[worker].assign(self.generation)
        self.alive[worker] = True
        self.owner = worker

    def _work(self, worker: int, count: int, *, skip: int = 0, back: int = 0) -> None:
        # A crash takes the worker's memory with it; so does a record that ends the process.
        try:
            self.runner.run(self.workers[worker].work(count, skip=skip, back=back))
        except (Crashed, PoisonRecord):
            self.alive[worker] = False

    @initialize(worker=st.integers(0, 1))
    def start(self, worker: int) -> None:
        self._assign(worker)

    @rule(batch=batches)
    def votes_arrive(self, batch: VoteBatch) -> None:
        self.broker.append_input(batch)

    @rule(batch=ruled_batches)
    def votes_under_rules_arrive(self, batch: VoteBatch) -> None:
        self.broker.append_input(batch)

    @rule(control=controls)
    def a_command_arrives(self, control: Control) -> None:
        self.broker.append_input(control)

    @rule()
    def the_last_record_is_produced_again(self) -> None:
        log = self.broker.topics[VALIDATION_TOPIC]
        log.append(log[-1])

    @rule(junk=st.sampled_from([b"", b"junk", b"\xc1"]))
    def a_record_arrives_that_cannot_be_decoded(self, junk: bytes) -> None:
        self.broker.topics[VALIDATION_TOPIC].append((None, junk))

    @rule(which=st.integers(0, 2))
    def an_operator_lets_a_record_pass(self, which: int) -> None:
        undecided = self._undecided()
        if undecided:
            self._let_pass(undecided[which % len(undecided)])

    def _undecided(self) -> list[int]:
        log = [read_input(raw) for raw in self.broker.input_log()]
        decided = {record.offset for record in log if isinstance(record, Skip)}
        broken = {n for n, record in enumerate(log) if isinstance(record, Undecodable)}
        return sorted(broken - decided)

    def _let_pass(self, offset: int) -> None:
        raw = self.broker.input_log()[offset]
        self.broker.append_input(skip_of(offset, raw))

    @precondition(lambda self: self.alive[self.owner])
    @rule(count=st.integers(1, 4))
    def the_owner_works(self, count: int) -> None:
        self._work(self.owner, count)

    @precondition(lambda self: self.alive[self.owner])
    @rule(count=st.integers(1, 4), back=st.integers(1, 5))
    def the_committed_offset_is_behind(self, count: int, back: int) -> None:
        self._work(self.owner, count, back=back)

    @precondition(lambda self: self.alive[self.owner])
    @rule(count=st.integers(1, 4), skip=st.integers(1, 5))
    def the_committed_offset_ran_ahead(self, count: int, skip: int) -> None:
        self._work(self.owner, count, skip=skip)

    @precondition(lambda self: self.alive[self.owner])
    @rule(records=st.integers(0, 7))
    def the_owner_dies_within_a_write(self, records: int) -> None:
        self.broker.writes_left = records
        self._work(self.owner, 4)
        self.broker.writes_left = None

    @rule(worker=st.integers(0, 1))
    def a_worker_takes_over(self, worker: int) -> None:
        self._assign(worker)

    @precondition(lambda self: self.alive[1 - self.owner])
    @rule(count=st.integers(1, 4))
    def a_zombie_goes_on(self, count: int) -> None:
        """It does not know that the partition is not its own any more."""
        self._work(1 - self.owner, count)

    @precondition(lambda self: self.alive[1 - self.owner])
    @rule(records=st.integers(0, 5))
    def a_zombie_dies_within_a_write(self, records: int) -> None:
        self.broker.writes_left = records
        self._work(1 - self.owner, 4)
        self.broker.writes_left = None

    @invariant()
    def verdicts_are_those_of_a_plain_fold(self) -> None:
        log = legible(self.broker.input_log())
        expected = plain_fold(log)
        seen = through_the_fence(self.broker)
        assert [v.rejections for v in seen] == expected[: len(seen)]
        assert [decode_input(v.record) for v in seen] == log[: len(seen)]

    @rule(worker=st.integers(0, 1))
    def in_the_end_every_record_has_its_verdicts(self, worker: int) -> None:
        for offset in self._undecided():
            self._let_pass(offset)
        self._assign(worker)
        self._work(worker, 1_000_000)
        assert len(through_the_fence(self.broker)) == len(self.broker.topics[VALIDATION_TOPIC])
        offsets = {CHANGELOG_KEY.unpack(key)[0] for key, _ in self.broker.topics[CHANGELOG]}
        assert offsets == set(range(len(self.broker.topics[VALIDATION_TOPIC])))


TestTakeovers = Takeovers.TestCase
TestTakeovers.settings = settings(max_examples=120, stateful_step_count=25, deadline=None)


async def test_changelog_goes_before_verdicts() -> None:
    """A verdict that is out must be found in the table by the next owner."""
    broker = new_broker(make_batch(make_vote(1)), make_batch(make_vote(2)))
    worker = OneWorker(broker)
    worker.assign(1)
    broker.writes_left = 3
    with pytest.raises(Crashed):
        await worker.work()
    assert len(broker.topics[CHANGELOG]) == 3
    assert broker.topics[VALIDATED_TOPIC] == []


async def test_what_was_decided_but_not_emitted_is_emitted_again_not_decided_again() -> None:
    broker = new_broker(make_batch(make_vote(1), make_vote(1, message="b")))
    first = OneWorker(broker)
    first.assign(1)
    broker.writes_left = 2
    with pytest.raises(Crashed):
        await first.work()
    second = OneWorker(broker)
    second.assign(2)
    await second.work()
    assert len(broker.topics[CHANGELOG]) == 2
    seen = through_the_fence(broker)
    assert [r.attempt for r in seen[1].rejections] == [1]
    assert second.metric("scrutin_gaps_healed_total", stage="validation") == 0


async def test_a_commit_that_ran_ahead_of_what_is_out_skips_nothing() -> None:
    """Decided up to 4, out up to 0, and the committed offset says 3."""
    broker = new_broker(*(make_batch(make_vote(n)) for n in range(5)))
    first = OneWorker(broker)
    first.assign(1)
    await first.work(1)
    broker.writes_left = 4
    with pytest.raises(Crashed):
        await first.work(4)
    second = OneWorker(broker)
    second.assign(2)
    await second.stage.process(second.events(3, 6))
    assert [v.offset for v in through_the_fence(broker)] == list(range(6))


async def test_a_replayed_record_is_dropped_and_counted() -> None:
    broker = new_broker(make_batch(make_vote(1)))
    worker = OneWorker(broker)
    worker.assign(1)
    await worker.work()
    await worker.work(back=5)
    assert len(broker.topics[VALIDATED_TOPIC]) == 2
    assert worker.metric("scrutin_replays_total", stage="validation") == 2


async def test_a_gap_is_read_from_the_log_and_counted() -> None:
    broker = new_broker(*(make_batch(make_vote(n)) for n in range(5)))
    worker = OneWorker(broker)
    worker.assign(1)
    await worker.work(1, skip=5)
    assert len(through_the_fence(broker)) == 6
    assert worker.metric("scrutin_gaps_healed_total", stage="validation") == 1


async def test_a_long_gap_is_healed_in_parts() -> None:
    """Else a crash within it would leave more undelivered verdicts than the table keeps."""
    count = 2 * VALIDATION_GROUP_RECORDS + 10
    broker = new_broker(*(make_batch(make_vote(1, message=n)) for n in range(count)))
    worker = OneWorker(broker)
    worker.assign(1)
    broker.writes_left = 2 * VALIDATION_GROUP_RECORDS + 1
    with pytest.raises(Crashed):
        await worker.work(1, skip=count)
    assert len(broker.topics[VALIDATED_TOPIC]) == VALIDATION_GROUP_RECORDS
    worker = OneWorker(broker)
    worker.assign(2)
    await worker.work()
    assert [v.rejections for v in through_the_fence(broker)] == plain_fold(
        [decode_input(value) for _, value in broker.topics[VALIDATION_TOPIC]]
    )


async def test_events_of_an_assignment_that_ended_are_left_to_the_next_owner() -> None:
    broker = new_broker(make_batch(make_vote(1)))
    worker = OneWorker(broker)
    worker.assign(1)
    events = worker.events(0, 2)
    worker.revoke()
    await worker.stage.process(events)
    worker.assign(2)
    await worker.stage.process(events)
    assert broker.topics[CHANGELOG] == []
    assert broker.topics[VALIDATED_TOPIC] == []


async def test_the_position_after_a_revoke_is_unknown() -> None:
    broker = new_broker(make_batch(make_vote(1)))
    worker = OneWorker(broker)
    worker.assign(1)
    worker.revoke()
    assert await worker.stage.position(0) is None


async def test_a_record_counts_in_the_metrics_by_verdict() -> None:
    batch = make_batch(
        make_vote(1),
        make_vote(1, message="again"),
        make_vote(2, choice="maybe"),
        make_vote(3),
        malformed=(make_malformed(),),
    )
    worker = OneWorker(new_broker(batch))
    worker.assign(1)
    await worker.work()
    name = "validation_votes_processed_total"
    by_status = {
        status: worker.metric(name, status=status)
        for status in ("valid", "duplicate", "invalid", "malformed")
    }
    assert by_status == {"valid": 2, "duplicate": 1, "invalid": 1, "malformed": 1}


async def test_a_later_genesis_has_no_effect_but_a_verdict() -> None:
    broker = new_broker(Genesis(b"?" * 16, 0), make_batch(make_vote(1)))
    worker = OneWorker(broker)
    worker.assign(1)
    await worker.work()
    assert [v.offset for v in through_the_fence(broker)] == [0, 1, 2]
    assert {v.log_id for v in through_the_fence(broker)} == {LOG_ID}


async def test_another_genesis_at_the_beginning_is_another_log() -> None:
    broker = Broker()
    broker.append_input(Genesis(b"?" * 16, 0))
    worker = OneWorker(broker)
    worker.assign(1)
    with pytest.raises(LogMismatch, match="replaced while this worker ran"):
        await worker.work()


async def test_a_log_that_ends_before_what_was_applied_is_refused() -> None:
    broker = new_broker(make_batch(make_vote(1)))
    worker = OneWorker(broker)
    worker.assign(1)
    await worker.work()
    broker.topics[VALIDATION_TOPIC].pop()
    with pytest.raises(LogMismatch, match="applied input offset 1, but the log ends at 0"):
        await worker.stage.position(0)


async def test_verdicts_beyond_the_changelog_are_refused() -> None:
    broker = new_broker(make_batch(make_vote(1)))
    worker = OneWorker(broker)
    worker.assign(1)
    await worker.work()
    broker.topics[CHANGELOG].pop()
    other = OneWorker(broker)
    other.assign(2)
    with pytest.raises(LogMismatch, match=r"up to input offset 1, but .* ends at 0"):
        await other.stage.position(0)


async def test_a_zombie_that_wrote_after_our_restore_is_no_mismatch() -> None:
    broker = new_broker(make_batch(make_vote(1)))
    zombie = OneWorker(broker)
    zombie.assign(1)
    worker = OneWorker(broker)
    worker.assign(2)
    await zombie.work()
    await worker.work()
    assert [v.offset for v in through_the_fence(broker)] == [0, 1]


async def test_a_changelog_of_another_log_is_refused() -> None:
    broker = new_broker(make_batch(make_vote(1)))
    worker = OneWorker(broker)
    worker.assign(1)
    await worker.work()
    other = OneWorker(broker)
    other.stage.open({0: Genesis(b"?" * 16, 0)})
    with pytest.raises(LogMismatch, match="belongs to another input log"):
        other.assign(2)


async def test_a_changelog_with_a_hole_is_refused() -> None:
    broker = new_broker(make_batch(make_vote(1)), make_batch(make_vote(2)))
    worker = OneWorker(broker)
    worker.assign(1)
    await worker.work()
    del broker.topics[CHANGELOG][1]
    with pytest.raises(RecoveryFailed, match="misses the record of input offset 1"):
        OneWorker(broker).assign(2)


@pytest.mark.parametrize("value", [b"", b"\xc1", encode(GENESIS)])
async def test_verdicts_that_cannot_be_decoded_name_their_place(value: bytes) -> None:
    broker = new_broker(make_batch(make_vote(1)))
    broker.topics[VALIDATED_TOPIC].append((None, value))
    worker = OneWorker(broker)
    worker.assign(1)
    with pytest.raises(PoisonRecord) as caught:
        await worker.work()
    assert caught.value.where == {"topic": VALIDATED_TOPIC, "partition": 0, "offset": 0}


async def test_a_skipped_record_that_cannot_be_decoded_names_its_place() -> None:
    broker = new_broker()
    broker.topics[VALIDATION_TOPIC].append((None, b"junk"))
    broker.append_input(make_batch(make_vote(1)))
    worker = OneWorker(broker)
    worker.assign(1)
    with pytest.raises(PoisonRecord) as caught:
        await worker.work(1, skip=2)
    assert caught.value.where == {"topic": VALIDATION_TOPIC, "partition": 0, "offset": 1}


async def test_what_came_before_a_record_that_stops_the_count_is_out() -> None:
    broker = new_broker(make_batch(make_vote(1)))
    broker.topics[VALIDATION_TOPIC].append((None, b"junk"))
    broker.append_input(make_batch(make_vote(2)))
    worker = OneWorker(broker)
    worker.assign(1)
    with pytest.raises(PoisonRecord) as caught:
        await worker.work()
    assert [v.offset for v in through_the_fence(broker)] == [0, 1]
    assert f"scrutin skip {VALIDATION_TOPIC} 0 2" in caught.value.todo


async def test_a_record_that_was_let_pass_is_one_malformed_message() -> None:
    broker = new_broker(make_batch(make_vote(1)))
    broker.topics[VALIDATION_TOPIC].append((None, b"junk"))
    broker.append_input(make_batch(make_vote(2)))
    broker.append_input(skip_of(2, b"junk"))
    worker = OneWorker(broker)
    worker.assign(1)
    await worker.work()
    seen = through_the_fence(broker)
    assert [(r.status, r.reason) for r in seen[2].rejections] == [("malformed", UNDECODABLE_RECORD)]
    batch = decode_input(seen[2].record)
    assert isinstance(batch, VoteBatch)
    [item] = batch.malformed
    assert (item.head, item.length, item.sha256) == (b"junk", 4, hashlib.sha256(b"junk").digest())
    assert [len(v.rejections) for v in seen] == [0, 0, 1, 0, 0]
    assert worker.metric("scrutin_skipped_records_total") == 1


async def test_a_decision_holds_for_its_bytes_and_its_place_only() -> None:
    broker = new_broker(make_batch(make_vote(1)))
    broker.topics[VALIDATION_TOPIC].append((None, b"junk"))
    broker.append_input(skip_of(2, b"other junk"))
    broker.append_input(skip_of(1, b"junk"))
    worker = OneWorker(broker)
    worker.assign(1)
    with pytest.raises(PoisonRecord):
        await worker.work()
    broker.append_input(skip_of(2, b"junk"))
    await worker.work()
    assert len(through_the_fence(broker)) == 6


async def test_a_decision_is_no_reason_to_pass_a_record_that_can_be_decoded() -> None:
    good = make_batch(make_vote(1))
    broker = new_broker(good)
    broker.append_input(skip_of(1, encode(good)))
    worker = OneWorker(broker)
    worker.assign(1)
    await worker.work()
    assert [len(v.rejections) for v in through_the_fence(broker)] == [0, 0, 0]
    assert len(worker.store.partitions[0]) == 1


async def test_own_writes_are_noted_with_their_place_in_the_changelog() -> None:
    worker = OneWorker(new_broker(make_batch(make_vote(1))))
    worker.assign(1)
    await worker.work()
    assert worker.store.own == [(0, 0), (0, 1)]
