"""A log in which millions have voted, written without letting them vote.

The changelog is what the product's own encoder makes of random voter keys. The input log has as
many records as it stands for, without votes in them, and `votes.validated` ends with the verdict on
the last: as much as a worker looks at before it is ready. What the log had before stays.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import msgspec
from aiokafka import AIOKafkaProducer

from schemas.codec import encode
from schemas.genesis import Genesis
from schemas.verdicts import VerdictBatch
from schemas.voted import CHANGELOG_KEY, FIRST_VOTE, VotedRecord
from schemas.votes import VoteBatch
from streams.adapters.kafka.admin import ensure_topics
from streams.adapters.kafka.reader import LogReader
from streams.core.topics import VALIDATED_TOPIC, VALIDATION_TOPIC, changelog_topic
from streams.settings.model import Settings

_KEY_BYTES = 32
_WITH_IDENTITY = _KEY_BYTES + 8


@dataclass(frozen=True)
class Voters:
    """How many voters, and how many of them in a record."""

    count: int
    a_record: int

    def records(self, partitions: int) -> int:
        """Records of each partition."""
        return max(1, self.count // self.a_record // partitions)


async def write_voted(settings: Settings, voters: Voters) -> int:
    """Write them behind what a Kafka has, whose workers have ended; returns how many they are."""
    servers = settings.kafka.servers
    genesis = await ensure_topics(settings.kafka)
    ends = await LogReader(servers).end_offsets(VALIDATION_TOPIC, list(genesis))
    producer = AIOKafkaProducer(
        bootstrap_servers=servers, acks="all", linger_ms=20, max_batch_size=1 << 20
    )
    await producer.start()
    try:
        for partition, first in genesis.items():
            await _write_partition(
                *(producer, settings, partition, first), end=ends[partition], voters=voters
            )
        await producer.flush()
    finally:
        await producer.stop()
    return voters.records(settings.partitions) * settings.partitions * voters.a_record


async def _write_partition(
    producer: AIOKafkaProducer,
    settings: Settings,
    partition: int,
    genesis: Genesis,
    *,
    end: int,
    voters: Voters,
) -> None:
    changelog = changelog_topic(settings.app_id)
    batch = encode(VoteBatch(genesis.created_ms, "bench", [], []))
    fresh = end == 1
    if fresh:
        # No worker has read the genesis.
        nobody = encode(VotedRecord(genesis.log_id, b"", [], [], []))
        await producer.send(changelog, nobody, key=CHANGELOG_KEY.pack(0), partition=partition)
    last = end + voters.records(settings.partitions) - 1
    for offset in range(end, last + 1):
        votes = _first_votes(voters.a_record)
        value = encode(VotedRecord(genesis.log_id, votes, ["law-1"], [], []))
        await producer.send(changelog, value, key=CHANGELOG_KEY.pack(offset), partition=partition)
        await producer.send(VALIDATION_TOPIC, batch, partition=partition)
    verdict = VerdictBatch(
        *(genesis.log_id, partition, last, -1 if fresh else end - 1),
        rejections=[],
        record=msgspec.Raw(batch),
    )
    await producer.send(VALIDATED_TOPIC, encode(verdict), partition=partition)


def _first_votes(count: int) -> bytes:
    random = os.urandom(count * _WITH_IDENTITY)
    pack = FIRST_VOTE.pack
    return b"".join(
        [
            pack(random[at : at + _KEY_BYTES], n, 0, random[at + _KEY_BYTES : at + _WITH_IDENTITY])
            for n, at in enumerate(range(0, len(random), _WITH_IDENTITY))
        ]
    )
