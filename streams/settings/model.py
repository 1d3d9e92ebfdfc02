"""The single settings model: values from the environment and a `.env` file, validated.

It is read at entry points only (`topology.py`, `streams.bridge.__main__`, the CLI); everything
below takes values. Names, aliases and defaults come from the services that Scrutin replaces.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
)

from streams.runtime.zones import zone_of
from streams.settings.configs import KafkaConfig, PostgresConfig, RetryPolicy
from streams.settings.queues import (
    AGGREGATION,
    POLL_UPDATES,
    RECEIPTS,
    REVIEW,
    VALIDATION,
    QueuesConfig,
    parse_arguments,
)
from streams.settings.services import Names, Port, Positive, ServiceSettings, variable

Rate = Annotated[str, Field(pattern=r"^(off|[1-9]\d*/(second|minute|hour|day))$")]
PositiveSeconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Settings(ServiceSettings):
    """All settings of all processes. Use :func:`load_settings`, which names faulty variables."""

    # Aggregation
    batch_size: Positive = variable("BATCH_SIZE", default=100)
    """Votes that trigger a flush to PostgreSQL."""
    batch_timeout_s: PositiveSeconds = variable("BATCH_TIMEOUT_SECONDS", default=1.0)
    """Width of the tumbling window and longest wait before a flush."""
    max_retry_attempts: Positive = variable("MAX_RETRY_ATTEMPTS", default=3)
    """Failed attempts to reach a service before the process reports not ready."""
    retry_delay_s: PositiveSeconds = variable("RETRY_DELAY_SECONDS", default=1.0)
    """First delay between retries; doubles up to 10 s."""

    # Processes
    metrics_port: Port = variable("PROMETHEUS_PORT", "METRICS_PORT", default=8001)
    """Worker's metrics port; 0 = any free port."""
    bridge_metrics_port: Port = variable("SCRUTIN_BRIDGE_METRICS_PORT", default=8002)
    """Bridge's metrics port; 0 = any free port."""
    webhooks_port: Port = variable("SCRUTIN_WEBHOOKS_PORT", default=8004)
    """Metrics port of the sender of webhooks; 0 = any free port."""
    metrics_host: str = variable(
        "SCRUTIN_METRICS_HOST",
        default="0.0.0.0",  # noqa: S104 - a container is scraped from outside
    )
    """Address the metrics ports listen on."""
    gateway_port: Port = variable("SCRUTIN_GATEWAY_PORT", default=8000)
    """Gateway's HTTP port."""
    gateway_host: str = variable(
        "SCRUTIN_GATEWAY_HOST",
        default="0.0.0.0",  # noqa: S104 - it serves the public
    )
    """Address the gateway listens on."""
    worker_id: str = variable("WORKER_ID", default=f"{socket.gethostname()}-{os.getpid()}")
    """Worker's name in logs and rows."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = variable(
        "LOG_LEVEL", default="INFO"
    )
    """Lowest level that is logged."""

    # Scrutin
    app_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")] = variable(
        "SCRUTIN_APP_ID", default="scrutin"
    )
    """Kafka group of the workers and prefix of the other groups."""
    ingress: Names = variable("SCRUTIN_INGRESS", default=VALIDATION)
    """Queues to read, by documented name."""
    egress: Names = variable("SCRUTIN_EGRESS", default=REVIEW)
    """Queues to write, by documented name."""
    bindings: bool = variable("SCRUTIN_BINDINGS", default=True)
    """Bind the validation queue to `votes.exchange` if that exists."""
    accept_queue_loss: Annotated[tuple[str, ...], NoDecode] = variable(
        "SCRUTIN_ACCEPT_QUEUE_LOSS", default=""
    )
    """Queues, by deployed name, to read although their delivery limit loses votes."""
    sink: Literal["postgres", "off"] = variable("SCRUTIN_SINK", default="postgres")
    """Where workers write counted votes."""
    live: bool = variable("SCRUTIN_LIVE", default=True)
    """Workers publish committed totals on Redis pub/sub."""
    global_votes: bool = variable("SCRUTIN_GLOBAL_VOTES", default=True)
    """Also publish votes in polls by name on the channel `global:votes`."""
    roll: Literal["redis", "table", "open"] = variable("SCRUTIN_ROLL", default="redis")
    """Who may vote: `redis` = the set `valid_hashes`, `table` = the roll in the log, `open` =
    everybody."""
    enforce_contests: Literal["known", "true", "false"] = variable(
        "SCRUTIN_ENFORCE_CONTESTS", default="known"
    )
    """Contests whose state and choices apply to votes: `known` = those that were announced, votes
    in others count; `true` = all, votes in others are rejected; `false` = none."""
    time_zone: str = variable("SCRUTIN_TIME_ZONE", default="UTC")
    """Zone of dates and times without an offset, for openings and closings: a name such as
    `America/Toronto`."""
    default_election: Annotated[str, Field(max_length=64, pattern=r"^[\w.-]*$")] = variable(
        "SCRUTIN_DEFAULT_ELECTION", default=""
    )
    """Election id for candidate votes without `election_id`."""
    citizen_id: Literal["plain", "digest", "none"] = variable("SCRUTIN_CITIZEN_ID", default="plain")
    """What is kept of a message's `citizen_id`, in log, database and queues: `plain`, a keyed
    `digest`, or `none`; other than `plain`, nothing is kept of malformed bodies."""
    rehearsal: str = variable("SCRUTIN_REHEARSAL", default="")
    """Name of this deployment if it is a rehearsal. It marks a log when that begins; `scrutin
    reset` empties only a log with the mark."""
    roll_min_share: Annotated[float, Field(ge=0, le=1)] = variable(
        "SCRUTIN_ROLL_MIN_SHARE", default=0.5
    )
    """`valid_hashes` below this share of its largest observed size counts as an outage."""
    partitions: Annotated[int, Field(ge=1, le=1000)] = variable("SCRUTIN_PARTITIONS", default=4)
    """Partitions of every topic; fixed at creation."""
    replication_factor: Annotated[int, Field(ge=1, le=7)] = variable(
        "SCRUTIN_REPLICATION_FACTOR", default=1
    )
    """Replicas of every topic; 3 in production."""
    max_body_bytes: Annotated[int, Field(ge=256, le=524288)] = variable(
        "SCRUTIN_MAX_BODY_BYTES", default=65536
    )
    """Longer message bodies are rejected as `too_large`."""
    reviews_per_minute: Annotated[int, Field(ge=0)] = variable(
        "SCRUTIN_REVIEWS_PER_MINUTE", default=0
    )
    """Limit of review messages a minute for each status and reason, a tenth of it for each hash
    prefix; 0 = no limit."""
    flush_ms: Annotated[int, Field(ge=1, le=1000)] = variable("SCRUTIN_FLUSH_MS", default=40)
    """Longest time a vote waits in the bridge's buffer; up to three times as long above 6,000 votes
    a second, or while the queue holds more votes than the prefetch."""
    max_lag_records: Positive = variable("SCRUTIN_MAX_LAG_RECORDS", default=2000)
    """The bridge pauses reading while a partition has more uncounted records than this."""
    max_flush_votes: Positive = variable("SCRUTIN_MAX_FLUSH_VOTES", default=20000)
    """Limit of votes in a database transaction."""
    drain_timeout_s: PositiveSeconds = variable("SCRUTIN_DRAIN_TIMEOUT_S", default=8.0)
    """Time to finish pending work after SIGTERM."""
    watchdog_timeout_s: PositiveSeconds = variable("SCRUTIN_WATCHDOG_TIMEOUT_S", default=60.0)
    """A worker with pending work and no progress for this long exits."""
    recovery_timeout_s: PositiveSeconds = variable("SCRUTIN_RECOVERY_TIMEOUT_S", default=300.0)
    """A worker whose table restore makes no progress for this long exits."""
    proof_secret: SecretStr = variable("SCRUTIN_PROOF_SECRET", default="")
    """Secret of the proof's salts, 32 characters or more; it cannot change while a count lasts;
    empty = who knows all of a voter's message can find the choice in the published proof."""

    openings: Literal["withheld", "voter", "public"] = variable("SCRUTIN_OPENINGS", default="voter")
    """Which receipts over HTTP say how a voter voted: `withheld` = none, `voter` = those that a
    voter asks for, `public` = all, for laws whose votes are public."""

    # Gateway
    secret: SecretStr = variable("SCRUTIN_SECRET", default="")
    """Secret shared by gateways, bridges and workers, 32 characters or more: signs poll votes,
    cookies, receipts and live totals; empty = no polls, receipts are valid only until the gateway
    stops, and live totals are read from PostgreSQL."""
    api_keys: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")], ...], NoDecode
    ] = variable("SCRUTIN_API_KEYS", default="")
    """Hex SHA-256 digests of API keys accepted in polls restricted to key holders."""
    cors_origins: Annotated[tuple[str, ...], NoDecode] = variable(
        "SCRUTIN_CORS_ORIGINS", default=""
    )
    """Web origins that may call the API; `*` = all."""
    embed_origins: Annotated[
        tuple[Annotated[str, Field(pattern=r"^(\*|https?://[A-Za-z0-9.:*\[\]-]+)$")], ...], NoDecode
    ] = variable("SCRUTIN_EMBED_ORIGINS", default="")
    """Web origins whose pages may show `/embed/CONTEST` in a frame; `*` = all."""
    webhooks_inside: bool = variable("SCRUTIN_WEBHOOKS_INSIDE", default=False)
    """Webhooks may go to private addresses and by plain http, for receivers in the same network."""
    photo_origins: Annotated[
        tuple[Annotated[str, Field(pattern=r"^https://[A-Za-z0-9.:\[\]-]+$")], ...], NoDecode
    ] = variable("SCRUTIN_PHOTO_ORIGINS", default="")
    """Web origins of photos of candidates that the pages show, beside the gateway's own."""
    languages_dir: str = variable("SCRUTIN_LANGUAGES_DIR", default="")
    """Folder with further languages of the pages, a `language-CODE.js` each, and of the console, a
    `console-CODE.json` each."""
    trusted_proxies: Annotated[int, Field(ge=0, le=10)] = variable(
        "SCRUTIN_TRUSTED_PROXIES", default=0
    )
    """Number of proxies in front of the gateway whose X-Forwarded-For is trusted."""
    confirm: Literal["rabbitmq", "kafka"] = variable("SCRUTIN_CONFIRM", default="rabbitmq")
    """Broker that must confirm a vote before the gateway returns 202; `kafka` bypasses RabbitMQ."""
    confirm_timeout_s: PositiveSeconds = variable("SCRUTIN_CONFIRM_TIMEOUT_S", default=5.0)
    """Longest wait for that confirm."""
    throttle_address: Rate = variable("SCRUTIN_THROTTLE_ADDRESS", default="10/minute")
    """Limit of poll votes and new polls from one address; or off."""
    throttle_voter: Rate = variable("SCRUTIN_THROTTLE_VOTER", default="10/minute")
    """Limit of HTTP votes of one person, by the number or name that is sent; or off."""
    throttle_poll: Rate = variable("SCRUTIN_THROTTLE_POLL", default="off")
    """Limit of votes in one poll; or off."""
    throttle_law_address: Rate = variable("SCRUTIN_THROTTLE_LAW_ADDRESS", default="off")
    """Limit of votes on laws and in elections from one address; or off."""
    throttle_refused_address: Rate = variable(
        "SCRUTIN_THROTTLE_REFUSED_ADDRESS", default="200/hour"
    )
    """Limit of refused codes, keys and tokens from one address; or off."""
    throttle_refused_person: Rate = variable("SCRUTIN_THROTTLE_REFUSED_PERSON", default="20/hour")
    """Limit of refused codes for one person, from any address; or off."""
    data_dir: Path = variable("SCRUTIN_DATA_DIR", default=Path(".faust"))
    """Folder for Faust's files and the store; each worker needs its own."""
    store: Literal["memory", "rocksdb"] = variable("SCRUTIN_STORE", default="memory")
    """Where the worker keeps the voted table; `rocksdb` for rolls larger than memory."""
    stack_dir: Path = variable("SCRUTIN_STACK_DIR", default=Path(".stack"))
    """State folder of the local stack."""
    kafka_version: str = variable("SCRUTIN_KAFKA_VERSION", default="")
    """Version of Kafka that the local stack runs; empty: the one it was tested with most."""
    log_format: Literal["auto", "console", "json"] = variable("SCRUTIN_LOG_FORMAT", default="auto")
    """`auto` = `console` on a terminal, else `json`."""
    config_file: str = variable("SCRUTIN_CONFIG", default="")
    """TOML file with settings, named as here; environment and `.env` take precedence."""

    # Encrypted tally
    stages: Literal["votes", "tally"] = variable("SCRUTIN_STAGES", default="votes")
    """What a worker runs: `votes` = counting, `tally` = encrypted tallies."""
    tally_queues: Annotated[tuple[str, ...], NoDecode] = variable(
        "SCRUTIN_TALLY_QUEUES", default=""
    )
    """Queues of tally commands that a bridge reads, e.g. `tally.creation.queue`."""
    tally_api_keys: Annotated[
        tuple[Annotated[str, Field(pattern=r"^([0-9a-fA-F]{64}|\*)$")], ...], NoDecode
    ] = variable("SCRUTIN_TALLY_API_KEYS", default="")
    """Hex SHA-256 digests of API keys accepted for tally commands at the gateway; `*` = no key is
    needed, empty = no commands."""
    tally_in_flight: Annotated[int, Field(ge=1, le=1000)] = variable(
        "SCRUTIN_TALLY_IN_FLIGHT", default=1
    )
    """Chunks processed at the same time per election, phase and guardian."""
    tally_min_ballots: Annotated[int, Field(ge=1, le=1_000_000)] = variable(
        "SCRUTIN_TALLY_MIN_BALLOTS", default=5
    )
    """Fewest ballots whose count workers and `scrutin guardian decrypt` open, by contest."""
    tally_helpers: Annotated[int, Field(ge=0, le=1024)] = variable(
        "SCRUTIN_TALLY_HELPERS", default=0
    )
    """Helper processes of a tally worker; 0 = one for each core."""
    tally_key_file: Path = variable("SCRUTIN_TALLY_KEY_FILE", default=Path("tally.key"))
    """Tally workers' private key; guardians' secrets are sealed to it."""

    # Operators' console
    console_port: Port = variable("SCRUTIN_CONSOLE_PORT", default=8003)
    """Port of the operators' console."""
    console_host: str = variable("SCRUTIN_CONSOLE_HOST", default="127.0.0.1")
    """Address the console listens on; put TLS before it to reach it from elsewhere."""
    console_url: str = variable("SCRUTIN_CONSOLE_URL", default="")
    """The console's address in a browser, which a provider of logins sends operators back to;
    with https:// the cookie is sent over TLS only; empty = localhost and the port."""
    console_operators: Annotated[tuple[str, ...], NoDecode] = variable(
        "SCRUTIN_CONSOLE_OPERATORS", default=""
    )
    """Operators who log in by key, with its digest: lines of `scrutin console --new-key NAME`,
    comma-separated."""
    console_four_eyes: bool = variable("SCRUTIN_CONSOLE_FOUR_EYES", default=False)
    """A second operator must confirm each change of a contest at the console."""
    console_processes: Annotated[tuple[str, ...], NoDecode] = variable(
        "SCRUTIN_CONSOLE_PROCESSES", default=""
    )
    """HOST:PORT of the metrics that the console shows, comma-separated; empty = those of a worker,
    a bridge and a gateway on this host."""
    console_oidc_issuer: str = variable("SCRUTIN_CONSOLE_OIDC_ISSUER", default="")
    """Provider of logins by OpenID Connect; empty = by key only."""
    console_oidc_client_id: str = variable("SCRUTIN_CONSOLE_OIDC_CLIENT_ID", default="")
    """The console's name at the provider."""
    console_oidc_client_secret: SecretStr = variable(
        "SCRUTIN_CONSOLE_OIDC_CLIENT_SECRET", default=""
    )
    """The console's secret at the provider."""
    console_oidc_operators: Annotated[tuple[str, ...], NoDecode] = variable(
        "SCRUTIN_CONSOLE_OIDC_OPERATORS", default=""
    )
    """Subjects or verified e-mail addresses that may log in by the provider, comma-separated."""

    # Tests only
    test_deployment: bool = variable("SCRUTIN_TEST_DEPLOYMENT", default=False)
    """Marks a deployment without real votes; the settings below are refused otherwise."""
    test_failpoints: str = variable("SCRUTIN_TEST_FAILPOINTS", default="")
    """Points at which a process kills, stops or delays itself, to test that the count stays exact,
    e.g. `after_changelog:kill@7`."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take values from the mapping given to :func:`load_settings` only."""
        del env_settings, dotenv_settings, file_secret_settings, settings_cls
        return (init_settings,)

    @field_validator(
        "kafka_bootstrap_servers",
        "ingress",
        "egress",
        "tally_queues",
        "cors_origins",
        "embed_origins",
        "photo_origins",
        "accept_queue_loss",
        "queue_arguments",
        "api_keys",
        "tally_api_keys",
        "console_operators",
        "console_processes",
        "console_oidc_operators",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("queue_arguments")
    @classmethod
    def _parsable(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        parse_arguments(value)
        return value

    @field_validator("secret", "proof_secret")
    @classmethod
    def _long_enough(cls, value: SecretStr) -> SecretStr:
        if 0 < len(value.get_secret_value().encode()) < 32:
            raise ValueError("must have 32 characters or more, e.g. from `openssl rand -hex 32`")
        return value

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        zone_of(value)
        return value

    @field_validator("enforce_contests", mode="before")
    @classmethod
    def _as_boolean(cls, value: object) -> object:
        # It was a boolean once, and deployments have it in any of these forms.
        text = str(value).strip().lower()
        if text in {"1", "on", "t", "true", "y", "yes"}:
            return "true"
        return "false" if text in {"0", "off", "f", "false", "n", "no"} else text

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @property
    def postgres(self) -> PostgresConfig:
        """Where PostgreSQL is."""
        return PostgresConfig(
            host=self.postgres_host,
            port=self.postgres_port,
            database=self.postgres_db,
            user=self.postgres_user,
            password=self.postgres_password.get_secret_value(),
            tls=self.tls if self.postgres_tls else None,
            max_connections=self.postgres_max_connections,
            watchdog_timeout_s=self.watchdog_timeout_s,
        )

    @property
    def kafka(self) -> KafkaConfig:
        """Where Kafka is."""
        return KafkaConfig(
            addresses=self.kafka_bootstrap_servers,
            security=self.kafka_security(),
            app_id=self.app_id,
            partitions=self.partitions,
            replication_factor=self.replication_factor,
            rehearsal=self.rehearsal,
        )

    @property
    def retry(self) -> RetryPolicy:
        """How often a service is tried."""
        return RetryPolicy(max_attempts=self.max_retry_attempts, delay_s=self.retry_delay_s)

    @property
    def window_ms(self) -> int:
        """Width of the tumbling window in milliseconds."""
        return max(1, round(self.batch_timeout_s * 1000))

    @property
    def sinks(self) -> bool:
        """Whether counted votes go to PostgreSQL."""
        return self.sink == "postgres"

    def helpers(self) -> int:
        """Number of helper processes for a tally."""
        return self.tally_helpers or os.cpu_count() or 1

    @property
    def queues(self) -> QueuesConfig:
        """Which queues are read and written."""
        return QueuesConfig(
            deployed={
                VALIDATION: self.validation_queue,
                AGGREGATION: self.aggregation_queue,
                REVIEW: self.review_queue,
                POLL_UPDATES: self.poll_updates_queue,
                RECEIPTS: self.receipts_queue,
            },
            ingress=self.ingress,
            egress=self.egress,
            bindings=self.bindings,
            accept_loss=self.accept_queue_loss,
            arguments=parse_arguments(self.queue_arguments),
        )
