"""Frozen configs of the long-running processes, built at their entry points."""

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
    """Config that all worker processes share."""

    kafka: KafkaConfig
    postgres: PostgresConfig
    retry: RetryPolicy
    name: str
    """Of this worker, in logs and rows."""
    metrics_host: str
    metrics_port: int
    """0: any free port."""
    data_dir: Path
    """Folder for Faust's files and the store."""
    drain_timeout_s: float
    """Time to finish pending work after SIGTERM."""
    watchdog_timeout_s: float
    """A process with pending work and no progress for this long exits."""
    recovery_timeout_s: float
    """A process whose table restore makes no progress for this long exits."""
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
    """Votes that trigger a flush."""
    batch_timeout_s: float
    """Longest wait before a flush."""
    window_ms: int
    """Width of the tumbling window."""
    max_flush_votes: int
    """Limit of votes in a transaction."""
    live: bool
    """Whether committed totals are published on Redis."""
    global_votes: bool
    """Whether votes in polls by name are published too."""
    secret: str = field(repr=False)
    """Signs live totals; empty: gateways read them from PostgreSQL."""
    proof_secret: str = field(repr=False)
    """Of the proof's salts; may be empty."""
    enforce_contests: bool
    """Whether contests that open or close by themselves are enforced."""
    on_disk: bool
    """Whether the voted table is kept in RocksDB instead of memory."""
    failpoints: str
    """Points at which a process under test kills, stops or delays itself."""


@dataclass(frozen=True)
class TallyWorkerConfig:
    """A worker that computes encrypted tallies."""

    host: HostConfig
    helpers: int
    """Number of helper processes."""
    in_flight: int
    """Chunks processed at the same time per election, phase and guardian."""
    key_file: Path
    """Tally workers' private key; guardians' secrets are sealed to it."""
    min_ballots: int
    """Fewest ballots whose count is decrypted."""


@dataclass(frozen=True)
class TallyConfig:
    """Config for sending tally commands, from the CLI or the gateway."""

    kafka: KafkaConfig
    postgres: PostgresConfig
    retry: RetryPolicy
    tally_min_ballots: int
    """Fewest ballots whose count is decrypted."""


@dataclass(frozen=True)
class IntakeConfig:
    """Config for writing votes to the input log."""

    deployment: DeploymentConfig
    secret: str = field(repr=False)
    """Signs poll votes; empty: no polls."""
    roll_min_share: float
    """`valid_hashes` below this share of its largest observed size counts as an outage."""
    enforce_contests: str
    """`true`: votes in unknown contests are rejected; `known`: they count; `false`: no contest is
    enforced."""
    max_body_bytes: int
    flush_ms: int
    """Longest time a vote waits in the buffer."""
    max_lag_records: int
    """The intake pauses while a partition has more uncounted records than this."""


@dataclass(frozen=True)
class BridgeConfig:
    """A bridge between RabbitMQ, Kafka and Redis."""

    intake: IntakeConfig
    tally_queues: tuple[str, ...]
    """Queues of tally commands to read."""
    prefetch: int
    """Unacknowledged deliveries per queue."""
    reviews_per_minute: int
    """Limit of review messages a minute for each status and reason; 0: no limit."""
    metrics_host: str
    metrics_port: int
    """0: any free port."""
    drain_timeout_s: float
    """Time to finish pending work after SIGTERM."""
    failpoints: str
    """Points at which a process under test kills, stops or delays itself."""


@dataclass(frozen=True)
class HttpConfig:
    """Address and limits of the gateway's HTTP server."""

    host: str
    port: int
    max_body_bytes: int
    cors_origins: tuple[str, ...]
    """Web origins that may call the API; `*`: all."""
    embed_origins: tuple[str, ...]
    """Web origins whose pages may show a contest in a frame; `*`: all."""
    photo_origins: tuple[str, ...]
    """Web origins of photos of candidates that the pages show, beside the gateway's own."""
    languages_dir: str
    """Folder with further languages of the pages; empty: none."""
    trusted_proxies: int
    """Number of proxies in front of the gateway whose X-Forwarded-For is trusted."""


@dataclass(frozen=True)
class ThrottleConfig:
    """Limits of requests, e.g. `10/minute`, or `off`."""

    address: str
    """Poll votes and new polls from one address."""
    voter: str
    """Votes of one person."""
    poll: str
    """Votes in one poll."""
    law_address: str
    """Votes on laws and in elections from one address."""
    refused_address: str
    """Refused credentials from one address."""
    refused_person: str
    """Refused credentials for one person."""


@dataclass(frozen=True)
class ProofConfig:
    """How the gateway answers for the proof."""

    secret: str = field(repr=False)
    """Of the proof's salts; may be empty."""
    openings: Literal["withheld", "voter", "public"]
    """Which receipts say how a voter voted."""


@dataclass(frozen=True)
class GatewayConfig:
    """A gateway for HTTP and WebSockets."""

    intake: IntakeConfig
    http: HttpConfig
    throttle: ThrottleConfig
    tally: TallyConfig
    proof: ProofConfig
    api_keys: tuple[str, ...] = field(repr=False)
    """Hex SHA-256 digests of API keys accepted in polls restricted to key holders."""
    tally_api_keys: tuple[str, ...] = field(repr=False)
    """Hex SHA-256 digests of API keys accepted for tally commands; `*`: no key is needed."""
    confirm: Literal["rabbitmq", "kafka"]
    """Broker that must confirm a vote before the gateway answers."""
    confirm_timeout_s: float
    drain_timeout_s: float
    """Time to finish pending work after SIGTERM."""
    time_zone: str
    """Zone of times of polls without an offset."""


@dataclass(frozen=True)
class OpenIdConfig:
    """A provider that says who an operator is."""

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    operators: tuple[str, ...]
    """Subjects or verified addresses that may log in."""


@dataclass(frozen=True)
class ConsoleConfig:
    """The operators' console."""

    deployment: DeploymentConfig
    http: HttpConfig
    operators: tuple[str, ...] = field(repr=False)
    """Names with the digests of their keys."""
    open_id: OpenIdConfig | None
    url: str
    """Its address in a browser."""
    four_eyes: bool
    """Whether a second operator must confirm each change of a contest."""
    processes: tuple[str, ...]
    """HOST:PORT of processes whose metrics it shows."""
    enforced: bool
    """Whether contests are enforced."""
    drain_timeout_s: float


@dataclass(frozen=True)
class DoctorConfig:
    """Config of `scrutin doctor`."""

    deployment: DeploymentConfig
    folders: tuple[Path, ...]
    """Folders whose disks need free space."""
    test_deployment: bool
    """Whether the deployment has no real votes."""
    failpoints: str
    """Points at which processes under test kill, stop or delay themselves."""
