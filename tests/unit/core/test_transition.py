"""One step of validation: the change, and both records that are derived from it."""

from __future__ import annotations

import pytest

from schemas.codec import InputRecord, decode_verdicts, decode_voted, encode
from schemas.genesis import Genesis, RehearsalGenesis
from schemas.skip import Skip
from schemas.voted import CHANGELOG_KEY
from streams.core.topics import VALIDATED_TOPIC
from streams.core.transition import Transition, apply_record, recall_verdicts
from streams.core.voted_partition import VotedPartition
from streams.errors import RecoveryFailed
from tests.strategies import (
    LOG_ID,
    contests_changed,
    epoch_opened,
    make_batch,
    make_contest,
    make_vote,
)

PARTITION = 3
CHANGELOG = "app-voted-changelog"
RECORDS: list[InputRecord] = [
    Genesis(LOG_ID, 1),
    make_batch(make_vote(1), make_vote(2)),
    make_batch(make_vote(1, message="again")),
    contests_changed(1, make_contest("C-1")),
]


def applied() -> tuple[VotedPartition, list[Transition]]:
    state = VotedPartition(PARTITION)
    return state, [
        apply_record(state, LOG_ID, offset, record, encode(record), changelog_topic=CHANGELOG)
        for offset, record in enumerate(RECORDS)
    ]


def test_both_records_belong_to_the_input_record() -> None:
    state, steps = applied()
    assert state.applied == len(RECORDS) - 1
    for offset, (record, step) in enumerate(zip(RECORDS, steps, strict=True)):
        changelog, verdicts = step.changelog, step.verdicts
        assert (changelog.topic, changelog.partition) == (CHANGELOG, PARTITION)
        assert changelog.key == CHANGELOG_KEY.pack(offset)
        assert decode_voted(changelog.value or b"") == step.change
        assert (verdicts.topic, verdicts.partition, verdicts.key) == (
            VALIDATED_TOPIC,
            PARTITION,
            None,
        )
        batch = decode_verdicts(verdicts.value or b"")
        assert (batch.log_id, batch.partition) == (LOG_ID, PARTITION)
        assert (batch.offset, batch.previous_offset) == (offset, offset - 1)
        assert batch.rejections == step.change.rejections
        assert bytes(batch.record) == encode(record)
    assert [len(step.change.rejections) for step in steps] == [0, 0, 1, 0]


def test_verdicts_are_recalled_as_they_were() -> None:
    state, steps = applied()
    for offset, (record, step) in enumerate(zip(RECORDS, steps, strict=True)):
        assert recall_verdicts(state, LOG_ID, offset, encode(record)) == step.verdicts


def test_verdicts_that_are_not_kept_are_not_made_up() -> None:
    state, _ = applied()
    with pytest.raises(RecoveryFailed):
        recall_verdicts(state, LOG_ID, len(RECORDS), b"")


def epochs(*records: InputRecord) -> tuple[int, int]:
    """The epoch after some records, and how many commands had no effect."""
    state = VotedPartition(PARTITION)
    changes = [
        apply_record(state, LOG_ID, offset, record, encode(record), changelog_topic=CHANGELOG)
        for offset, record in enumerate(records)
    ]
    # A restore comes to the same.
    restored = VotedPartition(PARTITION)
    for offset, step in enumerate(changes):
        restored.apply(offset, decode_voted(step.changelog.value or b""))
    assert (restored.rules.epoch, len(restored)) == (state.rules.epoch, len(state))
    return state.rules.epoch, state.rules.ignored


def test_only_a_log_that_began_as_a_rehearsal_can_be_reset() -> None:
    rehearsal = RehearsalGenesis(LOG_ID, 1, "dry-run")
    reset = epoch_opened(1, 1)
    votes = make_batch(make_vote(1))
    assert epochs(rehearsal, votes, reset) == (1, 0)
    assert epochs(Genesis(LOG_ID, 1), votes, reset, votes) == (0, 1)
    # The mark counts at the beginning only.
    assert epochs(Genesis(LOG_ID, 1), rehearsal, votes, reset) == (0, 1)


def test_a_skip_changes_nothing() -> None:
    state, _ = applied()
    skip = Skip(1, 0, b"", 1, "cut off")
    step = apply_record(state, LOG_ID, len(RECORDS), skip, b"", changelog_topic=CHANGELOG)
    assert step.change.rejections == []
    assert len(state) == 2
