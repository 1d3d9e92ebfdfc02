"""What each long-running process is configured with: frozen values, built at its entry point."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from streams.settings.configs import (
    DeploymentConfig,
    KafkaConfig,
    PostgresConfig,
    RedisConfig,
    RetryPolicy,
)


@dataclass(frozen=True)
class HostConfig:
    """What every worker process needs around its stages."""

    kafka: KafkaConfig
    postgres: PostgresConfig
    retry: RetryPolicy
    name: str
    """Of this worker, in logs and rows."""
    metrics_host: str
    metrics_port: int
    """0: any free one."""
    data_dir: Path
    """Folder for Faust's own files and the store."""
    drain_timeout_s: float
    """Time to settle after SIGTERM."""
    watchdog_timeout_s: float
    """Work waiting and none done for this long ends the process."""
    recovery_timeout_s: float
    """No progress of the table's restore for this long ends the process."""
    log_level: str
    log_format: str


@dataclass(frozen=True)
class WorkerConfig:
    """A worker that counts votes."""

    host: HostConfig
    redis: RedisConfig
    sinks: bool
    """Whether counted votes go to PostgreSQL."""
    batch_size: int
    """Votes that start a flush."""
    batch_timeout_s: float
    """Longest wait for a flush."""
    window_ms: int
    """Width of the tumbling window."""
    max_flush_votes: int
    """Most votes in one transaction."""
    live: bool
    """Whether committed totals are published on Redis."""
    global_votes: bool
    """Whether votes in polls are published by name too."""
    enforce_contests: bool
    """Only votes in open contests count."""
    on_disk: bool
    """Whether the voted table is kept in RocksDB instead of memory."""
    failpoints: str
    """Where a process under test ends itself."""


@dataclass(frozen=True)
class TallyWorkerConfig:
    """A worker that computes encrypted tallies."""

    host: HostConfig
    helpers: int
    """Processes that compute."""
    in_flight: int
    """Chunks of one election, phase and guardian that are worked on at a time."""
    key_file: Path
    """The workers' private key, which guardians' secrets are sealed for."""


@dataclass(frozen=True)
class TallyConfig:
    """What asks for tallies: commands, gateway."""

    kafka: KafkaConfig
    postgres: PostgresConfig
    retry: RetryPolicy


@dataclass(frozen=True)
class IntakeConfig:
    """What writes votes into the input log."""

    deployment: DeploymentConfig
    secret: str = field(repr=False)
    """Signs votes in polls; empty: no polls."""
    roll_min_share: float
    """`valid_hashes` below this share of its largest seen size is an outage."""
    enforce_contests: bool
    """Only votes in open contests count."""
    max_body_bytes: int
    flush_ms: int
    """Longest wait of a vote in the buffer."""
    max_lag_records: int
    """Intake stops while a partition has more uncounted records than this."""


@dataclass(frozen=True)
class BridgeConfig:
    """A bridge between RabbitMQ, Kafka and Redis."""

    intake: IntakeConfig
    tally_queues: tuple[str, ...]
    """Queues of tally commands to read."""
    prefetch: int
    """Deliveries in flight per queue."""
    reviews_per_minute: int
    """Most review messages a minute of one kind; 0: all."""
    metrics_host: str
    metrics_port: int
    """0: any free one."""
    drain_timeout_s: float
    """Time to settle after SIGTERM."""
    failpoints: str
    """Where a process under test ends itself."""


@dataclass(frozen=True)
class HttpConfig:
    """Where the gateway listens."""

    host: str
    port: int
    max_body_bytes: int
    cors_origins: tuple[str, ...]
    """Web origins that may call the API; `*`: all."""
    trusted_proxies: int
    """Proxies before the gateway whose X-Forwarded-For is believed."""


@dataclass(frozen=True)
class ThrottleConfig:
    """Most requests of each kind, like `10/minute`, or `off`."""

    address: str
    """Votes in polls, and polls created, from one address."""
    voter: str
    """Votes with one hash or name."""
    poll: str
    """Votes in one poll."""
    law_address: str
    """Votes on laws and in elections from one address."""


@dataclass(frozen=True)
class GatewayConfig:
    """A gateway for HTTP and WebSockets."""

    intake: IntakeConfig
    http: HttpConfig
    throttle: ThrottleConfig
    tally: TallyConfig
    api_keys: tuple[str, ...] = field(repr=False)
    """SHA-256 of each API key accepted in polls for key holders, hexadecimal."""
    tally_api_keys: tuple[str, ...] = field(repr=False)
    """SHA-256 of each API key that may command tallies, hexadecimal; `*`: no key is needed."""
    confirm: Literal["rabbitmq", "kafka"]
    """Which broker confirms a vote before it is answered."""
    confirm_timeout_s: float
    drain_timeout_s: float
    """Time to settle after SIGTERM."""


@dataclass(frozen=True)
class DoctorConfig:
    """What `scrutin doctor` looks at."""

    deployment: DeploymentConfig
    folders: tuple[Path, ...]
    """Folders whose disks need room."""
    test_deployment: bool
    """Whether no vote here is real."""
    failpoints: str
    """Where processes under test end themselves."""
