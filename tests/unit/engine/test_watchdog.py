"""When a tally worker counts as stalled."""

from __future__ import annotations

from faust.types import TP

from streams.engine.watchdog import StallClock

TASKS = TP("tally.tasks", 0)


def test_only_waiting_records_that_nobody_takes_count_as_still() -> None:
    clock = StallClock(0.0)
    assert clock.update({TASKS: 5}, {TASKS: 5}, 100.0) == 0
    assert clock.update({TASKS: 5}, {TASKS: 6}, 130.0) == 30
    assert clock.update({TASKS: 5}, {TASKS: 6}, 170.0) == 70
    assert clock.update({TASKS: 6}, {TASKS: 9}, 180.0) == 0
    assert clock.update({TASKS: 6}, {TASKS: 9}, 190.0) == 10
    # A long piece of work, a rebalance, an outage.
    clock.excuse(200.0)
    assert clock.update({TASKS: 6}, {TASKS: 9}, 205.0) == 5
    assert clock.update({TASKS: 9}, {TASKS: 9}, 300.0) == 0


def test_a_partition_that_comes_or_goes_begins_anew() -> None:
    clock = StallClock(0.0)
    other = TP("tally.tasks", 1)
    assert clock.update({TASKS: 0}, {TASKS: 1}, 10.0) == 0
    assert clock.update({TASKS: 0, other: 0}, {TASKS: 1, other: 0}, 60.0) == 0
    assert clock.update({TASKS: 0, other: 0}, {TASKS: 1, other: 0}, 100.0) == 40
