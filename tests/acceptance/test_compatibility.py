"""What clients, dashboards and reports of the old services meet, in one run of the chain.

The run happens once; each test looks at one part of what came of it. `docs/compatibility.md` names
the test of every row.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from streams.devstack import Stack
from tests.harness import Chain, database, metrics, redis_of, until

pytestmark = pytest.mark.timeout(240)

VALIDATION, AGGREGATION, REVIEW = "votes.validation", "votes.aggregation", "votes.review"
EXCHANGE = "votes.exchange"
DEPLOYED = {"x-message-ttl": 86_400_000, "x-max-length": 1_000_000}
AT = datetime(2025, 11, 14, 12, 0, tzinfo=UTC)
NOON, NAIVE = "2025-11-14T12:00:00Z", "2025-11-14T12:00:00"

Body = dict[str, object]


def voter(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


FORMS: dict[str, tuple[str, Body, tuple[object, ...]]] = {
    # name: where it is sent, body, (law, candidate, choice) of its row.
    "aggregation_documented": (
        VALIDATION,
        {
            "vote_hash": voter("a"),
            "citizen_id": "citizen-123",
            "law_id": "law-001",
            "choice": "oui",
            "timestamp": NOON,
        },
        ("law-001", None, "oui"),
    ),
    "aggregation_with_metadata": (
        AGGREGATION,
        {
            "vote_hash": voter("b"),
            "citizen_id": "citizen-124",
            "law_id": "law-001",
            "choice": "non",
            "timestamp": NOON,
            "metadata": {"ip_address": "10.0.0.1", "user_agent": "browser"},
        },
        ("law-001", None, "non"),
    ),
    "worker_documented": (
        VALIDATION,
        {"voter_hash": voter("c"), "candidate_id": 7, "vote_timestamp": NAIVE},
        (None, 7, "7"),
    ),
    "api_deployed": (
        EXCHANGE,
        {
            "hash": voter("d"),
            "nas": "123456789",
            "code": "ABC123",
            "law_id": "law-001",
            "vote": "oui",
            "submitted_at": NAIVE,
            "vote_timestamp": NAIVE,
        },
        ("law-001", None, "oui"),
    ),
    "worker_to_aggregator_deployed": (
        AGGREGATION,
        {
            "voter_hash": voter("nobody on the roll"),
            "law_id": "law-002",
            "vote": "non",
            "vote_timestamp": NAIVE,
            "status": "valid",
            "processed_timestamp": NAIVE,
        },
        ("law-002", None, "non"),
    ),
    "epoch_seconds": (
        VALIDATION,
        {
            "vote_hash": voter("e"),
            "law_id": "law-002",
            "choice": "OUI",
            "timestamp": AT.timestamp(),
        },
        ("law-002", None, "oui"),
    ),
}

AGAIN: Body = FORMS["aggregation_documented"][1] | {
    "choice": "non",
    "timestamp": "2025-11-14T12:05:00Z",
}
UNKNOWN: Body = AGAIN | {"vote_hash": voter("unknown")}

READERS: dict[str, dict[str, str]] = {
    "public": {
        "vote_results": "id, law_id, oui_count, non_count, total_votes, created_at, updated_at",
        "vote_audit": "id, vote_hash, voter_hash, citizen_id, law_id, candidate_id, choice,"
        " timestamp, vote_timestamp, status, processed_timestamp, metadata, created_at",
        "duplicate_attempts": "id, vote_hash, citizen_id, law_id, choice, attempt_timestamp,"
        " first_attempt, last_attempt, attempt_count, reason",
        "vote_statistics": "law_id, oui_count, non_count, total_votes, oui_percentage,"
        " non_percentage, updated_at",
        "vote_summary": "law_id, oui_count, non_count, total_votes, oui_percentage,"
        " non_percentage, last_vote_at",
        "recent_audit_entries": "id, vote_hash, law_id, vote, status, timestamp, processed_at,"
        " error_message",
        "top_duplicate_attempts": "vote_hash, law_id, attempt_count, first_attempt_at,"
        " last_attempt_at, duration",
        "duplicate_summary": "law_id, duplicate_count, unique_citizens, first_attempt,"
        " last_attempt",
        "laws": "law_id, title, description, category, status, start_date, end_date, created_at,"
        " updated_at",
    },
    "reader_aggregation": {
        "vote_results": "law_id, oui_count, non_count, updated_at",
        "vote_audit": "id, vote_hash, citizen_id, law_id, choice, timestamp, ip_address,"
        " user_agent, metadata",
        "duplicate_attempts": "id, vote_hash, citizen_id, law_id, choice, attempt_timestamp,"
        " reason, ip_address",
        "vote_statistics": "law_id, oui_count, non_count, total_votes, oui_percentage,"
        " non_percentage, updated_at",
    },
    "reader_validation": {
        "vote_audit": "id, voter_hash, candidate_id, status, vote_timestamp, processed_timestamp,"
        " metadata, created_at",
    },
    "reader_voting": {
        "vote_results": "id, law_id, oui_count, non_count, total_votes, created_at, updated_at",
        "vote_audit": "id, vote_hash, law_id, vote, status, timestamp, processed_at,"
        " error_message, metadata",
        "duplicate_attempts": "id, vote_hash, law_id, attempt_count, first_attempt, last_attempt,"
        " first_attempt_at, last_attempt_at, ip_addresses, user_agents",
        "vote_summary": "law_id, oui_count, non_count, total_votes, oui_percentage,"
        " non_percentage, last_vote_at",
        "vote_statistics": "law_id, oui_count, non_count, total_votes",
    },
    "reader_api": {
        "vote_results": "law_id, oui_count, non_count, total_votes, updated_at",
        "vote_audit": "vote_hash, law_id, timestamp, status",
        "duplicate_attempts": "vote_hash, law_id, attempt_count, first_attempt, last_attempt",
    },
}
"""Schema -> relation -> the columns that its readers were written against."""

Rows = list[dict[str, Any]]


@dataclass
class Seen:
    """What the run left behind."""

    reads: dict[tuple[str, str], Rows] = field(default_factory=dict)
    """By schema and relation, read with that schema first in the search path."""
    indexes: set[str] = field(default_factory=set)
    reviews: list[tuple[pika.BasicProperties, Body]] = field(default_factory=list)
    arguments_kept: dict[str, bool] = field(default_factory=dict)
    durable: dict[str, bool] = field(default_factory=dict)
    redis: dict[str, Any] = field(default_factory=dict)
    worker: dict[str, float] = field(default_factory=dict)
    bridge: dict[str, float] = field(default_factory=dict)

    def read(self, relation: str, schema: str = "public", **where: object) -> Rows:
        """Rows of a relation with these values."""
        rows = self.reads[schema, relation]
        return [row for row in rows if all(row[name] == value for name, value in where.items())]


@pytest.fixture(scope="module")
def seen(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    return asyncio.run(observe(stack, tmp_path_factory.mktemp("compatibility")))


def connect(chain: Chain) -> pika.BlockingConnection:
    settings = chain.settings
    credentials = pika.PlainCredentials(
        settings.rabbitmq_user, settings.rabbitmq_password.get_secret_value()
    )
    return pika.BlockingConnection(
        pika.ConnectionParameters(
            settings.rabbitmq_host, settings.rabbitmq_port, credentials=credentials
        )
    )


def send(channel: BlockingChannel, where: str, body: Body) -> None:
    exchange, key = (EXCHANGE, "vote.submitted") if where == EXCHANGE else ("", where)
    data = json.dumps(body).encode()
    channel.basic_publish(exchange, key, data, pika.BasicProperties(delivery_mode=2))


async def observe(stack: Stack, directory: Path) -> Seen:
    """Run the chain as an old deployment has it set up: its queues, its settings, its clients."""
    old_names = {
        "RABBITMQ_PASSWORD": "",
        "RABBITMQ_PASS": stack.env()["RABBITMQ_PASSWORD"],
        "RABBITMQ_QUEUE": AGGREGATION,
        "PREFETCH_COUNT": "10",
        "MIN_POOL_SIZE": "2",
        "MAX_POOL_SIZE": "10",
        "BATCH_SIZE": "100",
        "BATCH_TIMEOUT_SECONDS": "1.0",
        "MAX_RETRY_ATTEMPTS": "3",
        "RETRY_DELAY_SECONDS": "1.0",
        "LOG_LEVEL": "INFO",
        "SCRUTIN_INGRESS": f"{VALIDATION},{AGGREGATION}",
    }
    seen = Seen()
    async with Chain(stack, directory, settings=old_names) as chain:
        redis = redis_of(chain.settings)
        await redis.sadd("valid_hashes", *(voter(name) for name in "abcde"))
        with closing(connect(chain)) as connection:
            channel = connection.channel()
            channel.queue_declare(VALIDATION, durable=True, arguments=DEPLOYED)
            channel.queue_declare(REVIEW, durable=True, arguments=DEPLOYED)
            channel.queue_declare(AGGREGATION, durable=True, arguments={"x-max-priority": 10})
            channel.exchange_declare(EXCHANGE, "topic", durable=True)
            try:
                await chain.start()
                for where, body, _ in FORMS.values():
                    send(channel, where, body)
                db = await database(chain.settings)
                try:
                    await rows_are(db, len(FORMS))
                    for body in (AGAIN, UNKNOWN, UNKNOWN | {"citizen_id": "another"}):
                        send(channel, VALIDATION, body)
                    await rows_are(db, len(FORMS) + 3)
                    await read_tables(db, seen)
                finally:
                    await db.close()
                await look_at_broker(connection, seen)
            finally:
                connection.channel().exchange_delete(EXCHANGE)

        async def mirrored() -> bool:
            # Partitions are mirrored in any order, and counted once Redis has answered.
            seen.bridge = await metrics(chain.bridges[0])
            return (
                await redis.scard("voted_hashes") == len(FORMS)
                and await redis.get(f"duplicate_count:{voter('a')}") == "1"
                and await redis.get(f"error_pattern:{voter('unknown')[:8]}") == "2"
                and seen.bridge["error_patterns_repeated_total"] > 0
            )

        await until(mirrored, "the mirror has everything")
        for name in ("valid_hashes", "voted_hashes", "error_patterns_seen"):
            seen.redis[name] = await redis.smembers(name)
        await redis.aclose()

        async def looked() -> bool:
            seen.worker = await metrics(chain.workers[0])
            return seen.worker.get(
                'current_vote_totals{choice="oui",law_id="law-001"}'
            ) == 2 and seen.worker["batch_size_processed_total"] >= len(FORMS)

        # Totals are read by the worker's own look around, every few seconds; flushes are counted
        # after their rows can be seen.
        await until(looked, "the worker tells totals")
    return seen


async def rows_are(db: asyncpg.Connection, count: int) -> None:
    async def there() -> bool:
        return count == await db.fetchval(
            "SELECT (SELECT count(*) FROM vote_audit) + (SELECT count(*) FROM rejected_votes)"
        )

    await until(there, f"{count} messages are rows")


async def read_tables(db: asyncpg.Connection, seen: Seen) -> None:
    for schema, relations in READERS.items():
        await db.execute(f"SET search_path TO {schema}, public")
        for relation, columns in relations.items():
            found = await db.fetch(f"SELECT {columns} FROM {relation}")
            seen.reads[schema, relation] = [dict(row) for row in found]
    await db.execute("RESET search_path")
    names = await db.fetch("SELECT indexname FROM pg_indexes WHERE schemaname = 'public'")
    seen.indexes = {row[0] for row in names}


async def look_at_broker(connection: pika.BlockingConnection, seen: Seen) -> None:
    channel = connection.channel()

    async def reviewed() -> bool:
        while True:
            method, properties, body = channel.basic_get(REVIEW, auto_ack=True)
            if method is None:
                return len(seen.reviews) >= 3
            seen.reviews.append((properties, json.loads(body)))

    await until(reviewed, "three review messages")
    deployed = {VALIDATION: DEPLOYED, REVIEW: DEPLOYED, AGGREGATION: {"x-max-priority": 10}}
    for queue, arguments in deployed.items():
        # A declaration that differs in anything would be refused.
        channel.queue_declare(queue, durable=True, arguments=arguments)
        seen.arguments_kept[queue] = True


@pytest.mark.parametrize("form", FORMS)
def test_message_form(seen: Seen, form: str) -> None:
    where, body, (law, candidate, choice) = FORMS[form]
    sent = body.get("vote_hash") or body.get("voter_hash") or body["hash"]
    [row] = seen.read("vote_audit", voter_hash=sent)
    assert (row["law_id"], row["candidate_id"], row["choice"]) == (law, candidate, choice)
    assert row["timestamp"] == AT
    assert row["citizen_id"] == body.get("citizen_id")
    assert "123456789" not in str(row), where


def test_form_of_duplicates_on_review(seen: Seen) -> None:
    [(properties, review)] = [r for r in seen.reviews if r[1]["status"] == "duplicate"]
    assert review["voter_hash"] == review["vote_hash"] == voter("a")
    assert (review["vote"], review["choice"], review["attempt_count"]) == ("non", "non", 1)
    assert review["law_id"] == "law-001"
    assert review["vote_timestamp"] == "2025-11-14T12:05:00Z"
    assert str(review["processed_timestamp"]).endswith("Z")
    assert properties.message_id
    assert properties.delivery_mode == 2


def test_form_of_unknown_voters_on_review(seen: Seen) -> None:
    found = [review for _, review in seen.reviews if review["status"] == "invalid"]
    assert [(r["voter_hash"], r["reason"]) for r in found] == [
        (voter("unknown"), "not_on_roll")
    ] * 2


@pytest.mark.parametrize("queue", [VALIDATION, AGGREGATION, REVIEW])
def test_deployed_queue_is_used_as_it_is(seen: Seen, queue: str) -> None:
    assert seen.arguments_kept[queue]


def test_exchange_is_bound(seen: Seen) -> None:
    assert seen.read("vote_audit", voter_hash=voter("d"))


@pytest.mark.parametrize(
    ("schema", "relation"), [(s, r) for s, relations in READERS.items() for r in relations]
)
def test_relation_has_its_columns(seen: Seen, schema: str, relation: str) -> None:
    rows = seen.read(relation, schema)
    assert rows or relation == "laws"


def test_totals(seen: Seen) -> None:
    for schema in ("public", "reader_aggregation", "reader_voting"):
        [row] = seen.read("vote_results", schema, law_id="law-001")
        assert (row["oui_count"], row["non_count"]) == (2, 1)
    for view in ("vote_statistics", "vote_summary"):
        [row] = seen.read(view, law_id="law-001")
        assert (row["total_votes"], float(row["oui_percentage"])) == (3, 66.67)


def test_audit_of_the_aggregation_service_has_counted_votes_only(seen: Seen) -> None:
    rows = seen.read("vote_audit", "reader_aggregation")
    assert len(rows) == len(FORMS)
    [row] = seen.read("vote_audit", "reader_aggregation", vote_hash=voter("b"))
    assert (row["ip_address"], row["user_agent"]) == ("10.0.0.1", "browser")
    assert row["timestamp"] == AT.replace(tzinfo=None)


def test_audit_of_the_worker_has_every_message(seen: Seen) -> None:
    rows = seen.read("vote_audit", "reader_validation")
    statuses = sorted(row["status"] for row in rows)
    assert statuses == ["duplicate", "invalid", "invalid", *["valid"] * len(FORMS)]
    [row] = seen.read("vote_audit", "reader_validation", voter_hash=voter("c"))
    assert (row["candidate_id"], row["vote_timestamp"]) == (7, AT.replace(tzinfo=None))


def test_audit_of_the_voting_services_has_every_message(seen: Seen) -> None:
    rows = seen.read("vote_audit", "reader_voting")
    statuses = sorted(row["status"] for row in rows)
    assert statuses == [*["aggregated"] * len(FORMS), "duplicate", "invalid", "invalid"]
    [first, *_] = seen.read("vote_audit", "reader_voting", status="invalid")
    assert first["error_message"] == "not_on_roll"
    assert len({row["id"] for row in rows}) == len(rows)


def test_audit_of_the_deployed_api_has_its_statuses(seen: Seen) -> None:
    rows = seen.read("vote_audit", "reader_api")
    statuses = sorted(row["status"] for row in rows)
    assert statuses == [*["accepted"] * len(FORMS), "duplicate", "invalid", "invalid"]
    [row] = seen.read("vote_audit", "reader_api", status="duplicate")
    assert (row["vote_hash"], row["law_id"]) == (voter("a"), "law-001")


def test_duplicate_row_counts_the_first_submission(seen: Seen) -> None:
    [row] = seen.read("duplicate_attempts")
    assert (row["vote_hash"], row["attempt_count"], row["reason"]) == (
        voter("a"),
        2,
        "already_voted",
    )
    assert row["first_attempt"] == AT
    assert row["last_attempt"] == row["attempt_timestamp"] == AT.replace(minute=5)
    [row] = seen.read("duplicate_attempts", "reader_voting")
    assert (row["attempt_count"], row["first_attempt_at"]) == (2, AT)
    [row] = seen.read("duplicate_attempts", "reader_aggregation")
    assert row["attempt_timestamp"] == AT.replace(minute=5, tzinfo=None)
    [row] = seen.read("top_duplicate_attempts")
    assert row["duration"].total_seconds() == 300
    [row] = seen.read("duplicate_summary")
    assert (row["duplicate_count"], row["unique_citizens"]) == (1, 1)


@pytest.mark.parametrize("name", ["idx_vote_audit_voter_hash", "idx_vote_audit_timestamp"])
def test_documented_index(seen: Seen, name: str) -> None:
    assert name in seen.indexes


def test_redis_keys(seen: Seen) -> None:
    """The counters are waited for in the run itself."""
    assert seen.redis["voted_hashes"] == {voter(n) for n in [*"abcde", "nobody on the roll"]}
    assert seen.redis["valid_hashes"] == {voter(name) for name in "abcde"}
    assert seen.redis["error_patterns_seen"] == {voter("unknown")[:8]}


WORKER_METRICS = (
    'votes_aggregated_total{choice="oui",law_id="law-001"}',
    'current_vote_totals{choice="oui",law_id="law-001"}',
    "batch_processing_duration_seconds",
    "batch_size_processed_total",
    'validation_votes_processed_total{status="valid"}',
    'validation_votes_processed_total{status="duplicate"}',
    'validation_votes_processed_total{status="invalid"}',
    "validation_processing_latency_seconds_count",
    'database_operations_total{operation="flush",status="success"}',
    "votes_received_total",
    "votes_duplicate_total",
    "duplicate_attempts_total",
    "votes_validation_processed_total",
    "votes_validation_failed_total",
    'votes_validation_status_total{status="valid"}',
    'votes_by_law_total{law_id="law-001"}',
)
BRIDGE_METRICS = (
    "validation_queue_size",
    'redis_operations_total{operation="smismember",status="success"}',
    "oversized_payloads_total",
    "error_patterns_unique_total",
    "error_patterns_repeated_total",
)


@pytest.mark.parametrize("name", WORKER_METRICS)
def test_metric_of_the_worker(seen: Seen, name: str) -> None:
    assert name in seen.worker


@pytest.mark.parametrize("name", BRIDGE_METRICS)
def test_metric_of_the_bridge(seen: Seen, name: str) -> None:
    assert name in seen.bridge


def test_metrics_tell_the_count(seen: Seen) -> None:
    assert seen.worker['votes_aggregated_total{choice="oui",law_id="law-001"}'] == 2
    assert seen.worker["batch_size_processed_total"] == len(FORMS)
    assert seen.worker['validation_votes_processed_total{status="invalid"}'] == 2
    received = len(FORMS) + 3
    assert seen.worker["votes_received_total"] == received
    assert seen.worker["votes_validation_processed_total"] == received
    assert seen.worker["votes_validation_failed_total"] == 2
    assert seen.worker["duplicate_attempts_total"] == seen.worker["votes_duplicate_total"] == 1
    assert seen.worker['votes_validation_status_total{status="valid"}'] == len(FORMS)
    assert seen.worker['votes_by_law_total{law_id="law-001"}'] == 3
    assert seen.bridge["error_patterns_unique_total"] == 1
    assert seen.bridge["error_patterns_repeated_total"] == 1


def test_settings_by_their_old_names(seen: Seen) -> None:
    """The run's processes had no other password, queue, prefetch or pool sizes than these."""
    assert len(seen.read("vote_audit")) == len(FORMS)
