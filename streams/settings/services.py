"""Settings for the services: addresses, credentials and TLS."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from streams.settings.configs import RabbitConfig, RedisConfig, TlsConfig
from streams.settings.kafka_security import Mechanism, Protocol, Security
from streams.settings.queues import (
    AGGREGATION,
    POLL_UPDATES,
    RECEIPTS,
    REVIEW,
    VALIDATION,
    parse_arguments,
)

Names = Annotated[tuple[str, ...], NoDecode, Field(min_length=1)]
Port = Annotated[int, Field(ge=0, le=65535)]
Positive = Annotated[int, Field(gt=0)]


def variable(*names: str, default: object) -> Any:
    """A settings field, read from any one of these environment variables.

    The docstring below a field is its meaning in `.env.example` and docs/settings.md.
    """
    return Field(default=default, validation_alias=AliasChoices(*names), validate_default=True)


class ServiceSettings(BaseSettings):
    """RabbitMQ, PostgreSQL, Redis and Kafka."""

    model_config = SettingsConfigDict(
        extra="ignore", frozen=True, populate_by_name=True, use_attribute_docstrings=True
    )

    # RabbitMQ
    rabbitmq_host: str = variable("RABBITMQ_HOST", default="localhost")
    """RabbitMQ host."""
    rabbitmq_port: Port = variable("RABBITMQ_PORT", default=5672)
    """RabbitMQ port."""
    rabbitmq_user: str = variable("RABBITMQ_USER", default="guest")
    """RabbitMQ user."""
    rabbitmq_password: SecretStr = variable("RABBITMQ_PASSWORD", "RABBITMQ_PASS", default="guest")
    """RabbitMQ password."""
    rabbitmq_vhost: str = variable("RABBITMQ_VHOST", default="/")
    """RabbitMQ virtual host."""
    prefetch_count: Annotated[int, Field(ge=1, le=65535)] = variable(
        "RABBITMQ_PREFETCH_COUNT", "PREFETCH_COUNT", default=4000
    )
    """Unacknowledged deliveries per ingress queue."""
    validation_queue: str = variable("VALIDATION_QUEUE", default=VALIDATION)
    """Queue of votes to validate."""
    aggregation_queue: str = variable("AGGREGATION_QUEUE", "RABBITMQ_QUEUE", default=AGGREGATION)
    """Queue of votes already validated."""
    review_queue: str = variable("REVIEW_QUEUE", default=REVIEW)
    """Queue of votes that were not counted."""
    poll_updates_queue: str = variable("POLL_UPDATES_QUEUE", default=POLL_UPDATES)
    """Queue of votes in polls, bound to the exchange `poll_updates`."""
    receipts_queue: str = variable("RECEIPTS_QUEUE", default=RECEIPTS)
    """Queue of receipts of all verdicts, if SCRUTIN_EGRESS lists it."""
    queue_arguments: Annotated[tuple[str, ...], NoDecode] = variable(
        "SCRUTIN_QUEUE_ARGUMENTS", default=""
    )
    """Arguments with which missing queues are declared, for clients that declare them too:
    `queue:argument=value`, e.g. `votes.validation:x-message-ttl=86400000`; none by default."""
    rabbitmq_tls: bool = variable("RABBITMQ_TLS", default=False)
    """Connect to RabbitMQ over TLS (AMQPS)."""
    rabbitmq_management_url: str = variable("SCRUTIN_RABBITMQ_MANAGEMENT_URL", default="")
    """RabbitMQ's management API, used by `doctor` and bridges; empty = port 15672 of the host, or
    15671 with RABBITMQ_TLS."""

    # PostgreSQL
    postgres_host: str = variable("POSTGRES_HOST", default="localhost")
    """PostgreSQL host."""
    postgres_port: Port = variable("POSTGRES_PORT", default=5432)
    """PostgreSQL port."""
    postgres_db: str = variable("POSTGRES_DB", default="election_votes")
    """PostgreSQL database."""
    postgres_user: str = variable("POSTGRES_USER", default="postgres")
    """PostgreSQL user."""
    postgres_password: SecretStr = variable("POSTGRES_PASSWORD", default="")
    """PostgreSQL password."""
    postgres_tls: bool = variable("POSTGRES_TLS", default=False)
    """Connect to PostgreSQL over TLS and verify its certificate."""
    postgres_min_connections: Positive = variable(
        "POSTGRES_MIN_CONNECTIONS",
        "POSTGRES_MIN_POOL_SIZE",
        "MIN_CONNECTIONS",
        "MIN_POOL_SIZE",
        default=2,
    )
    """Minimum of open connections of a worker."""
    postgres_max_connections: Positive = variable(
        "POSTGRES_MAX_CONNECTIONS",
        "POSTGRES_MAX_POOL_SIZE",
        "MAX_CONNECTIONS",
        "MAX_POOL_SIZE",
        default=10,
    )
    """Maximum of open connections of a worker."""

    # Redis
    redis_host: str = variable("REDIS_HOST", default="localhost")
    """Redis host."""
    redis_port: Port = variable("REDIS_PORT", default=6379)
    """Redis port."""
    redis_db: Annotated[int, Field(ge=0)] = variable("REDIS_DB", default=0)
    """Redis database."""
    redis_password: SecretStr = variable("REDIS_PASSWORD", default="")
    """Redis password."""
    redis_tls: bool = variable("REDIS_TLS", default=False)
    """Connect to Redis over TLS."""

    # Kafka
    kafka_bootstrap_servers: Names = variable("KAFKA_BOOTSTRAP_SERVERS", default="localhost:9092")
    """Kafka brokers, comma-separated."""
    kafka_security_protocol: Protocol = variable("KAFKA_SECURITY_PROTOCOL", default="PLAINTEXT")
    """`SASL_SSL` = TLS with user and password; `SSL` = TLS only."""
    kafka_sasl_mechanism: Mechanism = variable("KAFKA_SASL_MECHANISM", default="SCRAM-SHA-512")
    """SASL mechanism."""
    kafka_sasl_username: str = variable("KAFKA_SASL_USERNAME", default="")
    """Kafka user."""
    kafka_sasl_password: SecretStr = variable("KAFKA_SASL_PASSWORD", default="")
    """Kafka password."""

    # TLS
    tls_ca_file: Path | None = variable("SCRUTIN_TLS_CA_FILE", default=None)
    """CA certificates (PEM) to verify the services; empty = the system's."""
    tls_cert_file: Path | None = variable("SCRUTIN_TLS_CERT_FILE", default=None)
    """Client certificate (PEM), for services that ask for one."""
    tls_key_file: Path | None = variable("SCRUTIN_TLS_KEY_FILE", default=None)
    """Key of the client certificate (PEM), if not in the same file."""

    @property
    def tls(self) -> TlsConfig:
        """The files of every encrypted connection."""
        return TlsConfig(self.tls_ca_file, self.tls_cert_file, self.tls_key_file)

    def encrypted(self) -> bool:
        """Whether these settings encrypt any connection."""
        on = (self.rabbitmq_tls, self.postgres_tls, self.redis_tls)
        return any(on) or self.kafka_security_protocol.endswith("SSL")

    @property
    def rabbit(self) -> RabbitConfig:
        """Where RabbitMQ is."""
        return RabbitConfig(
            host=self.rabbitmq_host,
            port=self.rabbitmq_port,
            user=self.rabbitmq_user,
            password=self.rabbitmq_password.get_secret_value(),
            vhost=self.rabbitmq_vhost,
            tls=self.tls if self.rabbitmq_tls else None,
            management_url=self.rabbitmq_management_url,
            management_tls=self.tls,
            queue_arguments=parse_arguments(self.queue_arguments),
        )

    @property
    def redis(self) -> RedisConfig:
        """Where Redis is."""
        return RedisConfig(
            host=self.redis_host,
            port=self.redis_port,
            db=self.redis_db,
            password=self.redis_password.get_secret_value(),
            tls=self.tls if self.redis_tls else None,
        )

    def kafka_security(self) -> Security:
        """Security settings of Kafka clients."""
        return Security(
            protocol=self.kafka_security_protocol,
            context=self.tls.context() if self.kafka_security_protocol.endswith("SSL") else None,
            mechanism=self.kafka_sasl_mechanism,
            user=self.kafka_sasl_username,
            password=self.kafka_sasl_password,
        )
