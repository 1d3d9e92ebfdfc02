"""What entry points build from the settings."""

from __future__ import annotations

import dataclasses

import pytest

from streams.settings.build import (
    bridge_config,
    doctor_config,
    gateway_config,
    tally_config,
    tally_worker_config,
    worker_config,
)
from streams.settings.load import load_settings

SECRETS = {
    "RABBITMQ_PASSWORD": "hush-rabbit",
    "POSTGRES_PASSWORD": "hush-postgres",
    "REDIS_PASSWORD": "hush-redis",
    "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
    "KAFKA_SASL_USERNAME": "u",
    "KAFKA_SASL_PASSWORD": "hush-kafka",
    "SCRUTIN_SECRET": "hush" * 8,
    "SCRUTIN_API_KEYS": "a" * 64,
    "SCRUTIN_TALLY_API_KEYS": "b" * 64,
}
BUILDERS = [
    bridge_config,
    doctor_config,
    gateway_config,
    tally_config,
    tally_worker_config,
    worker_config,
]


@pytest.mark.parametrize("build", BUILDERS)
def test_no_config_shows_a_secret(build: object) -> None:
    assert callable(build)
    shown = repr(build(load_settings(SECRETS)))
    assert "hush" not in shown
    assert "a" * 64 not in shown
    assert "b" * 64 not in shown


@pytest.mark.parametrize("build", BUILDERS)
def test_configs_cannot_be_changed(build: object) -> None:
    assert callable(build)
    config = build(load_settings({}))
    name = dataclasses.fields(config)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(config, name, None)


def test_secrets_reach_the_clients() -> None:
    deployment = gateway_config(load_settings(SECRETS)).intake.deployment
    assert deployment.rabbit.password == "hush-rabbit"
    assert deployment.postgres.password == "hush-postgres"
    assert deployment.redis.password == "hush-redis"
    assert deployment.kafka.security.secret == "hush-kafka"
    assert gateway_config(load_settings(SECRETS)).intake.secret == "hush" * 8


def test_addresses_of_kafka_carry_its_security() -> None:
    kafka = load_settings({**SECRETS, "KAFKA_BOOTSTRAP_SERVERS": "a:1,b:2"}).kafka
    assert kafka.servers == ["a:1", "b:2"]
    assert all(server.security is kafka.security for server in kafka.servers)  # type: ignore[attr-defined]


def test_queues_have_the_names_of_the_deployment() -> None:
    queues = load_settings({"VALIDATION_QUEUE": "v", "REVIEW_QUEUE": "r"}).queues
    assert queues.name("votes.validation") == "v"
    assert queues.used() == ["v", "r"]


def test_waits_of_postgresql_follow_the_watchdog() -> None:
    assert load_settings({"SCRUTIN_WATCHDOG_TIMEOUT_S": "9"}).postgres.watchdog_timeout_s == 9
