"""What doctor makes of what it finds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace

import pytest

from streams.adapters.kafka.admin import planned_topics
from streams.adapters.kafka.view import Span
from streams.adapters.rabbitmq.client import QueueDepth
from streams.adapters.rabbitmq.management import QueueDetails
from streams.errors import ServiceUnavailable, SettingsError
from streams.inspect import (
    check_host,
    check_kafka,
    check_postgres,
    check_rabbit,
    check_redis,
    checks,
)
from streams.inspect.check_kafka import KafkaFacts, TopicFacts
from streams.inspect.check_postgres import PostgresFacts, SinkRow
from streams.inspect.check_rabbit import RabbitFacts
from streams.inspect.check_redis import RedisFacts
from streams.inspect.checks import Check, CheckClock, CheckedService, CheckStatus
from streams.inspect.queue_settings import other_arguments, remove_limit
from streams.inspect.rabbit import BrokerFacts
from streams.settings.load import load_settings

SETTINGS = load_settings({})
KAFKA, QUEUES = SETTINGS.kafka, SETTINGS.queues
EXACT = CheckClock(0.0, 0.001)
LOG = b"1" * 16
NOT_CHECKED = CheckStatus.NOT_CHECKED


def bad(found: Iterable[Check]) -> dict[str, tuple[CheckStatus, str]]:
    """Everything that is not ok: name -> (status, detail)."""
    return {c.name: (c.status, c.detail) for c in found if c.status is not CheckStatus.OK}


def kafka_facts(**config: str) -> KafkaFacts:
    topics = {
        plan.name: TopicFacts(
            plan.partitions, 3, 3, {"min.insync.replicas": "2", **plan.config, **config}
        )
        for plan in planned_topics("scrutin", 4)
    }
    return KafkaFacts(
        brokers=3,
        topics=topics,
        spans={p: Span(0, 10) for p in range(4)},
        log_ids=dict.fromkeys(range(4), LOG),
        changelog_ids=dict.fromkeys(range(4), LOG),
    )


def test_a_good_kafka_has_no_finding() -> None:
    assert bad(check_kafka.evaluate(KAFKA, kafka_facts())) == {}


def test_a_single_broker_is_a_warning() -> None:
    facts = kafka_facts()
    facts.topics = {n: replace(t, replicas=1, in_sync=1) for n, t in facts.topics.items()}
    (found,) = [c for c in check_kafka.evaluate(KAFKA, facts) if c.status is not CheckStatus.OK]
    assert found.status is CheckStatus.WARNING
    assert "SCRUTIN_REPLICATION_FACTOR=3 and min.insync.replicas=2" in found.todo


def test_other_partitions_than_the_settings_say() -> None:
    found = bad(
        check_kafka.evaluate(load_settings({"SCRUTIN_PARTITIONS": "8"}).kafka, kafka_facts())
    )
    assert found["partitions"][0] is CheckStatus.FAILURE
    assert "votes.validation has 4, not 8" in found["partitions"][1]
    assert "co-partitioning" not in found


def test_topics_that_are_not_co_partitioned() -> None:
    facts = kafka_facts()
    facts.topics["votes.validated"] = replace(facts.topics["votes.validated"], partitions=3)
    assert bad(check_kafka.evaluate(KAFKA, facts))["co-partitioning"][0] is CheckStatus.FAILURE


@pytest.mark.parametrize(
    ("key", "value", "status"),
    [
        ("retention.ms", "604800000", CheckStatus.FAILURE),
        ("retention.bytes", "1000", CheckStatus.FAILURE),
        ("max.message.bytes", "1000", CheckStatus.FAILURE),
        ("unclean.leader.election.enable", "true", CheckStatus.WARNING),
    ],
)
def test_options_that_lose_votes(key: str, value: str, status: CheckStatus) -> None:
    facts = kafka_facts(**{key: value})
    assert bad(check_kafka.evaluate(KAFKA, facts))["retention"][0] is status


def test_a_compacted_input_log_loses_votes() -> None:
    facts = kafka_facts(**{"cleanup.policy": "compact"})
    assert "cleanup.policy=compact" in bad(check_kafka.evaluate(KAFKA, facts))["retention"][1]


def test_missing_topics_are_a_warning() -> None:
    found = bad(check_kafka.evaluate(KAFKA, KafkaFacts(brokers=3)))
    assert found.pop("topics")[0] is CheckStatus.WARNING
    assert {name: status for name, (status, _) in found.items()} == dict.fromkeys(
        ("replication", "retention", "log identity"), CheckStatus.NOT_CHECKED
    )


def test_topics_whose_configuration_is_hidden_are_not_ticked() -> None:
    facts = kafka_facts()
    facts.topics["votes.validated"] = replace(facts.topics["votes.validated"], config={})
    found = bad(check_kafka.evaluate(KAFKA, facts))
    assert {name: status for name, (status, _) in found.items()} == dict.fromkeys(
        ("replication", "retention"), CheckStatus.NOT_CHECKED
    )
    assert "votes.validated" in found["retention"][1]


@pytest.mark.parametrize("fault", ["truncated", "headless", "other changelog"])
def test_logs_that_are_not_whole(fault: str) -> None:
    facts = kafka_facts()
    if fault == "truncated":
        facts.spans[2] = Span(5, 10)
    elif fault == "headless":
        facts.log_ids[2] = None
    else:
        facts.changelog_ids[2] = b"2" * 16
    status, detail = bad(check_kafka.evaluate(KAFKA, facts))["log identity"]
    assert status is CheckStatus.FAILURE
    assert "partitions 2 of" in detail


def rabbit_facts(details: dict[str, QueueDetails] | None = None) -> RabbitFacts:
    broker = BrokerFacts("4.0", {"votes.validation": QueueDepth(0, 1)}, {"votes.exchange": False})
    return RabbitFacts(broker, "http://h:15672", details)


def queue(
    arguments: dict[str, object] | None = None,
    policy: dict[str, object] | None = None,
    *,
    durable: bool = True,
    kind: str = "classic",
) -> QueueDetails:
    return QueueDetails(arguments or {}, policy or {}, durable, False, 0, kind)


def test_a_good_queue_has_no_finding() -> None:
    details = {"votes.validation": queue({"x-dead-letter-exchange": "dead"})}
    assert bad(check_rabbit.evaluate(QUEUES, rabbit_facts(details))) == {}


@pytest.mark.parametrize(
    ("version", "status"), [("4.3.6", CheckStatus.NOT_CHECKED), ("3.10.8", CheckStatus.OK)]
)
def test_the_limit_of_a_queue_whose_policy_is_not_shown_yet_is_unknown(
    version: str, status: CheckStatus
) -> None:
    details = replace(queue(kind="quorum"), policy_shown=False)
    facts = rabbit_facts({"votes.validation": details})
    facts.broker = replace(facts.broker, version=version)
    checks = [*check_rabbit.evaluate(QUEUES, facts)]
    assert checks[-1].status is status
    assert not [check for check in checks if check.status is CheckStatus.FAILURE]


@pytest.mark.parametrize(("kind", "told"), [("classic", "half the CPU"), ("quorum", "must wait")])
def test_a_type_is_no_fault_but_what_it_means_is_told(kind: str, told: str) -> None:
    details = {"votes.validation": queue(policy={"delivery-limit": -1}, kind=kind)}
    checks = [*check_rabbit.evaluate(QUEUES, rabbit_facts(details))]
    assert bad(checks) == {}
    hints = [check.detail for check in checks if check.detail.startswith(kind)]
    assert len(hints) == 1
    assert told in hints[0]


def test_without_a_management_api_nothing_is_ticked() -> None:
    found = bad(check_rabbit.evaluate(QUEUES, rabbit_facts(None)))
    assert found["queue arguments"][0] is CheckStatus.NOT_CHECKED


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        (queue({"x-message-ttl": 86400000}), "message-ttl 86400000 ms"),
        (queue({"x-max-length": 10}), "max-length 10, overflow drop-head"),
        (
            queue({"x-max-length": 10, "x-overflow": "reject-publish"}),
            "max-length 10, overflow reject-publish",
        ),
        (queue({"x-max-priority": 10}), "max-priority 10"),
        (queue({"x-expires": 5}), "expires 5 ms"),
        (queue(policy={"message-ttl": 7}), "policy: message-ttl 7 ms"),
        (queue(durable=False), "not durable"),
    ],
)
def test_queue_properties_that_lose_votes(details: QueueDetails, expected: str) -> None:
    found = bad(check_rabbit.evaluate(QUEUES, rabbit_facts({"votes.validation": details})))
    assert found == {"queue votes.validation": (CheckStatus.WARNING, expected)}


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        (queue(kind="stream"), "a stream queue"),
        (queue(kind="quorum"), "delivery limit 20"),
        (queue({"x-delivery-limit": 3}, kind="quorum"), "delivery limit 3"),
        (queue(policy={"delivery-limit": 7}, kind="quorum"), "delivery limit 7"),
        (queue({"x-delivery-limit": 9}, {"delivery-limit": 7}, kind="quorum"), "delivery limit 7"),
        (queue({"x-delivery-limit": 9}, {"delivery-limit": -1}, kind="quorum"), "delivery limit 9"),
    ],
)
def test_queues_that_lose_votes_without_a_trace(details: QueueDetails, expected: str) -> None:
    found = bad(check_rabbit.evaluate(QUEUES, rabbit_facts({"votes.validation": details})))
    assert found == {"queue votes.validation": (CheckStatus.FAILURE, expected)}


@pytest.mark.parametrize(
    "details",
    [queue(policy={"delivery-limit": -1}, kind="quorum"), queue({"x-delivery-limit": 3})],
)
def test_no_delivery_limit_is_in_force(details: QueueDetails) -> None:
    assert bad(check_rabbit.evaluate(QUEUES, rabbit_facts({"votes.validation": details}))) == {}


def test_a_delivery_limit_with_a_trace_or_accepted_is_a_warning() -> None:
    traced = queue(policy={"dead-letter-exchange": "dead"}, kind="quorum")
    found = bad(check_rabbit.evaluate(QUEUES, rabbit_facts({"votes.validation": traced})))
    assert found == {"queue votes.validation": (CheckStatus.WARNING, "delivery limit 20")}
    accepting = load_settings({"SCRUTIN_ACCEPT_QUEUE_LOSS": "votes.validation"}).queues
    facts = rabbit_facts({"votes.validation": queue(kind="quorum")})
    assert bad(check_rabbit.evaluate(accepting, facts)) == {
        "queue votes.validation": (CheckStatus.WARNING, "delivery limit 20, accepted")
    }


def test_no_advice_deletes_a_queue_before_its_clients_are_changed() -> None:
    details = queue({"x-message-ttl": 86400000})
    [check] = [
        check
        for check in check_rabbit.evaluate(QUEUES, rabbit_facts({"votes.validation": details}))
        if check.status is CheckStatus.WARNING and "ttl" in check.detail
    ]
    assert "SCRUTIN_QUEUE_ARGUMENTS=votes.validation:x-message-ttl=86400000" in check.todo
    assert check.todo.index("change what its other clients declare") < check.todo.index("delete it")


def test_a_queue_that_deployed_clients_cannot_declare() -> None:
    given = "votes.validation:x-message-ttl=5,votes.validation:x-max-priority=10"
    queues = load_settings({"SCRUTIN_QUEUE_ARGUMENTS": given}).queues
    facts = rabbit_facts({"votes.validation": queue()})
    assert bad(check_rabbit.evaluate(queues, facts)) == {
        "queue votes.validation": (
            CheckStatus.WARNING,
            "not as SCRUTIN_QUEUE_ARGUMENTS says",
        )
    }
    same = {"x-message-ttl": 5, "x-max-priority": 10}
    assert other_arguments("q", same, queue(same)) is None
    assert other_arguments("q", same, queue(same | {"x-queue-type": "classic"})) is None
    todo = other_arguments("q", same, queue({"x-message-ttl": 5}))
    assert todo is not None
    assert "declare x-max-priority=10, x-message-ttl=5 are refused" in todo
    assert "let them declare x-message-ttl=5," in todo


def test_the_remedy_keeps_what_the_policy_says() -> None:
    details = queue(policy={"message-ttl": 7}, kind="quorum")
    remedy = remove_limit("a.b", details, "4.0.5", "/")
    assert remedy == (
        "Type: rabbitmqctl set_policy -p / --priority 100 --apply-to queues scrutin-a.b "
        r"""'^a\.b$' '{"message-ttl": 7, "delivery-limit": -1}'"""
    )
    assert "argument" in remove_limit("q", queue({"x-delivery-limit": 3}), "4.0.5", "/")
    assert "policy" in remove_limit("q", queue(policy={"delivery-limit": 3}), "3.13.7", "/")


def test_priorities_reorder_quorum_queues_without_an_argument() -> None:
    details = {"votes.validation": queue(policy={"delivery-limit": -1}, kind="quorum")}
    texts = [c.detail for c in check_rabbit.evaluate(QUEUES, rabbit_facts(details))]
    assert any("priority" in text for text in texts)


def test_an_exchange_that_feeds_nobody() -> None:
    facts = rabbit_facts({"votes.validation": queue()})
    facts.broker.exchanges["votes.exchange"] = True
    assert bad(check_rabbit.evaluate(QUEUES, facts))["votes.exchange"][0] is CheckStatus.WARNING
    unbound = load_settings({"SCRUTIN_BINDINGS": "false"}).queues
    assert bad(check_rabbit.evaluate(unbound, facts))["votes.exchange"][0] is CheckStatus.FAILURE
    facts.bound = ["votes.validation"]
    assert bad(check_rabbit.evaluate(unbound, facts)) == {}
    facts.details = None
    assert bad(check_rabbit.evaluate(unbound, facts))["votes.exchange"][0] is NOT_CHECKED


def test_a_queue_that_the_management_api_hides_is_not_ticked() -> None:
    found = bad(check_rabbit.evaluate(QUEUES, rabbit_facts({})))
    assert found["queue arguments"][0] is NOT_CHECKED
    assert "votes.validation" in found["queue arguments"][1]


def test_a_queue_nobody_reads() -> None:
    facts = rabbit_facts({"votes.validation": queue()})
    facts.broker.queues["votes.validation"] = QueueDepth(9, 0)
    assert bad(check_rabbit.evaluate(QUEUES, facts)) == {
        "queue votes.validation": (CheckStatus.WARNING, "9 waiting, 0 consumers")
    }


PARAMETERS = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "max_connections": "100",
    "max_locks_per_transaction": "64",
    "jit": "on",
    "jit_above_cost": "100000",
}


def postgres_facts(**changes: object) -> PostgresFacts:
    facts = PostgresFacts("15.8", EXACT, PARAMETERS, 5, applied=[1, 2])
    return replace(facts, **changes)  # type: ignore[arg-type]


def test_schema() -> None:
    assert check_postgres.evaluate_schema([1, 2], [1, 2]).status is CheckStatus.OK
    assert check_postgres.evaluate_schema([1], [1, 2]).status is CheckStatus.WARNING
    assert check_postgres.evaluate_schema(None, [1, 2]).status is CheckStatus.WARNING
    newer = check_postgres.evaluate_schema([1, 2, 3], [1, 2])
    assert newer.status is CheckStatus.FAILURE
    assert "migration 3" in newer.detail


@pytest.mark.parametrize("name", ["fsync", "full_page_writes", "synchronous_commit"])
def test_a_database_that_forgets_commits(name: str) -> None:
    facts = postgres_facts(parameters={**PARAMETERS, name: "off"})
    assert bad(check_postgres.evaluate(SETTINGS.postgres, facts))["durability"] == (
        CheckStatus.WARNING,
        f"{name}=off",
    )


def test_too_few_connections_and_an_old_server() -> None:
    facts = postgres_facts(connections=95, version="12.1")
    assert {"connections", "version"} <= set(bad(check_postgres.evaluate(SETTINGS.postgres, facts)))


@pytest.mark.parametrize(
    ("tables", "changed", "warned"),
    [
        (23, {}, True),
        (22, {}, False),
        (103, {"jit": "off"}, False),
        (103, {"jit_above_cost": "-1"}, False),
    ],
)
def test_plans_for_many_stretches_are_compiled(
    tables: int, changed: dict[str, str], *, warned: bool
) -> None:
    facts = postgres_facts(vote_tables=tables, parameters={**PARAMETERS, **changed})
    assert ("jit" in bad(check_postgres.evaluate(SETTINGS.postgres, facts))) is warned


def test_readers_of_many_stretches_need_locks() -> None:
    assert "locks" not in bad(
        check_postgres.evaluate(SETTINGS.postgres, postgres_facts(vote_tables=80))
    )
    found = bad(check_postgres.evaluate(SETTINGS.postgres, postgres_facts(vote_tables=103)))
    assert found["locks"] == (
        CheckStatus.WARNING,
        "6400 fit; 20 readers of vote_audit need 8240",
    )


@pytest.mark.parametrize(
    ("sink", "has_votes", "detail"),
    [
        ({0: SinkRow(b"2" * 16, 3)}, True, "counted from another log"),
        ({0: SinkRow(LOG, 10)}, True, "newer than the log"),
        ({}, True, "no position in any log"),
    ],
)
def test_database_and_log_that_do_not_belong_together(
    sink: dict[int, SinkRow], has_votes: bool, detail: str
) -> None:
    facts = postgres_facts(sink=sink, has_votes=has_votes)
    found = check_postgres.evaluate_log(facts, {0: LOG}, {0: Span(0, 10)})
    assert found.status is CheckStatus.FAILURE
    assert detail in found.detail


@pytest.mark.parametrize("sink", [{}, {0: SinkRow(LOG, 9)}])
def test_database_and_log_that_belong_together(sink: dict[int, SinkRow]) -> None:
    facts = postgres_facts(sink=sink, has_votes=bool(sink))
    assert check_postgres.evaluate_log(facts, {0: LOG}, {0: Span(0, 10)}).status is CheckStatus.OK


REDIS = RedisFacts("7.0", EXACT, 100, 3, persistent=True, policy="noeviction", max_memory=0)


@pytest.mark.parametrize(
    ("facts", "name", "status"),
    [
        (replace(REDIS, roll=0), "roll", CheckStatus.FAILURE),
        (replace(REDIS, roll=None), "roll", CheckStatus.FAILURE),
        (replace(REDIS, voted=None), "voted_hashes", CheckStatus.FAILURE),
        (replace(REDIS, policy="allkeys-lru"), "eviction", CheckStatus.WARNING),
        (replace(REDIS, policy=None), "eviction", NOT_CHECKED),
        (replace(REDIS, persistent=False), "persistence", CheckStatus.WARNING),
        (replace(REDIS, persistent=None), "persistence", NOT_CHECKED),
        (replace(REDIS, clock=CheckClock(-5.0, 0.1)), "clock", CheckStatus.WARNING),
    ],
)
def test_redis_findings(facts: RedisFacts, name: str, status: CheckStatus) -> None:
    found = bad(check_redis.evaluate(SETTINGS.roll, facts))
    assert {n: s for n, (s, _) in found.items()} == {name: status}


def test_a_good_redis_has_no_finding() -> None:
    for facts in (REDIS, replace(REDIS, policy="volatile-lru")):
        assert bad(check_redis.evaluate(SETTINGS.roll, facts)) == {}


def test_an_open_roll_needs_no_hashes() -> None:
    facts = replace(REDIS, roll=0)
    found = bad(check_redis.evaluate(load_settings({"SCRUTIN_ROLL": "open"}).roll, facts))
    assert found == {"roll": (NOT_CHECKED, "not used (SCRUTIN_ROLL=open)")}


def test_a_slow_answer_is_no_skew() -> None:
    assert checks.CheckedService("x").clock(CheckClock(1.5, 0.6)).status is CheckStatus.OK
    assert checks.CheckedService("x").clock(CheckClock(1.5, 0.4)).status is CheckStatus.WARNING


def test_host_limits() -> None:
    assert check_host.evaluate_handles(256).status is CheckStatus.WARNING
    assert check_host.evaluate_handles(1024).status is CheckStatus.OK
    assert check_host.evaluate_handles(-1).status is CheckStatus.OK
    assert check_host.evaluate_disk("d", 1000).status is CheckStatus.WARNING
    assert check_host.evaluate_disk("d", 1 << 40).status is CheckStatus.OK


async def test_a_service_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "DEADLINE_S", 0.01)
    found = await CheckedService("kafka").ask(asyncio.Event().wait())
    assert isinstance(found, Check)
    assert found.unavailable
    assert found.status is CheckStatus.FAILURE


@pytest.mark.parametrize(
    ("error", "unavailable"),
    [(ServiceUnavailable("gone"), True), (SettingsError("refused"), False)],
)
async def test_errors_become_failed_checks(error: Exception, unavailable: bool) -> None:
    async def fail() -> int:
        raise error

    found = await CheckedService("kafka").ask(fail())
    assert isinstance(found, Check)
    assert found.unavailable is unavailable
    assert found.detail == str(error)
