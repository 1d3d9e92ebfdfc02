"""What each long-running process is configured with: frozen values, built at its entry point."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from streams.settings.configs import KafkaConfig, PostgresConfig, RedisConfig, RetryPolicy


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
