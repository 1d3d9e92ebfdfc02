"""Junk in front of honest votes: all honest votes count, and nothing grows with the junk."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import random
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pika
import pytest

from streams.devstack import Stack
from streams.load.programs import Program
from tests.harness import Chain, database, metrics, redis_of, until

JUNK = int(os.environ.get("JUNK", "20000"))
HONEST = int(os.environ.get("HONEST", "200"))
REVIEWS_PER_MINUTE = 100
GROWTH_BYTES = 200 << 20
"""What a process may grow by, however much junk comes: buffers for the whole prefetch."""

pytestmark = pytest.mark.timeout(240 if JUNK <= 50_000 else 3600)


def voter(number: int) -> str:
    return hashlib.sha256(b"honest %d" % number).hexdigest()


def vote(hash_: str, choice: str = "oui") -> bytes:
    return json.dumps({"vote_hash": hash_, "law_id": "law-001", "choice": choice}).encode()


def junk(count: int) -> Iterator[bytes]:
    """No JSON, unknown voters, the same voter again and again, deep nesting, long texts."""
    rng = random.Random(1)
    repeated = voter(0)
    deep = b'{"vote_hash": "x", "law_id": "l", "choice": "oui", "more": ' + b"[" * 500 + b"]" * 500
    for n in range(count):
        match n % 5:
            case 0:
                yield b"junk %d" % n
            case 1:
                yield vote(rng.randbytes(32).hex())
            case 2:
                yield vote(repeated, rng.choice(["oui", "non"]))
            case 3:
                yield deep + b"}"
            case _:
                yield vote("h" * 129)


def peak_bytes(program: Program) -> int:
    """The most memory that a process has held so far."""
    status = Path(f"/proc/{program.pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


async def test_junk_before_honest_votes(stack: Stack, tmp_path: Path) -> None:
    settings = {"SCRUTIN_REVIEWS_PER_MINUTE": str(REVIEWS_PER_MINUTE)}
    async with Chain(stack, tmp_path, settings=settings) as chain:
        redis = redis_of(chain.settings)
        await redis.sadd("valid_hashes", *map(voter, range(HONEST)))
        await redis.aclose()
        await chain.start()
        before = [peak_bytes(program) for program in chain.programs]
        started_s = time.monotonic()
        publish(chain, [vote(voter(0))], junk(JUNK), map(vote, map(voter, range(1, HONEST))))
        db = await database(chain.settings)
        try:

            async def counted() -> bool:
                return bool(await db.fetchval("SELECT total_votes FROM vote_results") == HONEST)

            await until(counted, "every honest vote counted", within_s=90 + JUNK / 300)
            took_s = time.monotonic() - started_s

            async def kept() -> bool:
                return await db.fetchval("SELECT count(*) FROM rejected_votes") == JUNK

            await until(kept, "every junk message has its row", within_s=60)
            reasons = await db.fetch("SELECT reason, count(*) FROM rejected_votes GROUP BY 1")
        finally:
            await db.close()
        exact = {row[0]: row[1] for row in reasons}
        assert sum(exact.values()) == JUNK
        assert exact.keys() == {
            "not_json",
            "not_on_roll",
            "already_voted",
            "bad_metadata",
            "bad_hash",
        }

        async def reviewed() -> bool:
            found = await metrics(chain.bridges[0])
            withheld = sum(n for name, n in found.items() if "reviews_withheld_total" in name)
            sent = found.get('scrutin_bridge_published_total{queue="votes.review"}', 0)
            return bool(sent + withheld == JUNK)

        await until(reviewed, "each junk message is reviewed or counted as withheld")
        found = await metrics(chain.bridges[0])
        minutes = 2 + took_s // 60
        sent = found['scrutin_bridge_published_total{queue="votes.review"}']
        assert sent <= minutes * REVIEWS_PER_MINUTE * len(exact)
        after = [peak_bytes(program) for program in chain.programs]
        for program, first, last in zip(chain.programs, before, after, strict=True):
            print(f"{program.name}: {first >> 20} MiB before, {last >> 20} MiB at most")
            assert last - first < GROWTH_BYTES, program.name
        print(f"{JUNK} junk messages, {HONEST} honest votes: {took_s:.1f} s")


def publish(chain: Chain, *parts: Iterable[bytes]) -> None:
    settings = chain.settings
    credentials = pika.PlainCredentials(
        settings.rabbitmq_user, settings.rabbitmq_password.get_secret_value()
    )
    parameters = pika.ConnectionParameters(
        settings.rabbitmq_host, settings.rabbitmq_port, credentials=credentials
    )
    connection = pika.BlockingConnection(parameters)
    try:
        channel = connection.channel()
        properties = pika.BasicProperties(delivery_mode=2)
        for body in itertools.chain.from_iterable(parts):
            channel.basic_publish("", "votes.validation", body, properties)
    finally:
        connection.close()
