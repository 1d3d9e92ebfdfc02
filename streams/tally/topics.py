"""Kafka topics of the encrypted tally; only deployments with encrypted tallies have them."""

from __future__ import annotations

from typing import Final
from zlib import crc32

from streams.adapters.kafka.admin import TopicPlan, create_topics
from streams.settings.configs import KafkaConfig

EVENTS_TOPIC: Final = "tally.events"
"""Commands and outcomes, by election."""
TASKS_TOPIC: Final = "tally.tasks"
"""The work that follows, distributed over the partitions."""
JOBS_TABLE: Final = "tally_jobs"


def tally_app_id(app_id: str) -> str:
    """Kafka group of the tally workers, separate so that vote workers never wait for them."""
    return f"{app_id}-tally"


def jobs_changelog(app_id: str) -> str:
    """Changelog of the jobs' table, under the name that Faust gives it."""
    return f"{tally_app_id(app_id)}-{JOBS_TABLE}-changelog"


def partition_for(key: str, partitions: int) -> int:
    """The partition of a key."""
    return crc32(key.encode()) % partitions


async def ensure_tally_topics(config: KafkaConfig) -> None:
    """Create missing topics and check existing ones.

    Raises:
        ServiceUnavailable: Kafka does not answer.
        TopologyMismatch: a topic has another number of partitions.
    """
    kept = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
    plan = [
        TopicPlan(EVENTS_TOPIC, config.partitions, kept),
        TopicPlan(TASKS_TOPIC, config.partitions, {"cleanup.policy": "delete"}),
        TopicPlan(
            jobs_changelog(config.app_id),
            config.partitions,
            {"cleanup.policy": "compact", "retention.ms": "-1"},
        ),
    ]
    await create_topics(config, plan)
