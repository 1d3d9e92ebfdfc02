"""How far the workers are behind."""

from __future__ import annotations

from aiokafka import TopicPartition

from streams.intake.lag_gate import lag

ONE, TWO = TopicPartition("t", 0), TopicPartition("t", 1)


def test_lag_is_the_way_to_the_end() -> None:
    assert lag({ONE: 10, TWO: 5}, {ONE: 4, TWO: 5}, {}) == {ONE: 6, TWO: 0}


def test_a_group_that_never_committed_is_at_the_beginning() -> None:
    assert lag({ONE: 10, TWO: 5}, {ONE: -1}, {ONE: 3}) == {ONE: 7, TWO: 5}


def test_a_commit_beyond_the_end_is_no_negative_lag() -> None:
    assert lag({ONE: 10}, {ONE: 12}, {}) == {ONE: 0}
