"""A small finished count, written to Kafka as bridge and workers would have written it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaProducer

from schemas.codec import encode
from schemas.genesis import Genesis
from schemas.verdicts import Rejection
from schemas.voted import CHANGELOG_KEY, FIRST_VOTE, Repeat, VotedRecord
from schemas.votes import Flag, Kind, Vote, VoteBatch
from schemas.windows import WindowKey, WindowState
from streams.adapters.kafka.admin import ensure_topics
from streams.core.keys import partition_of, voter_key
from streams.core.topics import VALIDATION_TOPIC, WINDOWS_TOPIC, changelog_topic
from streams.settings.configs import KafkaConfig

PARTITIONS = 4


def program(command: str) -> list[str]:
    """`scrutin` and a command, however this interpreter was started."""
    return [sys.executable, "-c", "import streams.cli; streams.cli.main()", command]


def run_cli(env: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `scrutin` as a user would, in a wide terminal's worth of columns."""
    return subprocess.run(
        [*program(arguments[0]), *arguments[1:]],
        env={"PATH": "/usr/bin:/bin", "COLUMNS": "100", **env},
        capture_output=True,
        text=True,
        # Beside others on a small machine.
        timeout=200,
        check=False,
    )


def vote_hash(number: int, law: str) -> str:
    return hashlib.sha256(f"{number}|CODE|{law}".encode()).hexdigest()


def vote(hash_: str, contest: str, *, kind: Kind = Kind.LAW, choice: str = "oui") -> Vote:
    return Vote(
        hash=hash_,
        contest=contest,
        kind=int(kind),
        choice=choice,
        flags=int(Flag.ON_ROLL),
        identity=hashlib.sha256(f"{hash_}{contest}".encode()).digest()[:16],
        timestamp_us=time.time_ns() // 1000,
    )


@dataclass
class FinishedCount:
    """Writes input records, their changelog records and windows, and remembers where."""

    servers: str
    app_id: str
    producer: Any = None
    genesis: dict[int, Genesis] = field(default_factory=dict)
    places: dict[bytes, tuple[int, int, int]] = field(default_factory=dict)
    """Voter key -> partition, offset, index."""

    async def __aenter__(self) -> FinishedCount:
        self.genesis = await ensure_topics(KafkaConfig((self.servers,), self.app_id, PARTITIONS, 1))
        self.producer = AIOKafkaProducer(
            bootstrap_servers=self.servers, acks="all", enable_idempotence=True
        )
        await self.producer.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.producer.stop()

    async def accept(self, votes: list[Vote], *, bridge: str = "bridge-7") -> None:
        """Write votes and the changelog records that accept every one of them."""
        for partition in range(PARTITIONS):
            mine = [v for v in votes if self.partition(v) == partition]
            if mine:
                batch = VoteBatch(time.time_ns() // 1_000_000, bridge, mine, [])
                sent = await self.producer.send_and_wait(
                    VALIDATION_TOPIC, encode(batch), partition=partition
                )
                await self.changelog(partition, sent.offset, accepted=mine)

    async def changelog(
        self,
        partition: int,
        offset: int,
        *,
        accepted: list[Vote] | None = None,
        repeats: list[Repeat] | None = None,
        rejections: list[Rejection] | None = None,
    ) -> None:
        """Write one changelog record."""
        contests = list(dict.fromkeys(v.contest for v in accepted or []))
        packed = b""
        for index, item in enumerate(accepted or []):
            key = voter_key(item.hash, item.contest, item.kind)
            self.places.setdefault(key, (partition, offset, index))
            number = contests.index(item.contest)
            packed += FIRST_VOTE.pack(key, index, number, item.identity[:8])
        record = VotedRecord(
            self.genesis[partition].log_id, packed, contests, repeats or [], rejections or []
        )
        await self.producer.send_and_wait(
            changelog_topic(self.app_id),
            encode(record),
            key=CHANGELOG_KEY.pack(offset),
            partition=partition,
        )

    async def repeat(self, item: Vote, offset: int, attempts: int) -> None:
        """Write the changelog record of a further attempt of a voter at an input offset."""
        key = voter_key(item.hash, item.contest, item.kind)
        partition, first, index = self.places[key]
        again = Repeat(key, first, index, item.identity[:8], attempts, [])
        refused = Rejection(0, "duplicate", "already_voted", attempts)
        await self.changelog(partition, offset, repeats=[again], rejections=[refused])

    async def window(self, contest: str, choice: str, start_ms: int, votes: int | None) -> None:
        """Write the state of a window, or its tombstone."""
        await self.producer.send_and_wait(
            WINDOWS_TOPIC,
            None if votes is None else encode(WindowState(votes)),
            key=encode(WindowKey(contest, choice, start_ms)),
            partition=0,
        )

    def partition(self, item: Vote) -> int:
        return partition_of(voter_key(item.hash, item.contest, item.kind), PARTITIONS)
