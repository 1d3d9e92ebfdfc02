"""From the settings to what each process is configured with."""

from __future__ import annotations

from streams.settings.configs import DeploymentConfig
from streams.settings.model import Settings
from streams.settings.processes import (
    BridgeConfig,
    DoctorConfig,
    GatewayConfig,
    HostConfig,
    HttpConfig,
    IntakeConfig,
    TallyConfig,
    TallyWorkerConfig,
    ThrottleConfig,
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
        enforce_contests=settings.enforce_contests != "false",
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


def deployment_config(settings: Settings) -> DeploymentConfig:
    """The services of a deployment, its log and its queues."""
    return DeploymentConfig(
        name=settings.worker_id,
        kafka=settings.kafka,
        postgres=settings.postgres,
        rabbit=settings.rabbit,
        queues=settings.queues,
        redis=settings.redis,
        retry=settings.retry,
        sinks=settings.sink == "postgres",
        window_ms=settings.window_ms,
        roll=settings.roll,
        default_election=settings.default_election,
    )


def intake_config(settings: Settings) -> IntakeConfig:
    """What writes votes into the input log."""
    return IntakeConfig(
        deployment=deployment_config(settings),
        secret=settings.secret.get_secret_value(),
        roll_min_share=settings.roll_min_share,
        enforce_contests=settings.enforce_contests,
        max_body_bytes=settings.max_body_bytes,
        flush_ms=settings.flush_ms,
        max_lag_records=settings.max_lag_records,
    )


def bridge_config(settings: Settings) -> BridgeConfig:
    """A bridge between RabbitMQ, Kafka and Redis."""
    return BridgeConfig(
        intake=intake_config(settings),
        tally_queues=settings.tally_queues,
        prefetch=settings.prefetch_count,
        reviews_per_minute=settings.reviews_per_minute,
        metrics_host=settings.metrics_host,
        metrics_port=settings.bridge_metrics_port,
        drain_timeout_s=settings.drain_timeout_s,
        failpoints=settings.test_failpoints,
    )


def http_config(settings: Settings) -> HttpConfig:
    """Where the gateway listens."""
    return HttpConfig(
        host=settings.gateway_host,
        port=settings.gateway_port,
        max_body_bytes=settings.max_body_bytes,
        cors_origins=settings.cors_origins,
        trusted_proxies=settings.trusted_proxies,
    )


def gateway_config(settings: Settings) -> GatewayConfig:
    """A gateway for HTTP and WebSockets."""
    return GatewayConfig(
        intake=intake_config(settings),
        http=http_config(settings),
        throttle=ThrottleConfig(
            address=settings.throttle_address,
            voter=settings.throttle_voter,
            poll=settings.throttle_poll,
            law_address=settings.throttle_law_address,
            refused_address=settings.throttle_refused_address,
            refused_person=settings.throttle_refused_person,
        ),
        tally=tally_config(settings),
        api_keys=settings.api_keys,
        tally_api_keys=settings.tally_api_keys,
        confirm=settings.confirm,
        confirm_timeout_s=settings.confirm_timeout_s,
        drain_timeout_s=settings.drain_timeout_s,
        time_zone=settings.time_zone,
    )


def doctor_config(settings: Settings) -> DoctorConfig:
    """What `scrutin doctor` looks at."""
    return DoctorConfig(
        deployment=deployment_config(settings),
        folders=(settings.data_dir, settings.stack_dir),
        test_deployment=settings.test_deployment,
        failpoints=settings.test_failpoints,
    )
