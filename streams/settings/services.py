"""The services' part of the settings: where they are, who we are there, how it is encrypted."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Annotated, Any

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, NoDecode

from streams.settings.kafka_security import Broker, Mechanism, Protocol, Security
from streams.settings.tls import client_context

VALIDATION = "votes.validation"
AGGREGATION = "votes.aggregation"
REVIEW = "votes.review"
POLL_UPDATES = "poll_vote_updates"
"""Votes in polls by name, as the services before told each other of them."""

Names = Annotated[tuple[str, ...], NoDecode, Field(min_length=1)]
Port = Annotated[int, Field(ge=0, le=65535)]
Positive = Annotated[int, Field(gt=0)]


def variable(*names: str, default: object, about: str) -> Any:
    return Field(
        default=default,
        validation_alias=AliasChoices(*names),
        description=about,
        validate_default=True,
    )


class ServiceSettings(BaseSettings):
    """RabbitMQ, PostgreSQL, Redis and Kafka."""

    # RabbitMQ
    rabbitmq_host: str = variable("RABBITMQ_HOST", default="localhost", about="RabbitMQ host")
    rabbitmq_port: Port = variable("RABBITMQ_PORT", default=5672, about="RabbitMQ port")
    rabbitmq_user: str = variable("RABBITMQ_USER", default="guest", about="RabbitMQ user")
    rabbitmq_password: SecretStr = variable(
        "RABBITMQ_PASSWORD", "RABBITMQ_PASS", default="guest", about="RabbitMQ password"
    )
    rabbitmq_vhost: str = variable("RABBITMQ_VHOST", default="/", about="RabbitMQ virtual host")
    prefetch_count: Annotated[int, Field(ge=1, le=65535)] = variable(
        "RABBITMQ_PREFETCH_COUNT",
        "PREFETCH_COUNT",
        default=4000,
        about="Deliveries in flight per ingress queue",
    )
    validation_queue: str = variable(
        "VALIDATION_QUEUE", default=VALIDATION, about="Votes to validate"
    )
    aggregation_queue: str = variable(
        "AGGREGATION_QUEUE",
        "RABBITMQ_QUEUE",
        default=AGGREGATION,
        about="Votes already validated",
    )
    review_queue: str = variable("REVIEW_QUEUE", default=REVIEW, about="Everything not counted")

    poll_updates_queue: str = variable(
        "POLL_UPDATES_QUEUE", default=POLL_UPDATES, about="Votes in polls, on `poll_updates`"
    )
    rabbitmq_tls: bool = variable(
        "RABBITMQ_TLS", default=False, about="Connect to RabbitMQ over TLS (AMQPS)"
    )
    rabbitmq_management_url: str = variable(
        "SCRUTIN_RABBITMQ_MANAGEMENT_URL",
        default="",
        about="RabbitMQ's management API, for `doctor`; empty = port 15672 of the host",
    )

    # PostgreSQL
    postgres_host: str = variable("POSTGRES_HOST", default="localhost", about="PostgreSQL host")
    postgres_port: Port = variable("POSTGRES_PORT", default=5432, about="PostgreSQL port")
    postgres_db: str = variable("POSTGRES_DB", default="election_votes", about="Database")
    postgres_user: str = variable("POSTGRES_USER", default="postgres", about="PostgreSQL user")
    postgres_password: SecretStr = variable(
        "POSTGRES_PASSWORD", default="", about="PostgreSQL password"
    )
    postgres_tls: bool = variable(
        "POSTGRES_TLS",
        default=False,
        about="Connect to PostgreSQL over TLS, its certificate verified",
    )
    postgres_min_connections: Positive = variable(
        "POSTGRES_MIN_CONNECTIONS",
        "POSTGRES_MIN_POOL_SIZE",
        "MIN_CONNECTIONS",
        "MIN_POOL_SIZE",
        default=2,
        about="Connections a worker keeps open",
    )
    postgres_max_connections: Positive = variable(
        "POSTGRES_MAX_CONNECTIONS",
        "POSTGRES_MAX_POOL_SIZE",
        "MAX_CONNECTIONS",
        "MAX_POOL_SIZE",
        default=10,
        about="Connections a worker opens at most",
    )

    # Redis
    redis_host: str = variable("REDIS_HOST", default="localhost", about="Redis host")
    redis_port: Port = variable("REDIS_PORT", default=6379, about="Redis port")
    redis_db: Annotated[int, Field(ge=0)] = variable("REDIS_DB", default=0, about="Redis database")
    redis_password: SecretStr = variable("REDIS_PASSWORD", default="", about="Redis password")
    redis_tls: bool = variable("REDIS_TLS", default=False, about="Connect to Redis over TLS")

    # Kafka
    kafka_bootstrap_servers: Names = variable(
        "KAFKA_BOOTSTRAP_SERVERS", default="localhost:9092", about="Kafka brokers, comma list"
    )
    kafka_security_protocol: Protocol = variable(
        "KAFKA_SECURITY_PROTOCOL",
        default="PLAINTEXT",
        about="`SASL_SSL`: encrypted, with user and password; `SSL`: encrypted",
    )
    kafka_sasl_mechanism: Mechanism = variable(
        "KAFKA_SASL_MECHANISM", default="SCRAM-SHA-512", about="How Kafka checks the password"
    )
    kafka_sasl_username: str = variable("KAFKA_SASL_USERNAME", default="", about="Kafka user")
    kafka_sasl_password: SecretStr = variable(
        "KAFKA_SASL_PASSWORD", default="", about="Kafka password"
    )

    # TLS
    tls_ca_file: Path | None = variable(
        "SCRUTIN_TLS_CA_FILE",
        default=None,
        about="Certificates (PEM) that sign those of the services; empty = the system's",
    )
    tls_cert_file: Path | None = variable(
        "SCRUTIN_TLS_CERT_FILE",
        default=None,
        about="Our own certificate (PEM), where services ask for one",
    )
    tls_key_file: Path | None = variable(
        "SCRUTIN_TLS_KEY_FILE", default=None, about="Its key (PEM), if not in the same file"
    )

    def tls_context(self) -> ssl.SSLContext:
        """What every encrypted connection trusts.

        Raises:
            SettingsError: a file cannot be used.
        """
        return client_context(self.tls_ca_file, self.tls_cert_file, self.tls_key_file)

    def encrypted(self) -> bool:
        """Whether any connection is encrypted by these settings."""
        on = (self.rabbitmq_tls, self.postgres_tls, self.redis_tls)
        return any(on) or self.kafka_security_protocol.endswith("SSL")

    def rabbitmq_context(self) -> ssl.SSLContext | None:
        """For connections to RabbitMQ; None if they are not encrypted."""
        return self.tls_context() if self.rabbitmq_tls else None

    def postgres_context(self) -> ssl.SSLContext | None:
        """For connections to PostgreSQL; None if nobody asked for encryption."""
        return self.tls_context() if self.postgres_tls else None

    def kafka_security(self) -> Security:
        """How Kafka's clients connect."""
        return Security(
            protocol=self.kafka_security_protocol,
            context=self.tls_context() if self.kafka_security_protocol.endswith("SSL") else None,
            mechanism=self.kafka_sasl_mechanism,
            user=self.kafka_sasl_username,
            password=self.kafka_sasl_password,
        )

    def brokers(self) -> tuple[Broker, ...]:
        """Kafka's addresses with that."""
        security = self.kafka_security()
        return tuple(Broker(server, security) for server in self.kafka_bootstrap_servers)
