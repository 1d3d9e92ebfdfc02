"""The messages that the old services document, sent as their clients send them, and the outcome of
each: rows, review messages, Redis keys, metrics."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pika
import pytest

from streams.devstack import Stack
from tests.harness import Chain, database, metrics, redis_of, until

VALIDATION = "votes.validation"
REVIEW = "votes.review"

Body = dict[str, object] | bytes


def voter(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


@pytest.fixture
async def chain(stack: Stack, tmp_path: Path) -> AsyncIterator[Chain]:
    async with Chain(stack, tmp_path) as chain:
        redis = redis_of(chain.settings)
        await redis.sadd("valid_hashes", *(voter(name) for name in "abcdefgh"))
        await redis.aclose()
        await chain.start()
        yield chain


class Broker:
    """A client of RabbitMQ without code of Scrutin."""

    def __init__(self, chain: Chain) -> None:
        settings = chain.settings
        credentials = pika.PlainCredentials(
            settings.rabbitmq_user, settings.rabbitmq_password.get_secret_value()
        )
        self._connection = pika.BlockingConnection(
            pika.ConnectionParameters(
                settings.rabbitmq_host, settings.rabbitmq_port, credentials=credentials
            )
        )
        self._channel = self._connection.channel()

    def __enter__(self) -> Broker:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def send(self, bodies: Iterable[Body]) -> None:
        for body in bodies:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self._channel.basic_publish("", VALIDATION, data, pika.BasicProperties(delivery_mode=2))

    def waiting(self, queue: str) -> int:
        return int(self._channel.queue_declare(queue, durable=True).method.message_count)

    def reviews(self) -> list[dict[str, object]]:
        found = []
        while True:
            method, _, body = self._channel.basic_get(REVIEW, auto_ack=True)
            if method is None:
                return found
            found.append(json.loads(body))


async def settled(chain: Chain, messages: int) -> None:
    """Wait until every message is a row."""
    connection = await database(chain.settings)

    async def rows() -> bool:
        found = await connection.fetchval(
            "SELECT (SELECT count(*) FROM vote_audit) + (SELECT count(*) FROM rejected_votes)"
        )
        return bool(found == messages)

    try:
        await until(rows, f"{messages} messages are rows")
    finally:
        await connection.close()


async def test_both_documented_forms(chain: Chain) -> None:
    law = {
        "vote_hash": voter("a"),
        "citizen_id": "citizen-123",
        "law_id": "law-001",
        "choice": "oui",
        "timestamp": "2025-11-14T12:00:00Z",
    }
    candidate = {
        "voter_hash": voter("b"),
        "candidate_id": 7,
        "vote_timestamp": "2025-11-14T13:00:00",
    }
    upper = law | {"vote_hash": voter("a").upper(), "choice": "NON"}
    unknown = law | {"vote_hash": voter("nobody")}
    with Broker(chain) as broker:
        broker.send([law, candidate])
        await settled(chain, 2)
        broker.send([upper, unknown])
        await settled(chain, 4)

        async def both() -> bool:
            return broker.waiting(REVIEW) == 2

        await until(both, "two review messages")
        reviews = {str(review["status"]): review for review in broker.reviews()}

    connection = await database(chain.settings)
    try:
        result = await connection.fetchrow("SELECT * FROM vote_results")
        assert (result["law_id"], result["oui_count"], result["non_count"]) == ("law-001", 1, 0)
        assert result["total_votes"] == 1
        audit = await connection.fetchrow("SELECT * FROM vote_audit WHERE law_id = 'law-001'")
        assert audit["vote_hash"] == audit["voter_hash"] == voter("a")
        assert (audit["citizen_id"], audit["choice"]) == ("citizen-123", "oui")
        assert audit["timestamp"].isoformat() == "2025-11-14T12:00:00+00:00"
        second = await connection.fetchrow(
            "SELECT * FROM validation_audit WHERE voter_hash = $1", voter("b")
        )
        assert (second["candidate_id"], second["status"]) == (7, "valid")
        assert second["vote_timestamp"].isoformat() == "2025-11-14T13:00:00"
        statuses = await connection.fetch("SELECT status FROM validation_audit ORDER BY status")
        assert [r["status"] for r in statuses] == ["duplicate", "invalid", "valid", "valid"]
        attempt = await connection.fetchrow("SELECT * FROM duplicate_attempts")
        assert (attempt["vote_hash"], attempt["attempt_count"]) == (voter("a"), 2)
        assert await connection.fetchval("SELECT total_votes FROM vote_statistics") == 1
        assert await connection.fetchval("SELECT sum(votes) FROM vote_windows") == 2
    finally:
        await connection.close()

    assert reviews["duplicate"]["attempt_count"] == 1
    assert reviews["duplicate"]["voter_hash"] == reviews["duplicate"]["vote_hash"] == voter("a")
    assert reviews["duplicate"]["vote"] == reviews["duplicate"]["choice"] == "non"
    assert reviews["invalid"]["reason"] == "not_on_roll"
    assert reviews["invalid"]["vote_hash"] == voter("nobody")

    redis = redis_of(chain.settings)
    try:

        async def mirrored() -> bool:
            # Partitions are mirrored in any order.
            return (
                await redis.get(f"duplicate_count:{voter('a')}") == "1"
                and await redis.scard("voted_hashes") >= 2
            )

        await until(mirrored, "the voters and the counter of the second attempt")
        assert await redis.smembers("voted_hashes") == {voter("a"), voter("b")}
    finally:
        await redis.aclose()

    async def told() -> bool:
        # A flush is counted after its rows can be seen.
        return (await metrics(chain.workers[0])).get("batch_size_processed_total", 0) >= 2

    await until(told, "the worker tells the count")
    worker = await metrics(chain.workers[0])
    assert worker['votes_aggregated_total{choice="oui",law_id="law-001"}'] == 1
    assert worker['validation_votes_processed_total{status="valid"}'] == 2
    assert worker['validation_votes_processed_total{status="duplicate"}'] == 1
    assert worker['validation_votes_processed_total{status="invalid"}'] == 1
    assert worker["batch_size_processed_total"] == 2
    bridge = await metrics(chain.bridges[0])
    assert bridge['redis_operations_total{operation="smismember",status="success"}'] >= 2
    assert "validation_queue_size" in bridge


BAD: dict[str, Body] = {
    "not_json": b'{"vote_hash": ',
    "wrong_type": {"vote_hash": voter("c"), "law_id": ["law-001"], "choice": "oui"},
    "missing_hash": {"law_id": "law-001", "choice": "oui"},
    "missing_contest": {"vote_hash": voter("c"), "choice": "oui"},
    "missing_choice": {"vote_hash": voter("c"), "law_id": "law-001"},
    "too_large": b'{"filler": "' + b"x" * (2 << 20) + b'"}',
    "conflicting_fields": {"vote_hash": voter("c"), "law_id": "l", "choice": "oui", "vote": "non"},
    "not_utf8": b'{"vote_hash": "\xff\xfe", "law_id": "law-001", "choice": "oui"}',
    "bad_timestamp": {"vote_hash": voter("c"), "law_id": "l", "choice": "oui", "timestamp": 9e15},
    "nul_in_string": {"vote_hash": voter("c"), "law_id": "law\0", "choice": "oui"},
}


async def test_bad_messages_are_named_and_harm_nobody(chain: Chain) -> None:
    good = {"vote_hash": voter("d"), "law_id": "law-001", "choice": "Oui"}
    odd_choice = {"vote_hash": voter("e"), "law_id": "law-001", "choice": "peut-être"}
    with Broker(chain) as broker:
        broker.send([*BAD.values(), odd_choice, good])
        await settled(chain, len(BAD) + 2)

        async def all_of_them() -> bool:
            return broker.waiting(REVIEW) == len(BAD) + 1

        await until(all_of_them, "a review message each")
        reviews = broker.reviews()
    by_reason = {str(review["reason"]): review for review in reviews}
    assert by_reason.keys() == BAD.keys() | {"unknown_choice"}
    for reason, sent in BAD.items():
        assert by_reason[reason]["status"] == "malformed"
        body = by_reason[reason]["body"]
        assert isinstance(body, dict)
        data = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
        assert body["length"] == len(data)
        assert body["sha256"] == hashlib.sha256(data).hexdigest()
    assert by_reason["unknown_choice"]["status"] == "invalid"
    connection = await database(chain.settings)
    try:
        assert await connection.fetchval("SELECT oui_count FROM vote_results") == 1
    finally:
        await connection.close()
    chain.all_running()
