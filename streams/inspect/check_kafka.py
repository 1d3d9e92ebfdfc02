"""`scrutin doctor`: Kafka."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from schemas.codec import DecodeError, decode_input, decode_voted
from schemas.genesis import Genesis
from streams.adapters.kafka.admin import planned_topics
from streams.adapters.kafka.clients import kafka_admin
from streams.adapters.kafka.view import LogView, Span
from streams.core.topics import (
    CONTROL_TOPIC,
    MAX_RECORD_BYTES,
    VALIDATED_TOPIC,
    VALIDATION_TOPIC,
    changelog_topic,
)
from streams.inspect.checks import Check, CheckedService
from streams.settings.configs import KafkaConfig

SERVICE: Final = CheckedService("kafka")
_LOSSLESS_REPLICAS: Final = 3
_LOSSLESS_IN_SYNC: Final = 2


@dataclass(frozen=True)
class TopicFacts:
    """Facts about an existing topic."""

    partitions: int
    replicas: int
    """Lowest number of all partitions."""
    in_sync: int
    """Lowest number of all partitions."""
    config: Mapping[str, str]


@dataclass
class KafkaFacts:
    """Facts about Kafka."""

    brokers: int = 0
    topics: dict[str, TopicFacts] = field(default_factory=dict)
    """Scrutin's topics that exist."""
    spans: dict[int, Span] = field(default_factory=dict)
    """Of the input log, by partition."""
    log_ids: dict[int, bytes | None] = field(default_factory=dict)
    """Partition -> identity in its genesis record; None if the first record is not one."""
    changelog_ids: dict[int, bytes | None] = field(default_factory=dict)
    """Partition -> identity in the first changelog record; None if undecodable."""


async def gather(config: KafkaConfig) -> KafkaFacts:
    """Read the facts from Kafka.

    Raises:
        ServiceUnavailable: Kafka does not answer.
    """
    servers = config.servers
    facts = KafkaFacts()
    names = [topic.name for topic in planned_topics(config.app_id, config.partitions)]
    async with kafka_admin(servers) as admin:
        facts.brokers = len((await admin.describe_cluster())["brokers"])
        described = {t["topic"]: t["partitions"] for t in await admin.describe_topics()}
        found = [name for name in names if name in described]
        configs = await _configs(admin, found)
    for name in found:
        parts = described[name]
        facts.topics[name] = TopicFacts(
            len(parts),
            min(len(p["replicas"]) for p in parts),
            min(len(p["isr"]) for p in parts),
            configs.get(name, {}),
        )
    async with LogView(servers) as view:
        if VALIDATION_TOPIC in facts.topics:
            facts.spans = await view.spans(VALIDATION_TOPIC)
            for p, value in (await _first_values(view, VALIDATION_TOPIC)).items():
                facts.log_ids[p] = _genesis_id(value)
        changelog = changelog_topic(config.app_id)
        if changelog in facts.topics:
            for p, value in (await _first_values(view, changelog)).items():
                facts.changelog_ids[p] = _voted_id(value)
    return facts


async def _configs(admin: Any, topics: list[str]) -> dict[str, dict[str, str]]:
    if not topics:
        return {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in topics]
    found: dict[str, dict[str, str]] = {}
    for response in await admin.describe_configs(resources):
        for _, _, _, topic, entries, *_ in response.resources:
            found[topic] = {entry[0]: entry[1] for entry in entries}
    return found


async def _first_values(view: LogView, topic: str) -> dict[int, bytes]:
    spans = await view.spans(topic)
    first = {p: Span(s.begin, min(s.begin + 1, s.end)) for p, s in spans.items()}
    return {
        record.partition: record.value or b""
        async for records in view.read(topic, first)
        for record in records
    }


def _genesis_id(value: bytes) -> bytes | None:
    try:
        record = decode_input(value)
    except DecodeError:
        return None
    return record.log_id if isinstance(record, Genesis) else None


def _voted_id(value: bytes) -> bytes | None:
    try:
        return decode_voted(value).log_id
    except DecodeError:
        return None


def evaluate(config: KafkaConfig, facts: KafkaFacts) -> Iterator[Check]:
    """Checks derived from the facts."""
    yield SERVICE.ok("reachable", f"{facts.brokers} broker{'s' * (facts.brokers != 1)}")
    yield from _evaluate_topics(config, facts)
    silent = sorted(name for name, topic in facts.topics.items() if not topic.config)
    if not facts.topics or silent:
        # Without its configuration a topic would look right.
        why = f"Kafka does not tell the configuration of {', '.join(silent)}"
        for name in ("replication", "retention"):
            yield SERVICE.not_checked(name, why if silent else "there are no topics yet")
    else:
        yield _evaluate_replication(facts)
        yield from _evaluate_configs(facts)
    yield from _evaluate_identity(facts)


def _evaluate_topics(config: KafkaConfig, facts: KafkaFacts) -> Iterator[Check]:
    plan = planned_topics(config.app_id, config.partitions)
    missing = [topic.name for topic in plan if topic.name not in facts.topics]
    wrong = [
        f"{topic.name} has {facts.topics[topic.name].partitions}, not {topic.partitions}"
        for topic in plan
        if topic.name in facts.topics and facts.topics[topic.name].partitions != topic.partitions
    ]
    if missing:
        yield SERVICE.warning(
            "topics",
            f"missing: {', '.join(missing)}",
            "The first bridge or worker creates them. If this deployment has run before, they "
            "were lost: check SCRUTIN_APP_ID and the brokers before you start anything",
        )
    together = (VALIDATION_TOPIC, VALIDATED_TOPIC, changelog_topic(config.app_id))
    if len({facts.topics[t].partitions for t in together if t in facts.topics}) > 1:
        yield SERVICE.failure(
            "co-partitioning",
            ", ".join(
                f"{t} has {facts.topics[t].partitions}" for t in together if t in facts.topics
            ),
            "These topics must have equal numbers of partitions; restore the one that differs",
        )
    if wrong:
        yield SERVICE.failure(
            "partitions",
            "; ".join(wrong),
            "Set SCRUTIN_PARTITIONS to the number the log was created with",
        )
    elif not missing:
        yield SERVICE.ok("topics", f"{len(plan)} topics, {config.partitions} partitions")


def _evaluate_replication(facts: KafkaFacts) -> Check:
    replicas = min(t.replicas for t in facts.topics.values())
    minimum = min(int(t.config.get("min.insync.replicas", 1)) for t in facts.topics.values())
    under = sorted(name for name, t in facts.topics.items() if t.in_sync < t.replicas)
    detail = f"replication {replicas}, min.insync.replicas {minimum}"
    if under:
        return SERVICE.warning(
            "replication",
            f"{detail}; replicas behind in {', '.join(under)}",
            "Restore the missing brokers",
        )
    if replicas < _LOSSLESS_REPLICAS or minimum < _LOSSLESS_IN_SYNC:
        return SERVICE.warning(
            "replication",
            detail,
            "A Kafka broker acknowledges before it writes to disk: a power failure can lose "
            "acknowledged votes. Production needs three brokers, SCRUTIN_REPLICATION_FACTOR=3 "
            "and min.insync.replicas=2",
        )
    return SERVICE.ok("replication", detail)


def _evaluate_configs(facts: KafkaFacts) -> Iterator[Check]:
    found = False
    for name, topic in facts.topics.items():
        for detail, todo in _config_faults(name, topic.config):
            found = True
            yield SERVICE.failure("retention", f"{name}: {detail}", todo)
        if topic.config.get("unclean.leader.election.enable") == "true":
            found = True
            yield SERVICE.warning(
                "retention",
                f"{name}: unclean.leader.election.enable=true",
                "A lagging broker may become leader and lose votes; set it to false",
            )
    if not found:
        yield SERVICE.ok("retention", "unlimited")


def _config_faults(name: str, config: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    policy = config.get("cleanup.policy", "delete")
    is_log = name in {VALIDATION_TOPIC, VALIDATED_TOPIC, CONTROL_TOPIC}
    if is_log and "compact" in policy:
        yield f"cleanup.policy={policy}", "Compaction removes votes; set it to delete"
    if not is_log and "compact" not in policy:
        yield f"cleanup.policy={policy}", "Set it to compact, or it grows without limit"
    if "delete" in policy:
        for key in ("retention.ms", "retention.bytes"):
            if (value := config.get(key, "-1")) != "-1":
                yield f"{key}={value}", f"Old votes are deleted; set {key}=-1"
    largest = config.get("max.message.bytes", "")
    if largest.isdigit() and int(largest) < MAX_RECORD_BYTES:
        yield (
            f"max.message.bytes={largest}",
            f"Batches of votes do not fit; set it to {MAX_RECORD_BYTES + 48_588} or more",
        )


def _evaluate_identity(facts: KafkaFacts) -> Iterator[Check]:
    if not facts.log_ids:
        if VALIDATION_TOPIC in facts.topics:
            yield SERVICE.warning(
                "log identity",
                "the input log is empty",
                "The first bridge or worker writes its genesis records",
            )
        else:
            yield SERVICE.not_checked("log identity", f"there is no topic {VALIDATION_TOPIC} yet")
        return
    truncated = sorted(p for p, span in facts.spans.items() if span.begin > 0)
    headless = sorted(p for p, log_id in facts.log_ids.items() if log_id is None)
    if truncated or headless:
        yield SERVICE.failure(
            "log identity",
            f"partitions {', '.join(map(str, truncated or headless))} of {VALIDATION_TOPIC} do not "
            "begin with a genesis record",
            "The log was truncated or is not Scrutin's; restore the topic, or start a new log "
            "with empty topics",
        )
        return
    foreign = sorted(
        p for p, log_id in facts.changelog_ids.items() if log_id != facts.log_ids.get(p)
    )
    if foreign:
        yield SERVICE.failure(
            "log identity",
            f"partitions {', '.join(map(str, foreign))} of the changelog belong to another log",
            "The input topic or the changelog was recreated; restore it, or start a new log with "
            "a new SCRUTIN_APP_ID and an empty database",
        )
        return
    yield SERVICE.ok("log identity", f"genesis records in {len(facts.log_ids)} partitions")
