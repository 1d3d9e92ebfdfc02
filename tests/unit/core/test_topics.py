"""Names and settings of the topics."""

from __future__ import annotations

import pytest

from streams.adapters.kafka.admin import planned_topics
from streams.core.topics import (
    MAX_DERIVED_RECORD_BYTES,
    MAX_RECORD_BYTES,
    VALIDATED_TOPIC,
    VALIDATION_TOPIC,
    WINDOWS_TOPIC,
    changelog_topic,
    egress_group,
    mirror_group,
    worker_group,
)

PLAN = {topic.name: topic for topic in planned_topics("app", 6)}


def test_names() -> None:
    assert set(PLAN) == {
        "votes.validation",
        "votes.validated",
        "votes.windows",
        "votes.control",
        "app-voted-changelog",
    }


def test_the_three_that_are_read_together_have_the_same_partitions() -> None:
    together = (VALIDATION_TOPIC, VALIDATED_TOPIC, changelog_topic("app"))
    assert {PLAN[name].partitions for name in together} == {6}
    assert PLAN[WINDOWS_TOPIC].partitions == 1


@pytest.mark.parametrize("name", PLAN)
def test_nothing_is_ever_thrown_away_by_age_or_size(name: str) -> None:
    config = PLAN[name].config
    assert config["retention.ms"] == "-1"
    if config["cleanup.policy"] == "delete":
        assert config["retention.bytes"] == "-1"
    else:
        assert config["cleanup.policy"] == "compact"


def test_the_logs_are_not_compacted() -> None:
    for name in (VALIDATION_TOPIC, VALIDATED_TOPIC):
        assert PLAN[name].config["cleanup.policy"] == "delete"
    for name in (changelog_topic("app"), WINDOWS_TOPIC):
        assert PLAN[name].config["cleanup.policy"] == "compact"


def test_verdicts_on_the_longest_record_fit() -> None:
    """65,535 rejections beside the record itself."""
    needed = MAX_RECORD_BYTES + 65_535 * 48
    assert needed <= MAX_DERIVED_RECORD_BYTES
    for name in (VALIDATED_TOPIC, changelog_topic("app")):
        assert int(PLAN[name].config["max.message.bytes"]) >= needed


def test_groups_of_one_app_differ_and_of_two_apps_too() -> None:
    groups = {make(app) for make in (worker_group, egress_group, mirror_group) for app in "ab"}
    assert len(groups) == 6
