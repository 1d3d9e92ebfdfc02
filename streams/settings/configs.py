"""Small frozen configs that adapters and stages take instead of the whole settings.

:class:`streams.settings.model.Settings` builds them at the entry points. They hold no driver
objects and never connect.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path

from streams.settings.kafka_security import PLAINTEXT, Broker, Security
from streams.settings.queues import QueueArguments, QueuesConfig
from streams.settings.tls import client_context


@dataclass(frozen=True)
class TlsConfig:
    """Files for TLS connections, all in PEM."""

    ca_file: Path | None = None
    """CA certificates; None for those the system trusts."""
    cert_file: Path | None = None
    """Client certificate, for services that ask for one."""
    key_file: Path | None = None
    """Its key; None if it is in `cert_file`."""

    def context(self) -> ssl.SSLContext:
        """The TLS context.

        Raises:
            SettingsError: a file cannot be used.
        """
        return client_context(self.ca_file, self.cert_file, self.key_file)


@dataclass(frozen=True)
class PostgresConfig:
    """PostgreSQL: address and credentials."""

    host: str
    port: int
    database: str
    user: str
    password: str = field(default="", repr=False)
    """Empty: none is sent."""
    tls: TlsConfig | None = None
    """None: not encrypted."""
    max_connections: int = 10
    """Maximum of connections in a pool."""
    watchdog_timeout_s: float = 60.0
    """Statements and waits for locks end before the watchdog ends the process."""

    def where(self) -> dict[str, object]:
        """Where the database is, for messages."""
        return {"host": self.host, "port": self.port, "database": self.database}


@dataclass(frozen=True)
class KafkaConfig:
    """Kafka: addresses, security and layout of the topics."""

    addresses: tuple[str, ...]
    """`host:port` each."""
    app_id: str
    """Group of the workers; prefix of the other groups and of the changelogs."""
    partitions: int
    """Partitions of every topic."""
    replication_factor: int
    """Replicas of every topic."""
    security: Security = PLAINTEXT
    rehearsal: str = ""
    """Name of the rehearsal that a log which begins now is marked as; empty for a real vote."""

    @property
    def servers(self) -> list[str]:
        """The addresses with their security, for aiokafka's clients."""
        return [Broker(address, self.security) for address in self.addresses]


@dataclass(frozen=True)
class RabbitConfig:
    """RabbitMQ: address and credentials."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    vhost: str
    tls: TlsConfig | None = None
    """None: not encrypted."""
    management_url: str = ""
    """Of the management API; empty: port 15671 of the host with TLS, 15672 without."""
    management_tls: TlsConfig = TlsConfig()
    """For a management API over HTTPS."""
    queue_arguments: QueueArguments = field(default_factory=dict, hash=False)
    """With which missing queues are declared."""

    def where(self) -> dict[str, object]:
        """Where the broker is, for messages."""
        return {"host": self.host, "port": self.port, "vhost": self.vhost}


@dataclass(frozen=True)
class RedisConfig:
    """Redis: address and credentials."""

    host: str
    port: int
    db: int
    password: str = field(default="", repr=False)
    """Empty: none is sent."""
    tls: TlsConfig | None = None
    """None: not encrypted."""


@dataclass(frozen=True)
class RetryPolicy:
    """Retries against a service."""

    max_attempts: int
    """Failed attempts in a row after which the process reports not ready."""
    delay_s: float
    """First delay between retries; it doubles."""


@dataclass(frozen=True)
class DeploymentConfig:
    """A deployment, for code that uses several of its services."""

    name: str
    """Of this process, in logs and rows."""
    kafka: KafkaConfig
    postgres: PostgresConfig
    rabbit: RabbitConfig
    queues: QueuesConfig
    redis: RedisConfig
    retry: RetryPolicy
    sinks: bool
    """Whether counted votes go to PostgreSQL."""
    window_ms: int
    """Width of the tumbling window."""
    roll: str
    """Who may vote in laws and elections: `redis`, `table` or `open`."""
    default_election: str
    """Election of candidate votes that name none; may be empty."""
    citizen_id: str
    """What is kept of a voter's: `plain`, `digest` or `none`."""
    secret: str = field(default="", repr=False)
    """`SCRUTIN_SECRET`; empty: there are no polls."""
    proof_secret: str = field(default="", repr=False)
    """Of the proof's salts; may be empty."""
