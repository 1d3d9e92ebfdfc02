"""The jobs' state machine: whatever is repeated, lost or late, each phase starts and ends once."""

from __future__ import annotations

import random
from array import array
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.tally import (
    Cancel,
    Combine,
    Create,
    Decrypt,
    Done,
    Failed,
    JobState,
    LaneKey,
    Mode,
    Phase,
    Resume,
    TallyEvent,
    TallyTask,
    Uploaded,
)
from streams.tally.chunks import chunk_numbers, chunk_sizes, election_number, shuffle, shuffle_seed
from streams.tally.codec import decode_event, decode_state, decode_task, encode
from streams.tally.jobs import MAX_ATTEMPTS, Pace, lane_of, step, tick

CREATE = Create("e", ["a", "b", "c"], 2, Mode.SINGLE, 50)
CENTERS = 2
CHUNKS = 3


class Play:
    """Feeds events to the machine and does its tasks."""

    def __init__(self, pace: Pace | None = None) -> None:
        self.pace = pace or Pace(in_flight=2)
        self.state: JobState | None = None
        self.offset = 0
        self.now_ms = 0
        self.waiting: list[TallyTask] = []
        self.given_out: Counter[tuple[LaneKey, int]] = Counter()

    def feed(self, event: TallyEvent, offset: int | None = None) -> None:
        given = self.offset if offset is None else offset
        out = step(
            self.state,
            decode_event(encode(event)),
            offset=given,
            now_ms=self.now_ms,
            pace=self.pace,
        )
        self.offset = max(self.offset, given + 1)
        self._take(out.state, out.tasks)

    def wait(self, ms: int) -> None:
        self.now_ms += ms
        assert self.state is not None
        out = tick(self.state, now_ms=self.now_ms, pace=self.pace)
        self._take(out.state, out.tasks)

    def _take(self, state: JobState | None, tasks: list[TallyTask]) -> None:
        self.state = None if state is None else decode_state(encode(state))
        for task in tasks:
            self.given_out[task.lane, task.unit] += 1
        self.waiting += [decode_task(encode(task)) for task in tasks]

    def do(self, task: TallyTask) -> None:
        self.feed(Done("e", task.lane, task.unit, chunks=CHUNKS, centers=CENTERS))

    def run(self) -> None:
        while self.waiting:
            self.do(self.waiting.pop(0))

    def complete(self, phase: Phase, guardian: str = "", missing: str = "") -> bool:
        assert self.state is not None
        lane = lane_of(self.state, LaneKey(phase, guardian, missing))
        return lane is not None and lane.complete

    def opened(self) -> list[LaneKey]:
        assert self.state is not None
        return [lane.key for lane in self.state.lanes]


def test_all_guardians_present_need_no_compensation() -> None:
    play = Play()
    play.feed(CREATE)
    play.run()
    assert play.complete(Phase.TOTAL)
    for guardian in "abc":
        play.feed(Decrypt("e", guardian))
    play.run()
    assert play.complete(Phase.PUBLISH)
    assert not [key for key in play.opened() if key.phase == Phase.COMPENSATED]
    assert set(play.given_out.values()) == {1}


def test_a_quorum_stands_in_for_the_missing_once_nobody_else_comes() -> None:
    play = Play()
    play.feed(Cancel("e"))
    assert play.state is None
    # Guardians may act before the tally is asked for; other ids are forgotten.
    play.feed(Decrypt("e", "1"))
    play.feed(Decrypt("e", "stranger"))
    assert not play.waiting
    play.feed(CREATE)
    play.feed(CREATE)
    play.feed(Decrypt("e", "a"))
    play.run()
    play.feed(Combine("e"))
    play.run()
    assert not play.complete(Phase.COMBINE)
    play.feed(Decrypt("e", "c"))
    play.run()
    assert play.complete(Phase.PUBLISH)
    assert play.state is not None
    assert play.state.present == ["a", "c"]
    assert play.complete(Phase.COMPENSATED, "a", "b")
    assert play.complete(Phase.COMPENSATED, "c", "b")
    # Too late: the count is out.
    play.feed(Decrypt("e", "b"))
    assert not play.waiting


def test_shares_made_elsewhere_are_waited_for_and_not_given_out() -> None:
    play = Play()
    play.feed(CREATE)
    early = Uploaded("e", LaneKey(Phase.PARTIAL, "a"))
    play.feed(early)
    assert LaneKey(Phase.PARTIAL, "a") not in play.opened()
    play.run()
    play.feed(early)
    play.feed(Uploaded("e", LaneKey(Phase.PARTIAL, "stranger")))
    play.feed(Uploaded("e", LaneKey(Phase.PARTIAL, "b")))
    # Before anybody knew that it would be needed.
    play.feed(Uploaded("e", LaneKey(Phase.COMPENSATED, "a", "c")))
    play.feed(Uploaded("e", LaneKey(Phase.COMPENSATED, "a", "b")))
    play.feed(Combine("e"))
    assert not play.waiting
    assert play.complete(Phase.COMPENSATED, "a", "c")
    assert not play.complete(Phase.COMPENSATED, "b", "c")
    assert not play.complete(Phase.COMBINE)
    play.feed(Uploaded("e", LaneKey(Phase.COMPENSATED, "b", "c")))
    play.run()
    assert play.complete(Phase.PUBLISH)


def test_a_unit_is_tried_three_times_with_growing_pauses_then_given_up_alone() -> None:
    play = Play(Pace(in_flight=1, retry_ms=100))
    play.feed(CREATE)
    play.do(play.waiting.pop())
    poison = play.waiting.pop(0)
    play.feed(Failed("e", poison.lane, poison.unit, 1, "poison"))
    # The others go on meanwhile.
    play.run()
    for attempt, pause_ms in ((2, 100), (3, 200)):
        play.wait(pause_ms - 1)
        assert not play.waiting
        play.wait(1)
        task = play.waiting.pop(0)
        assert (task.unit, task.attempt) == (poison.unit, attempt)
        play.feed(Failed("e", task.lane, task.unit, attempt, "poison"))
    play.wait(10**9)
    assert not play.waiting
    assert play.state is not None
    lane = lane_of(play.state, LaneKey(Phase.TALLY))
    assert lane is not None
    assert lane.stuck
    assert lane.failed == {0: "poison"}
    assert lane.done == CHUNKS - 1
    assert not play.complete(Phase.TOTAL)
    play.feed(Resume("e"))
    assert [(task.unit, task.attempt) for task in play.waiting] == [(0, 1)]
    play.run()
    assert play.complete(Phase.TOTAL)


def test_a_unit_that_nobody_answers_for_is_given_out_again() -> None:
    play = Play(Pace(timeout_ms=1_000, retry_ms=100))
    play.feed(CREATE)
    lost = play.waiting.pop()
    play.wait(1_000)
    assert not play.waiting
    play.wait(100)
    again = play.waiting.pop()
    assert (again.lane, again.unit, again.attempt) == (lost.lane, lost.unit, 2)
    # The first one was slow, not dead; what it says of its attempt no longer counts.
    play.feed(Failed("e", lost.lane, 0, 1, "late"))
    assert not play.waiting
    play.do(lost)
    play.do(again)
    assert play.complete(Phase.PLAN)
    assert play.opened().count(LaneKey(Phase.TALLY)) == 1


def test_nothing_is_given_out_between_cancel_and_resume() -> None:
    play = Play(Pace(in_flight=1))
    play.feed(CREATE)
    play.feed(Cancel("e"))
    play.do(play.waiting.pop())
    assert not play.waiting
    play.wait(10**9)
    assert not play.waiting
    play.feed(Resume("e"))
    play.run()
    assert play.complete(Phase.TOTAL)


def test_an_election_without_ballots_comes_to_an_end() -> None:
    play = Play()
    play.feed(CREATE)
    play.feed(Done("e", LaneKey(Phase.PLAN), 0, chunks=0))
    play.waiting.clear()
    play.feed(Done("e", LaneKey(Phase.TOTAL), 0, centers=1))
    for guardian in "abc":
        play.feed(Decrypt("e", guardian))
    while play.waiting:
        task = play.waiting.pop()
        play.feed(Done("e", task.lane, task.unit, centers=1))
    assert play.complete(Phase.PUBLISH)


def test_no_more_is_given_out_than_the_pace_allows() -> None:
    play = Play(Pace(in_flight=1))
    play.feed(CREATE)
    play.do(play.waiting.pop())
    assert len(play.waiting) == 1
    play.do(play.waiting.pop())
    assert [task.unit for task in play.waiting] == [1]


@settings(max_examples=60, deadline=None)
@given(st.integers(min_value=0), st.booleans())
def test_repeats_losses_failures_and_any_order_change_nothing_of_the_outcome(
    seed: int, everybody: bool
) -> None:
    """Events come again, tasks are lost, done twice or fail; every unit ends up done."""
    rng = random.Random(seed)
    play = Play(Pace(in_flight=rng.randint(1, 4), retry_ms=10, timeout_ms=100))
    log: list[tuple[TallyEvent, int]] = []

    def feed(event: TallyEvent) -> None:
        log.append((event, play.offset))
        play.feed(event)

    feed(CREATE)
    commands: list[TallyEvent] = [Decrypt("e", g) for g in ("abc" if everybody else "ab")]
    commands.append(Combine("e"))
    failures: Counter[tuple[LaneKey, int]] = Counter()
    for _ in range(2_000):
        if play.complete(Phase.PUBLISH):
            break
        action = rng.random()
        if commands and action < 0.2:
            feed(commands.pop(0))
        elif play.waiting and action < 0.9:
            task = play.waiting.pop(rng.randrange(len(play.waiting)))
            unit = (task.lane, task.unit)
            fate = rng.random()
            if fate < 0.15 and failures[unit] < MAX_ATTEMPTS - 1:
                failures[unit] += 1
                if fate < 0.1:
                    feed(Failed("e", task.lane, task.unit, task.attempt, "x"))
                continue
            done = Done("e", task.lane, task.unit, chunks=CHUNKS, centers=CENTERS)
            feed(done)
            if fate > 0.8:
                feed(done)
        else:
            play.wait(rng.choice([5, 10, 200]))
            if rng.random() < 0.1:
                feed(Resume("e"))
        if rng.random() < 0.1:
            event, offset = rng.choice(log)
            before = play.state
            play.feed(event, offset)
            assert play.state == before
    assert play.complete(Phase.PUBLISH)
    opened = play.opened()
    assert len(set(opened)) == len(opened)
    phases = [key.phase for key in opened]
    assert phases == sorted(phases, key=list(Phase).index)


JAVA = {
    42: [0, 1, 6, 7, 3, 5, 10, 11, 9, 8, 4, 2],
    -7: [2, 11, 7, 8, 1, 6, 3, 4, 9, 0, 5, 10],
    123456789012345: [6, 11, 2, 3, 5, 8, 0, 7, 4, 9, 1, 10],
}
"""What `Collections.shuffle` of OpenJDK 17 makes of 0 … 11 with `new Random(seed)`."""


@pytest.mark.parametrize("seed", JAVA)
def test_ballots_are_shuffled_as_java_does(seed: int) -> None:
    items = array("I", range(12))
    shuffle(items, seed)
    assert list(items) == JAVA[seed]


@given(st.integers(0, 3_000), st.integers(1, 200))
def test_chunks_hold_every_ballot_and_differ_by_one_at_most(ballots: int, size: int) -> None:
    sizes = chunk_sizes(ballots, size)
    assert sum(sizes) == ballots
    assert len(sizes) == (0 if ballots == 0 else max(1, ballots // size))
    assert sizes == sorted(sizes, reverse=True)
    assert not sizes or sizes[0] - sizes[-1] <= 1
    counted = Counter(chunk_numbers(ballots, size, 7))
    assert [counted[number] for number in range(len(sizes))] == sizes


def test_the_shuffle_s_seed_wraps_as_java_s_long_does() -> None:
    assert shuffle_seed(12, []) == 12
    assert shuffle_seed(12, [3, 4]) == (12 * 31 + 3) * 31 + 4
    assert -(2**63) <= shuffle_seed(12, range(1, 100)) < 2**63
    assert election_number("0042") == 42
    assert 0 <= election_number("mayor-2026") < 2**63
