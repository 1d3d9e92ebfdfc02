"""From the settings to what each process is configured with."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import TypeVar

from streams.settings.configs import DeploymentConfig
from streams.settings.model import Settings
from streams.settings.processes import (
    BridgeConfig,
    ConsoleConfig,
    DoctorConfig,
    GatewayConfig,
    HostConfig,
    HttpConfig,
    IntakeConfig,
    OpenIdConfig,
    ProofConfig,
    TallyConfig,
    TallyWorkerConfig,
    ThrottleConfig,
    WorkerConfig,
)

C = TypeVar("C")


def _filled(kind: type[C], settings: Settings, **own: object) -> C:
    """A config with the settings of its fields' names, except for those given here."""
    rest = {name: getattr(settings, name) for name in _names(kind) if name not in own}
    return kind(**own, **rest)


def _names(kind: type) -> Iterable[str]:
    return inspect.signature(kind).parameters


def host_config(settings: Settings) -> HostConfig:
    """What is around the stages of any worker."""
    return _filled(HostConfig, settings, name=settings.worker_id)


def worker_config(settings: Settings) -> WorkerConfig:
    """A worker that counts votes."""
    return _filled(
        WorkerConfig,
        settings,
        host=host_config(settings),
        secret=settings.secret.get_secret_value(),
        proof_secret=settings.proof_secret.get_secret_value(),
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
        min_ballots=settings.tally_min_ballots,
    )


def tally_config(settings: Settings) -> TallyConfig:
    """What asks for tallies."""
    return _filled(TallyConfig, settings)


def deployment_config(settings: Settings) -> DeploymentConfig:
    """The services of a deployment, its log and its queues."""
    return _filled(
        DeploymentConfig,
        settings,
        name=settings.worker_id,
        secret=settings.secret.get_secret_value(),
        proof_secret=settings.proof_secret.get_secret_value(),
    )


def intake_config(settings: Settings) -> IntakeConfig:
    """What writes votes into the input log."""
    return _filled(
        IntakeConfig,
        settings,
        deployment=deployment_config(settings),
        secret=settings.secret.get_secret_value(),
    )


def bridge_config(settings: Settings) -> BridgeConfig:
    """A bridge between RabbitMQ, Kafka and Redis."""
    return _filled(
        BridgeConfig,
        settings,
        intake=intake_config(settings),
        prefetch=settings.prefetch_count,
        metrics_port=settings.bridge_metrics_port,
        failpoints=settings.test_failpoints,
    )


def http_config(settings: Settings) -> HttpConfig:
    """Where the gateway listens."""
    return _filled(HttpConfig, settings, host=settings.gateway_host, port=settings.gateway_port)


def gateway_config(settings: Settings) -> GatewayConfig:
    """A gateway for HTTP and WebSockets."""
    limits = {name: getattr(settings, f"throttle_{name}") for name in _names(ThrottleConfig)}
    return _filled(
        GatewayConfig,
        settings,
        intake=intake_config(settings),
        http=http_config(settings),
        throttle=ThrottleConfig(**limits),
        tally=tally_config(settings),
        proof=ProofConfig(settings.proof_secret.get_secret_value(), settings.openings),
    )


def console_config(settings: Settings) -> ConsoleConfig:
    """The operators' console."""
    ports = (settings.metrics_port, settings.bridge_metrics_port, settings.gateway_port)
    open_id = OpenIdConfig(
        settings.console_oidc_issuer,
        settings.console_oidc_client_id,
        settings.console_oidc_client_secret.get_secret_value(),
        settings.console_oidc_operators,
    )
    return ConsoleConfig(
        deployment=deployment_config(settings),
        http=_filled(
            HttpConfig,
            settings,
            host=settings.console_host,
            port=settings.console_port,
            cors_origins=(),
            embed_origins=(),
        ),
        operators=settings.console_operators,
        open_id=open_id if settings.console_oidc_issuer else None,
        url=settings.console_url or f"http://localhost:{settings.console_port}",
        four_eyes=settings.console_four_eyes,
        processes=settings.console_processes or tuple(f"127.0.0.1:{p}" for p in ports if p),
        enforced=settings.enforce_contests != "false",
        drain_timeout_s=settings.drain_timeout_s,
    )


def doctor_config(settings: Settings) -> DoctorConfig:
    """What `scrutin doctor` looks at."""
    return _filled(
        DoctorConfig,
        settings,
        deployment=deployment_config(settings),
        folders=(settings.data_dir, settings.stack_dir),
        failpoints=settings.test_failpoints,
    )
