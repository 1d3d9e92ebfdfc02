"""The one settings object: environment (and a `.env` file) in, checked values out.

Read at entry points only (`topology.py`, `streams.bridge.__main__`, the CLI); everything below
takes values. Names, aliases and defaults come from the services that Scrutin replaces.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from dotenv import dotenv_values
from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from streams import failpoints
from streams.errors import SettingsError

VALIDATION = "votes.validation"
AGGREGATION = "votes.aggregation"
REVIEW = "votes.review"
POLL_UPDATES = "poll_vote_updates"
"""Votes in polls by name, as the services before told each other of them."""
TALLY_QUEUES = (
    "tally.creation.queue",
    "partial.decryption.queue",
    "compensated.decryption.queue",
    "combine.decryption.queue",
    "tally.queue",
    "decryption.queue",
    "combine.queue",
)
"""The documented queues of tally commands, and older names of three of them."""

Names = Annotated[tuple[str, ...], NoDecode, Field(min_length=1)]
Port = Annotated[int, Field(ge=0, le=65535)]
Positive = Annotated[int, Field(gt=0)]
Rate = Annotated[str, Field(pattern=r"^(off|[1-9]\d*/(second|minute|hour|day))$")]
PositiveSeconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _env(*names: str, default: object, about: str) -> Any:
    return Field(
        default=default,
        validation_alias=AliasChoices(*names),
        description=about,
        validate_default=True,
    )


class Settings(BaseSettings):
    """All settings of all processes. Use :func:`load_settings`, which names what is wrong."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    # RabbitMQ
    rabbitmq_host: str = _env("RABBITMQ_HOST", default="localhost", about="RabbitMQ host")
    rabbitmq_port: Port = _env("RABBITMQ_PORT", default=5672, about="RabbitMQ port")
    rabbitmq_user: str = _env("RABBITMQ_USER", default="guest", about="RabbitMQ user")
    rabbitmq_password: SecretStr = _env(
        "RABBITMQ_PASSWORD", "RABBITMQ_PASS", default="guest", about="RabbitMQ password"
    )
    rabbitmq_vhost: str = _env("RABBITMQ_VHOST", default="/", about="RabbitMQ virtual host")
    prefetch_count: Annotated[int, Field(ge=1, le=65535)] = _env(
        "RABBITMQ_PREFETCH_COUNT",
        "PREFETCH_COUNT",
        default=4000,
        about="Deliveries in flight per ingress queue",
    )
    validation_queue: str = _env("VALIDATION_QUEUE", default=VALIDATION, about="Votes to validate")
    aggregation_queue: str = _env(
        "AGGREGATION_QUEUE",
        "RABBITMQ_QUEUE",
        default=AGGREGATION,
        about="Votes already validated",
    )
    review_queue: str = _env("REVIEW_QUEUE", default=REVIEW, about="Everything not counted")
    poll_updates_queue: str = _env(
        "POLL_UPDATES_QUEUE", default=POLL_UPDATES, about="Votes in polls, on `poll_updates`"
    )

    rabbitmq_management_url: str = _env(
        "SCRUTIN_RABBITMQ_MANAGEMENT_URL",
        default="",
        about="RabbitMQ's management API, for `doctor`; empty = port 15672 of the host",
    )

    # PostgreSQL
    postgres_host: str = _env("POSTGRES_HOST", default="localhost", about="PostgreSQL host")
    postgres_port: Port = _env("POSTGRES_PORT", default=5432, about="PostgreSQL port")
    postgres_db: str = _env("POSTGRES_DB", default="election_votes", about="Database")
    postgres_user: str = _env("POSTGRES_USER", default="postgres", about="PostgreSQL user")
    postgres_password: SecretStr = _env(
        "POSTGRES_PASSWORD", default="", about="PostgreSQL password"
    )
    postgres_min_connections: Positive = _env(
        "POSTGRES_MIN_CONNECTIONS",
        "POSTGRES_MIN_POOL_SIZE",
        "MIN_CONNECTIONS",
        "MIN_POOL_SIZE",
        default=2,
        about="Connections a worker keeps open",
    )
    postgres_max_connections: Positive = _env(
        "POSTGRES_MAX_CONNECTIONS",
        "POSTGRES_MAX_POOL_SIZE",
        "MAX_CONNECTIONS",
        "MAX_POOL_SIZE",
        default=10,
        about="Connections a worker opens at most",
    )

    # Redis
    redis_host: str = _env("REDIS_HOST", default="localhost", about="Redis host")
    redis_port: Port = _env("REDIS_PORT", default=6379, about="Redis port")
    redis_db: Annotated[int, Field(ge=0)] = _env("REDIS_DB", default=0, about="Redis database")
    redis_password: SecretStr = _env("REDIS_PASSWORD", default="", about="Redis password")

    # Kafka
    kafka_bootstrap_servers: Names = _env(
        "KAFKA_BOOTSTRAP_SERVERS", default="localhost:9092", about="Kafka brokers, comma list"
    )

    # Aggregation
    batch_size: Positive = _env(
        "BATCH_SIZE", default=100, about="A flush to PostgreSQL starts once this many votes wait"
    )
    batch_timeout_s: PositiveSeconds = _env(
        "BATCH_TIMEOUT_SECONDS",
        default=1.0,
        about="Width of the tumbling window, and the longest wait for a flush",
    )
    max_retry_attempts: Positive = _env(
        "MAX_RETRY_ATTEMPTS",
        default=3,
        about="Failed tries against a service before the process reports itself not ready",
    )
    retry_delay_s: PositiveSeconds = _env(
        "RETRY_DELAY_SECONDS", default=1.0, about="First pause between tries; doubles up to 10 s"
    )

    # Processes
    metrics_port: Port = _env(
        "PROMETHEUS_PORT", "METRICS_PORT", default=8001, about="Worker's metrics port; 0 = any free"
    )
    bridge_metrics_port: Port = _env(
        "SCRUTIN_BRIDGE_METRICS_PORT", default=8002, about="Bridge's metrics port; 0 = any free"
    )
    metrics_host: str = _env(
        "SCRUTIN_METRICS_HOST",
        default="0.0.0.0",  # noqa: S104 - a container is scraped from outside
        about="Address the metrics ports listen on",
    )
    gateway_port: Port = _env("SCRUTIN_GATEWAY_PORT", default=8000, about="Gateway's HTTP port")
    gateway_host: str = _env(
        "SCRUTIN_GATEWAY_HOST",
        default="0.0.0.0",  # noqa: S104 - it serves the public
        about="Address the gateway listens on",
    )
    worker_id: str = _env(
        "WORKER_ID", default=f"{socket.gethostname()}-{os.getpid()}", about="Name in logs and rows"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = _env(
        "LOG_LEVEL", default="INFO", about="Least severe level that is logged"
    )

    # Scrutin's own
    app_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")] = _env(
        "SCRUTIN_APP_ID", default="scrutin", about="Kafka group of the workers, prefix of others"
    )
    ingress: Names = _env(
        "SCRUTIN_INGRESS", default=VALIDATION, about="Queues to read, by documented name"
    )
    egress: Names = _env(
        "SCRUTIN_EGRESS", default=REVIEW, about="Queues to write, by documented name"
    )
    bindings: bool = _env(
        "SCRUTIN_BINDINGS",
        default=True,
        about="Bind the validation queue to an existing `votes.exchange`",
    )
    sink: Literal["postgres", "off"] = _env(
        "SCRUTIN_SINK", default="postgres", about="Where counted votes go"
    )
    live: bool = _env(
        "SCRUTIN_LIVE", default=True, about="Workers publish committed totals on Redis pub/sub"
    )
    global_votes: bool = _env(
        "SCRUTIN_GLOBAL_VOTES",
        default=True,
        about="With them, votes in polls by name on the channel `global:votes`",
    )
    roll: Literal["redis", "table", "open"] = _env(
        "SCRUTIN_ROLL",
        default="redis",
        about="Who may vote: set `valid_hashes`, the roll in the log, or everybody",
    )
    enforce_contests: bool = _env(
        "SCRUTIN_ENFORCE_CONTESTS",
        default=False,
        about="Only votes in open contests count; off: in any, known or not",
    )
    rehearsal: str = _env(
        "SCRUTIN_REHEARSAL",
        default="",
        about="Name of this deployment if it is a rehearsal, which `scrutin reset` may empty",
    )
    roll_min_share: Annotated[float, Field(ge=0, le=1)] = _env(
        "SCRUTIN_ROLL_MIN_SHARE",
        default=0.5,
        about="`valid_hashes` below this share of its largest seen size is an outage",
    )
    partitions: Annotated[int, Field(ge=1, le=1000)] = _env(
        "SCRUTIN_PARTITIONS", default=4, about="Partitions of every topic; fixed at creation"
    )
    replication_factor: Annotated[int, Field(ge=1, le=7)] = _env(
        "SCRUTIN_REPLICATION_FACTOR", default=1, about="Replicas of every topic; 3 in production"
    )
    max_body_bytes: Annotated[int, Field(ge=256, le=524288)] = _env(
        "SCRUTIN_MAX_BODY_BYTES", default=65536, about="Longer message bodies are `too_large`"
    )
    reviews_per_minute: Annotated[int, Field(ge=0)] = _env(
        "SCRUTIN_REVIEWS_PER_MINUTE",
        default=0,
        about="Most review messages a minute of one status and reason, a tenth of them of one hash"
        " prefix; 0 = all",
    )
    flush_ms: Annotated[int, Field(ge=1, le=1000)] = _env(
        "SCRUTIN_FLUSH_MS", default=40, about="Longest wait of a vote in the bridge's buffer"
    )
    max_lag_records: Positive = _env(
        "SCRUTIN_MAX_LAG_RECORDS",
        default=2000,
        about="Bridge stops reading while a partition has more uncounted records than this",
    )
    max_flush_votes: Positive = _env(
        "SCRUTIN_MAX_FLUSH_VOTES", default=20000, about="Most votes in one database transaction"
    )
    drain_timeout_s: PositiveSeconds = _env(
        "SCRUTIN_DRAIN_TIMEOUT_S", default=8.0, about="Time to settle after SIGTERM"
    )
    watchdog_timeout_s: PositiveSeconds = _env(
        "SCRUTIN_WATCHDOG_TIMEOUT_S",
        default=60.0,
        about="Work waiting and none done for this long ends the worker",
    )
    recovery_timeout_s: PositiveSeconds = _env(
        "SCRUTIN_RECOVERY_TIMEOUT_S",
        default=300.0,
        about="No progress of the table's restore for this long ends the worker",
    )
    # Gateway
    secret: SecretStr = _env(
        "SCRUTIN_SECRET",
        default="",
        about="Shared by gateways and bridges, 32 characters or more: signs poll votes, cookies"
        " and receipts; empty = no polls, and receipts are good until the gateway ends",
    )
    api_keys: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")], ...], NoDecode
    ] = _env(
        "SCRUTIN_API_KEYS",
        default="",
        about="SHA-256 of each API key that may vote in polls for such, hexadecimal",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = _env(
        "SCRUTIN_CORS_ORIGINS", default="", about="Web origins that may call the API; `*` = all"
    )
    trusted_proxies: Annotated[int, Field(ge=0, le=10)] = _env(
        "SCRUTIN_TRUSTED_PROXIES",
        default=0,
        about="Proxies before the gateway whose X-Forwarded-For is believed",
    )
    confirm: Literal["rabbitmq", "kafka"] = _env(
        "SCRUTIN_CONFIRM",
        default="rabbitmq",
        about="Who has an HTTP vote when it is answered 202; `kafka`: votes pass RabbitMQ by",
    )
    confirm_timeout_s: PositiveSeconds = _env(
        "SCRUTIN_CONFIRM_TIMEOUT_S",
        default=5.0,
        about="Longest wait of an HTTP vote for the confirm",
    )
    throttle_address: Rate = _env(
        "SCRUTIN_THROTTLE_ADDRESS",
        default="10/minute",
        about="Poll votes, and polls created, from one address; or off",
    )
    throttle_voter: Rate = _env(
        "SCRUTIN_THROTTLE_VOTER",
        default="10/minute",
        about="Votes over HTTP with one hash or name; or off",
    )
    throttle_poll: Rate = _env(
        "SCRUTIN_THROTTLE_POLL", default="off", about="Votes in one poll; or off"
    )
    throttle_law_address: Rate = _env(
        "SCRUTIN_THROTTLE_LAW_ADDRESS",
        default="off",
        about="Votes on laws and in elections from one address; or off",
    )
    data_dir: Path = _env(
        "SCRUTIN_DATA_DIR",
        default=Path(".faust"),
        about="Folder for Faust's own files and the store; one for each worker",
    )
    store: Literal["memory", "rocksdb"] = _env(
        "SCRUTIN_STORE",
        default="memory",
        about="Where the worker keeps who voted: `rocksdb` for rolls beyond memory",
    )
    stack_dir: Path = _env(
        "SCRUTIN_STACK_DIR", default=Path(".stack"), about="State of the local stack"
    )
    log_format: Literal["auto", "console", "json"] = _env(
        "SCRUTIN_LOG_FORMAT", default="auto", about="`auto` = console on a terminal, else json"
    )

    # Encrypted tally
    stages: Literal["votes", "tally"] = _env(
        "SCRUTIN_STAGES",
        default="votes",
        about="What a worker runs: the count of votes, or encrypted tallies",
    )
    tally_queues: Annotated[tuple[str, ...], NoDecode] = _env(
        "SCRUTIN_TALLY_QUEUES",
        default="",
        about="Queues of tally commands that a bridge reads, e.g. `tally.creation.queue`",
    )
    tally_api_keys: Annotated[
        tuple[Annotated[str, Field(pattern=r"^([0-9a-fA-F]{64}|\*)$")], ...], NoDecode
    ] = _env(
        "SCRUTIN_TALLY_API_KEYS",
        default="",
        about="SHA-256 of each API key that may give the gateway commands for tallies,"
        " hexadecimal; `*` = no key is needed, empty = no commands",
    )
    tally_in_flight: Annotated[int, Field(ge=1, le=1000)] = _env(
        "SCRUTIN_TALLY_IN_FLIGHT",
        default=1,
        about="Chunks of one election, phase and guardian that are worked on at a time",
    )
    tally_helpers: Annotated[int, Field(ge=0, le=1024)] = _env(
        "SCRUTIN_TALLY_HELPERS",
        default=0,
        about="Processes a tally worker computes in; 0 = as many as there are cores",
    )
    tally_key_file: Path = _env(
        "SCRUTIN_TALLY_KEY_FILE",
        default=Path("tally.key"),
        about="The workers' private key, which guardians' secrets are sealed for",
    )

    # Tests only
    test_deployment: bool = _env(
        "SCRUTIN_TEST_DEPLOYMENT",
        default=False,
        about="No vote here is real; without it the settings below are refused",
    )
    test_failpoints: str = _env(
        "SCRUTIN_TEST_FAILPOINTS",
        default="",
        about="Where a process kills, stops or delays itself, to test that the count stays exact,"
        " e.g. `after_changelog:kill@7`",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Values come from the mapping given to :func:`load_settings` and nowhere else."""
        del env_settings, dotenv_settings, file_secret_settings, settings_cls
        return (init_settings,)

    @field_validator(
        "kafka_bootstrap_servers",
        "ingress",
        "egress",
        "tally_queues",
        "cors_origins",
        "api_keys",
        "tally_api_keys",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("secret")
    @classmethod
    def _long_enough(cls, value: SecretStr) -> SecretStr:
        if 0 < len(value.get_secret_value().encode()) < 32:
            raise ValueError("32 characters or more, e.g. from `openssl rand -hex 32`")
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @property
    def window_ms(self) -> int:
        """Width of the tumbling window in milliseconds."""
        return max(1, round(self.batch_timeout_s * 1000))

    def helpers(self) -> int:
        """How many processes compute for a tally."""
        return self.tally_helpers or os.cpu_count() or 1

    def queue_name(self, documented: str) -> str:
        """The deployed name of a queue, given its documented one."""
        return {
            VALIDATION: self.validation_queue,
            AGGREGATION: self.aggregation_queue,
            REVIEW: self.review_queue,
            POLL_UPDATES: self.poll_updates_queue,
        }[documented]


def variables() -> dict[str, tuple[str, ...]]:
    """Field name -> its environment variables, the preferred one first."""
    names: dict[str, tuple[str, ...]] = {}
    for field, info in Settings.model_fields.items():
        alias = info.validation_alias
        assert isinstance(alias, AliasChoices)
        names[field] = tuple(str(choice) for choice in alias.choices)
    return names


def load_settings(environ: Mapping[str, str] | None = None, dotenv: Path | None = None) -> Settings:
    """Read the settings from the environment, which goes before a `.env` file in the folder.

    Raises:
        SettingsError: unknown `SCRUTIN_*`, malformed value, aliases that disagree, or queues
            that would feed themselves; the message names the variables.
    """
    given: dict[str, str] = {}
    if environ is None:
        path = dotenv or Path(".env")
        if path.is_file():
            given.update({k: v for k, v in dotenv_values(path).items() if v is not None})
        given.update(os.environ)
    else:
        given.update(environ)
    _refuse_unknown(given)
    values = _one_value_each(given)
    try:
        settings = Settings(**values)  # type: ignore[arg-type]
    except ValidationError as error:
        raise _explain(error) from error
    _check_queues(settings)
    _check_test_settings(settings)
    return settings


def _refuse_unknown(given: Mapping[str, str]) -> None:
    known = {name for names in variables().values() for name in names}
    unknown = sorted(
        name
        for name in given
        if name.startswith("SCRUTIN_")
        and not name.startswith("SCRUTIN_TEST_")
        and name not in known
    )
    if unknown:
        raise SettingsError(
            "Unknown settings",
            where={"variable": ", ".join(unknown)},
            todo="Correct or unset them; `.env.example` lists all",
        )


def _one_value_each(given: Mapping[str, str]) -> dict[str, str]:
    values: dict[str, str] = {}
    for field, names in variables().items():
        found = {name: given[name] for name in names if given.get(name, "") != ""}
        if len(set(found.values())) > 1:
            raise SettingsError(
                "Two names of one setting disagree",
                where={"variable": ", ".join(found)},
                todo=f"Set only {names[0]}",
            )
        if found:
            values[field] = next(iter(found.values()))
    return values


def _explain(error: ValidationError) -> SettingsError:
    names = variables()
    faults = []
    for fault in error.errors():
        # With validation aliases pydantic reports the alias it tried, with names the field.
        place = str(fault["loc"][0])
        variable = names[place][0] if place in names else place
        faults.append(f"{variable}: {fault['msg'][0].lower()}{fault['msg'][1:]}")
    return SettingsError(
        "; ".join(faults), todo="See `.env.example` for the meaning and the default of each"
    )


def _check_test_settings(settings: Settings) -> None:
    if failpoints.parse(settings.test_failpoints) and not settings.test_deployment:
        raise SettingsError(
            "Failpoints make processes die on purpose, and this deployment is not marked as a test",
            where={"variable": failpoints.VARIABLE},
            todo="Unset it; in a test set SCRUTIN_TEST_DEPLOYMENT=true too",
        )


def _check_queues(settings: Settings) -> None:
    def refuse(what: str, variable: str, todo: str) -> None:
        raise SettingsError(what, where={"variable": variable}, todo=todo)

    for name in settings.ingress:
        if name not in {VALIDATION, AGGREGATION, POLL_UPDATES}:
            refuse(
                f"{name!r} is not a queue to read from",
                "SCRUTIN_INGRESS",
                f"Use {VALIDATION}, {AGGREGATION} or {POLL_UPDATES}; a *_QUEUE setting renames"
                " them",
            )
    for name in settings.egress:
        if name not in {REVIEW, AGGREGATION, POLL_UPDATES}:
            refuse(
                f"{name!r} is not a queue to write to",
                "SCRUTIN_EGRESS",
                f"Use {REVIEW}, {AGGREGATION} or {POLL_UPDATES}; a *_QUEUE setting renames them",
            )
    for name in settings.tally_queues:
        if name not in TALLY_QUEUES:
            refuse(
                f"{name!r} is not a queue of tally commands",
                "SCRUTIN_TALLY_QUEUES",
                f"Use {', '.join(TALLY_QUEUES)}",
            )
    read = {settings.queue_name(name) for name in settings.ingress}
    if len(read) < len(settings.ingress):
        refuse(
            f"Queue {', '.join(sorted(read))} would be read twice",
            "SCRUTIN_INGRESS, VALIDATION_QUEUE, AGGREGATION_QUEUE",
            "Name each queue once; its votes are to be validated, or are so already",
        )
    written = {settings.queue_name(name) for name in settings.egress}
    if both := sorted(read & written):
        refuse(
            f"Queue {', '.join(both)} would be read and written",
            "SCRUTIN_INGRESS, SCRUTIN_EGRESS",
            "A queue can only be one of them",
        )
    if POLL_UPDATES in settings.ingress and not settings.secret.get_secret_value():
        refuse(
            f"{POLL_UPDATES} brings votes in polls, and there are none without a secret",
            "SCRUTIN_INGRESS, SCRUTIN_SECRET",
            "Set SCRUTIN_SECRET, the same as the gateways'",
        )
    if AGGREGATION in settings.egress and settings.sink != "off":
        refuse(
            f"{AGGREGATION} as egress feeds somebody else's aggregator while ours counts too",
            "SCRUTIN_EGRESS",
            "Set SCRUTIN_SINK=off or take it out",
        )
    if settings.postgres_min_connections > settings.postgres_max_connections:
        refuse(
            "More connections to keep than to open",
            "POSTGRES_MIN_CONNECTIONS, POSTGRES_MAX_CONNECTIONS",
            "Lower the first or raise the second",
        )
