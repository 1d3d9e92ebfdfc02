"""From the settings to what each process is configured with."""

from __future__ import annotations

from streams.settings.model import Settings
from streams.settings.processes import (
    HostConfig,
    TallyConfig,
    TallyWorkerConfig,
    WorkerConfig,
)


def host_config(settings: Settings) -> HostConfig:
    """What is around the stages of any worker."""
    return HostConfig(
        kafka=settings.kafka,
        postgres=settings.postgres,
        retry=settings.retry,
        name=settings.worker_id,
        metrics_host=settings.metrics_host,
        metrics_port=settings.metrics_port,
        data_dir=settings.data_dir,
        drain_timeout_s=settings.drain_timeout_s,
        watchdog_timeout_s=settings.watchdog_timeout_s,
        recovery_timeout_s=settings.recovery_timeout_s,
        log_level=settings.log_level,
        log_format=settings.log_format,
    )


def worker_config(settings: Settings) -> WorkerConfig:
    """A worker that counts votes."""
    return WorkerConfig(
        host=host_config(settings),
        redis=settings.redis,
        sinks=settings.sink == "postgres",
        batch_size=settings.batch_size,
        batch_timeout_s=settings.batch_timeout_s,
        window_ms=settings.window_ms,
        max_flush_votes=settings.max_flush_votes,
        live=settings.live,
        global_votes=settings.global_votes,
        enforce_contests=settings.enforce_contests,
        on_disk=settings.store == "rocksdb",
        failpoints=settings.test_failpoints,
    )


def tally_worker_config(settings: Settings) -> TallyWorkerConfig:
    """A worker that computes encrypted tallies."""
    return TallyWorkerConfig(
        host=host_config(settings),
        helpers=settings.helpers(),
        in_flight=settings.tally_in_flight,
        key_file=settings.tally_key_file,
    )


def tally_config(settings: Settings) -> TallyConfig:
    """What asks for tallies."""
    return TallyConfig(kafka=settings.kafka, postgres=settings.postgres, retry=settings.retry)
