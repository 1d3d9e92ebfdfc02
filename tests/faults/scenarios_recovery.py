"""What was lost or spoilt is refused by name, and the command that the refusal names heals it."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import CommitFailedError

from tests.faults.registry import scenario
from tests.faults.votes import Message
from tests.faults.world import World
from tests.harness import until

GROUP = "recovery"
INPUT, VERDICTS, CHANGELOG = "votes.validation", "votes.validated", "scrutin-voted-changelog"
LOG_MISMATCH, POISON_RECORD, RECOVERY_FAILED = 21, 30, 33
JUNK = b"\xc1 no known record"


async def typed(world: World, command: str) -> dict[str, Any]:
    """Type a command; it must succeed."""
    argv = [sys.executable, "-c", "import streams.cli; streams.cli.main()"]
    done = await asyncio.to_thread(
        subprocess.run,
        [*argv, *command.split()[1:], "--json"],
        env=world.env,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    told = json.loads(done.stdout)
    assert isinstance(told, dict)
    return told


async def refused(world: World, code: int) -> str:
    """Start a worker, which must refuse; returns the command that it names first."""
    worker = world.workers[0]
    before = len(worker.log.read_text(errors="replace"))
    worker.start()
    async with asyncio.timeout(90):
        ended = await worker.ended()
    said = worker.log.read_text(errors="replace")[before:]
    assert ended == code, f"a worker ended with {ended}, not {code}: {said[-2000:]}"
    commands = re.findall(r"`(scrutin [^`]*)`", said)
    assert commands, f"no command is named: {said[-2000:]}"
    return str(commands[0])


async def stop(world: World, *, bridges: bool = False) -> None:
    """Stop the workers; where the log itself is touched the bridges first, and all is worked off.

    What is in the log and nowhere else is lost with it.
    """
    if bridges:
        await asyncio.gather(*(world.terminate(bridge) for bridge in world.bridges))
        # Reviews and mirror are behind the bridges; only the workers can be at the end.
        await until(lambda: settled(world), "all that is in the log is counted", within_s=90)
    await asyncio.gather(*(world.terminate(worker) for worker in world.workers))


async def settled(world: World) -> bool:
    """Whether PostgreSQL has everything that is in the input log."""
    consumer = AIOKafkaConsumer(bootstrap_servers=world.addresses.kafka)
    await consumer.start()
    try:
        parts = [TopicPartition(INPUT, p) for p in consumer.partitions_for_topic(INPUT) or set()]
        if not parts:
            parts = [TopicPartition(INPUT, p) for p in range(world.settings.partitions)]
        ends = await consumer.end_offsets(parts)
    finally:
        await consumer.stop()
    query = "SELECT coalesce(sum(source_offset + 1), 0) FROM sink_offsets"
    return int(await world.observer.ask(query, -1)) == sum(ends.values())


async def delete(world: World, topic: str) -> None:
    """Delete a topic."""
    admin = AIOKafkaAdminClient(bootstrap_servers=world.addresses.kafka)
    await admin.start()
    try:
        await admin.delete_topics([topic])

        async def gone() -> bool:
            return topic not in await admin.list_topics()

        await until(gone, f"{topic} deleted")
    finally:
        await admin.close()


async def put(world: World, topic: str, partition: int, value: bytes) -> int:
    """Write a record as somebody who should not; returns its offset."""
    producer = AIOKafkaProducer(bootstrap_servers=world.addresses.kafka, acks="all")
    await producer.start()
    try:
        sent = await producer.send_and_wait(topic, value, key=b"12345678", partition=partition)
        return int(sent.offset)
    finally:
        await producer.stop()


async def cut_log(world: World) -> None:
    """Let the input log be what an old backup has: the first half of each partition."""
    servers, partitions = world.addresses.kafka, world.settings.partitions
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, auto_offset_reset="earliest")
    await consumer.start()
    kept: dict[int, list[bytes]] = {p: [] for p in range(partitions)}
    try:
        parts = [TopicPartition(INPUT, p) for p in kept]
        consumer.assign(parts)
        ends = {tp: end // 2 for tp, end in (await consumer.end_offsets(parts)).items()}
        while any(len(kept[tp.partition]) < end for tp, end in ends.items()):
            for tp, records in (await consumer.getmany(timeout_ms=500)).items():
                inside = [record.value for record in records if record.offset < ends[tp]]
                kept[tp.partition] += inside
    finally:
        await consumer.stop()
    await delete(world, INPUT)
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    config = {"retention.ms": "-1", "retention.bytes": "-1"}
    await admin.create_topics([NewTopic(INPUT, partitions, 1, topic_configs=config)])
    await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all", enable_idempotence=True)
    await producer.start()
    try:
        for partition, values in kept.items():
            for value in values:
                await producer.send(INPUT, value, partition=partition)
        await producer.flush()
    finally:
        await producer.stop()


async def set_offsets(world: World, offset: int) -> None:
    """Set what the workers' group has committed, in every partition."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=world.addresses.kafka, group_id="scrutin", enable_auto_commit=False
    )
    await consumer.start()
    try:
        parts = [
            TopicPartition(topic, partition)
            for topic in (INPUT, VERDICTS)
            for partition in range(world.settings.partitions)
        ]
        consumer.assign(parts)
        async with asyncio.timeout(60):
            while True:
                try:
                    await consumer.commit(dict.fromkeys(parts, offset))
                    break
                except CommitFailedError:
                    # The broker waits for a member that went without a word, one session long.
                    await asyncio.sleep(0.5)
    finally:
        await consumer.stop()


@scenario(GROUP)
async def changelog_deleted(world: World) -> None:
    """The voted table's changelog is deleted; workers refuse until it is rebuilt from the log."""
    async with world.voting():
        await world.counted(0.3)
        await stop(world)
        await delete(world, CHANGELOG)
        command = await refused(world, LOG_MISMATCH)
        assert command == "scrutin rebuild voted"
        assert (await typed(world, command))["right"]
        await world.restart_all()


@scenario(GROUP)
async def changelog_poisoned(world: World) -> None:
    """An undecodable record comes into the changelog; the changelog is rebuilt from the log."""
    async with world.voting():
        await world.counted(0.3)
        await stop(world)
        await put(world, CHANGELOG, 1, JUNK)
        command = await refused(world, RECOVERY_FAILED)
        assert (await typed(world, command))["recreated"]
        await world.restart_all()


@scenario(GROUP)
async def verdicts_poisoned(world: World) -> None:
    """An undecodable record comes into votes.validated, which is rebuilt from the log."""
    async with world.voting():
        await world.counted(0.3)
        await stop(world, bridges=True)
        await put(world, VERDICTS, 1, JUNK)
        command = await refused(world, POISON_RECORD)
        assert (await typed(world, command))["recreated"]
        await world.restart_all()


@scenario(GROUP, exits=frozenset({POISON_RECORD}))
async def input_poisoned(world: World) -> None:
    """An undecodable record comes into the log; its partition stops until it is skipped."""
    number = max(message.number for message in world.votes.messages) + 1
    poison = b"no record, m-%d" % number
    malformed = ("malformed", "undecodable_record")
    async with world.voting():
        await world.counted(0.2)
        offset = await put(world, INPUT, 1, poison)
        await world.counted(0.3)
        # They end and are started again all the time: no moment for SIGTERM.
        for worker in world.workers:
            await world.kill(worker)
        command = await refused(world, POISON_RECORD)
        assert command == f"scrutin skip {INPUT} 1 {offset}"
        await typed(world, command)
        await world.restart_all()
    world.votes.messages.append(Message(number, poison, None, None, malformed))
    world.publisher.confirmed.add(number)


@scenario(GROUP)
async def input_recreated(world: World) -> None:
    """The input topic is deleted; workers refuse a new one until the old log is written again."""
    async with world.voting():
        await world.counted(0.3)
        await stop(world, bridges=True)
        await delete(world, INPUT)
        command = await refused(world, LOG_MISMATCH)
        assert command == "scrutin rebuild log"
        assert (await typed(world, command))["log"]["recreated"]
        await world.restart_all()


@scenario(GROUP)
async def database_newer_than_the_log(world: World) -> None:
    """Kafka comes back from an old backup; workers refuse until the log has its end again."""
    async with world.voting():
        await world.counted(0.3)
        await stop(world, bridges=True)
        await cut_log(world)
        command = await refused(world, LOG_MISMATCH)
        assert command == "scrutin rebuild log"
        assert (await typed(world, command))["log"]["right"]
        await world.restart_all()


@scenario(GROUP)
async def offsets_reset_to_earliest(world: World) -> None:
    """Somebody resets the workers' group to the beginning: nothing is counted again."""
    async with world.voting():
        await world.counted(0.3)
        await stop(world)
        await set_offsets(world, 0)
        await world.restart_all()


@scenario(GROUP)
async def offsets_set_ahead(world: World) -> None:
    """Somebody sets the workers' group beyond the end of the log: everything is still counted."""
    async with world.voting():
        await world.counted(0.3)
        await stop(world)
        await set_offsets(world, 1_000_000)
        await world.restart_all()


@scenario(GROUP, mirror_lost=True)
async def everything_rebuilt(world: World) -> None:
    """During the vote one store after another is emptied and rebuilt, then voting continues."""
    redis = world.addresses.redis()
    async with world.voting():
        await world.counted(0.3)
        await stop(world, bridges=True)
        before = await world.observer.ask("SELECT sum(votes) FROM contest_results", 0)
        await delete(world, CHANGELOG)
        assert (await typed(world, "scrutin rebuild voted"))["right"]
        await delete(world, VERDICTS)
        assert (await typed(world, "scrutin rebuild validated"))["right"]
        connection = await world.addresses.postgres()
        await connection.execute(
            "TRUNCATE counted_votes, rejected_votes, duplicate_attempts, vote_results,"
            " contest_results, vote_windows, sink_offsets"
        )
        await connection.close()
        assert (await typed(world, "scrutin rebuild postgres"))["replaced"]
        await redis.delete("voted_hashes")
        await typed(world, "scrutin mirror rebuild")
        assert await world.observer.ask("SELECT sum(votes) FROM contest_results", 0) == before
        await world.restart_all()
    await redis.aclose()
