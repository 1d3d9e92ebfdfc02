"""Creating topics and giving the log its identity."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from schemas.codec import decode_input, encode
from schemas.genesis import Genesis
from streams.adapters.kafka import admin as kafka_admin
from streams.adapters.kafka.admin import ensure_topics
from streams.adapters.kafka.reader import LogReader
from streams.core.topics import changelog_topic
from streams.devstack import Stack
from streams.errors import ExitCode, LogMismatch, ServiceUnavailable, TopologyMismatch
from streams.settings.configs import KafkaConfig
from tests.integration.kafka_names import admin, producer, servers, unused
from tests.strategies import make_batch, make_vote


class Own:
    """Names of topics that only this test uses."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.app = unused("app")
        self.validation = unused("validation")
        self.validated = unused("validated")
        self.windows = unused("windows")
        self.control = unused("control")

    @property
    def names(self) -> list[str]:
        return [
            self.validation,
            self.validated,
            self.windows,
            self.control,
            changelog_topic(self.app),
        ]

    async def ensure(self, partitions: int = 3) -> dict[int, Genesis]:
        return await ensure_topics(KafkaConfig(tuple(servers(self.stack)), self.app, partitions, 1))


@pytest.fixture
async def own(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Own]:
    own = Own(stack)
    monkeypatch.setattr(kafka_admin, "VALIDATION_TOPIC", own.validation)
    monkeypatch.setattr(kafka_admin, "VALIDATED_TOPIC", own.validated)
    monkeypatch.setattr(kafka_admin, "WINDOWS_TOPIC", own.windows)
    monkeypatch.setattr(kafka_admin, "CONTROL_TOPIC", own.control)
    yield own
    async with admin(stack) as client:
        there = set(await client.list_topics())
        await client.delete_topics([name for name in own.names if name in there])


async def test_everything_is_created_as_planned(stack: Stack, own: Own) -> None:
    await own.ensure()
    async with admin(stack) as client:
        described = await client.describe_topics(own.names)
        counts = {t["topic"]: len(t["partitions"]) for t in described}
        assert counts == {
            own.validation: 3,
            own.validated: 3,
            changelog_topic(own.app): 3,
            own.windows: 1,
            own.control: 1,
        }
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in own.names]
        (response,) = await client.describe_configs(resources)
        found = {
            resource[3]: {entry[0]: entry[1] for entry in resource[4]}
            for resource in response.resources
        }
    for plan in kafka_admin.planned_topics(own.app, 3):
        assert dict(plan.config).items() <= found[plan.name].items(), plan.name


async def test_each_partition_begins_with_a_genesis_that_stays(stack: Stack, own: Own) -> None:
    genesis = await own.ensure()
    assert sorted(genesis) == [0, 1, 2]
    assert all(len(g.log_id) == 16 for g in genesis.values())
    assert await own.ensure() == genesis
    for partition, expected in genesis.items():
        (record,) = await LogReader(servers(stack)).tail(own.validation, partition, 10)
        assert decode_input(record.value) == expected


async def test_processes_that_start_together_agree(own: Own) -> None:
    found = await asyncio.gather(*(own.ensure() for _ in range(5)))
    assert all(genesis == found[0] for genesis in found)


async def test_a_recreated_topic_is_another_log(stack: Stack, own: Own) -> None:
    before = await own.ensure()
    async with admin(stack) as client:
        await client.delete_topics([own.validation])
        while own.validation in await client.list_topics():  # noqa: ASYNC110 - Kafka tells nobody
            await asyncio.sleep(0.05)
    after = await own.ensure()
    assert all(after[p].log_id != before[p].log_id for p in before)


@pytest.mark.parametrize("settled", [2, 4])
async def test_another_number_of_partitions_is_refused(own: Own, settled: int) -> None:
    await own.ensure(3)
    with pytest.raises(TopologyMismatch) as caught:
        await own.ensure(settled)
    assert caught.value.exit_code == ExitCode.TOPOLOGY_MISMATCH
    assert f"3 partitions, the settings say {settled}" in str(caught.value)
    assert "SCRUTIN_PARTITIONS" in str(caught.value)


async def test_topics_that_are_not_partitioned_alike_are_refused(stack: Stack, own: Own) -> None:
    async with admin(stack) as client:
        await client.create_topics([NewTopic(own.validated, 5, 1)])
    with pytest.raises(TopologyMismatch) as caught:
        await own.ensure(3)
    assert caught.value.where["topic"] == own.validated


async def test_a_log_that_begins_with_votes_is_not_ours(stack: Stack, own: Own) -> None:
    async with admin(stack) as client:
        await client.create_topics([NewTopic(own.validation, 3, 1)])
    async with producer(stack) as client:
        await client.send_and_wait(own.validation, encode(make_batch(make_vote(1))), partition=1)
    with pytest.raises(LogMismatch, match="does not begin with a genesis record") as caught:
        await own.ensure()
    assert caught.value.where["partition"] == 1


async def test_a_log_that_begins_with_junk_is_not_ours(stack: Stack, own: Own) -> None:
    async with admin(stack) as client:
        await client.create_topics([NewTopic(own.validation, 3, 1)])
    async with producer(stack) as client:
        await client.send_and_wait(own.validation, b"\xff junk", partition=2)
    with pytest.raises(LogMismatch, match="cannot be decoded"):
        await own.ensure()


async def test_a_log_without_its_beginning_is_refused(stack: Stack, own: Own) -> None:
    await own.ensure()
    async with admin(stack) as client:
        tp = TopicPartition(own.validation, 0)
        await client.delete_records({tp: RecordsToDelete(before_offset=1)})
    with pytest.raises(LogMismatch, match="begins at offset 1"):
        await own.ensure()


async def test_nobody_there_is_an_outage() -> None:
    with pytest.raises(ServiceUnavailable, match=r"KAFKA_BOOTSTRAP_SERVERS 127\.0\.0\.1:1"):
        await ensure_topics(KafkaConfig(("127.0.0.1:1",), "a", 1, 1))


async def test_too_few_brokers_are_named(stack: Stack, own: Own) -> None:
    with pytest.raises(ServiceUnavailable, match="fewer than 3 brokers") as raised:
        await ensure_topics(KafkaConfig(tuple(servers(stack)), own.app, 3, 3))
    assert raised.value.where["variable"] == "SCRUTIN_REPLICATION_FACTOR"
