"""When a reader of verdicts commits."""

from __future__ import annotations

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError

from streams.bridge import verdict_reader
from streams.bridge.verdict_reader import _OffsetCommitter

FIRST, SECOND = TopicPartition("votes.validated", 0), TopicPartition("votes.validated", 1)


class Kafka:
    """Takes commits, or refuses them."""

    def __init__(self) -> None:
        self.commits: list[dict[TopicPartition, int]] = []
        self.refuses = False

    async def commit(self, ends: dict[TopicPartition, int]) -> None:
        if self.refuses:
            raise CommitFailedError
        self.commits.append(ends)


@pytest.fixture
def kafka() -> Kafka:
    return Kafka()


@pytest.fixture
def done(kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> _OffsetCommitter:
    monkeypatch.setattr(verdict_reader, "_COMMIT_PERIOD_S", 3600.0)
    return _OffsetCommitter(kafka, "scrutin-egress")


async def test_the_first_is_committed_at_once_and_more_with_the_next(
    kafka: Kafka, done: _OffsetCommitter
) -> None:
    await done.add({FIRST: 3})
    await done.add({FIRST: 5})
    await done.add({SECOND: 2})
    await done.add({FIRST: 9})
    assert kafka.commits == [{FIRST: 3}]
    await done.commit()
    await done.commit()
    assert kafka.commits == [{FIRST: 3}, {FIRST: 9, SECOND: 2}]


async def test_it_is_committed_before_the_partitions_go_elsewhere(
    kafka: Kafka, done: _OffsetCommitter
) -> None:
    await done.add({FIRST: 3})
    await done.add({FIRST: 5})
    await done.on_partitions_revoked([FIRST])
    assert kafka.commits == [{FIRST: 3}, {FIRST: 5}]
    assert done.rebalances == 1


async def test_what_the_group_gave_away_is_forgotten(kafka: Kafka, done: _OffsetCommitter) -> None:
    kafka.refuses = True
    await done.add({FIRST: 3})
    await done.add({FIRST: 5})
    await done.on_partitions_revoked([FIRST])
    kafka.refuses = False
    await done.commit()
    assert kafka.commits == []
