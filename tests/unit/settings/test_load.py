"""Settings: every alias, what is refused, and that the message names it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from streams.errors import ExitCode, SettingsError
from streams.settings.load import load_settings, sources, variables
from streams.settings.model import Settings

SAMPLES: dict[str, tuple[str, Any]] = {
    "config_file": ("/dev/null", "/dev/null"),
    "webhooks_inside": ("true", True),
    "console_port": ("9003", 9003),
    "console_host": ("0.0.0.0", "0.0.0.0"),
    "console_url": ("https://ops.example", "https://ops.example"),
    "console_operators": ("a=b, c=d", ("a=b", "c=d")),
    "console_four_eyes": ("true", True),
    "console_processes": ("a:1, b:2", ("a:1", "b:2")),
    "console_oidc_issuer": ("https://id.example", "https://id.example"),
    "console_oidc_client_id": ("ops", "ops"),
    "console_oidc_client_secret": ("s", "s"),
    "console_oidc_operators": ("a@b.example, c", ("a@b.example", "c")),
    "rabbitmq_host": ("mq", "mq"),
    "rabbitmq_port": ("5673", 5673),
    "rabbitmq_user": ("u", "u"),
    "rabbitmq_password": ("p w", "p w"),
    "rabbitmq_vhost": ("votes", "votes"),
    "prefetch_count": ("17", 17),
    "validation_queue": ("v", "v"),
    "aggregation_queue": ("a", "a"),
    "review_queue": ("r", "r"),
    "poll_updates_queue": ("p", "p"),
    "receipts_queue": ("rc", "rc"),
    "rabbitmq_management_url": ("http://mq:1", "http://mq:1"),
    "postgres_host": ("pg", "pg"),
    "postgres_port": ("5433", 5433),
    "postgres_db": ("voting", "voting"),
    "postgres_user": ("u", "u"),
    "postgres_password": ("s3cret", "s3cret"),
    "postgres_min_connections": ("3", 3),
    "postgres_max_connections": ("20", 20),
    "redis_host": ("rd", "rd"),
    "redis_port": ("6380", 6380),
    "redis_db": ("4", 4),
    "redis_password": ("x", "x"),
    "kafka_bootstrap_servers": ("a:1, b:2", ("a:1", "b:2")),
    "batch_size": ("250", 250),
    "batch_timeout_s": ("0.5", 0.5),
    "max_retry_attempts": ("9", 9),
    "retry_delay_s": ("0.25", 0.25),
    "metrics_port": ("9001", 9001),
    "bridge_metrics_port": ("9002", 9002),
    "webhooks_port": ("9004", 9004),
    "metrics_host": ("127.0.0.1", "127.0.0.1"),
    "gateway_port": ("9000", 9000),
    "gateway_host": ("127.0.0.1", "127.0.0.1"),
    "api_keys": ("ab" * 32, ("ab" * 32,)),
    "live": ("false", False),
    "global_votes": ("false", False),
    "confirm": ("kafka", "kafka"),
    "secret": ("s" * 32, "s" * 32),
    "proof_secret": ("p" * 32, "p" * 32),
    "openings": ("public", "public"),
    "citizen_id": ("none", "none"),
    "cors_origins": (
        "https://a.example, https://b.example",
        ("https://a.example", "https://b.example"),
    ),
    "photo_origins": ("https://photos.example", ("https://photos.example",)),
    "embed_origins": ("https://a.example, *", ("https://a.example", "*")),
    "languages_dir": ("words", "words"),
    "trusted_proxies": ("1", 1),
    "confirm_timeout_s": ("2", 2.0),
    "throttle_address": ("5/second", "5/second"),
    "throttle_voter": ("5/hour", "5/hour"),
    "throttle_poll": ("5/day", "5/day"),
    "throttle_law_address": ("100/minute", "100/minute"),
    "throttle_refused_address": ("50/hour", "50/hour"),
    "throttle_refused_person": ("7/hour", "7/hour"),
    "worker_id": ("w1", "w1"),
    "log_level": ("debug", "DEBUG"),
    "app_id": ("count-1", "count-1"),
    "ingress": ("votes.aggregation", ("votes.aggregation",)),
    "egress": ("votes.review", ("votes.review",)),
    "bindings": ("false", False),
    "queue_arguments": ("votes.review:x-max-length=9", ("votes.review:x-max-length=9",)),
    "accept_queue_loss": ("votes.a, votes.b", ("votes.a", "votes.b")),
    "sink": ("off", "off"),
    "roll": ("open", "open"),
    "rehearsal": ("mairie-test", "mairie-test"),
    "roll_min_share": ("0.9", 0.9),
    "enforce_contests": ("true", "true"),
    "time_zone": ("America/Toronto", "America/Toronto"),
    "default_election": ("2026-1", "2026-1"),
    "partitions": ("8", 8),
    "replication_factor": ("3", 3),
    "max_body_bytes": ("1024", 1024),
    "reviews_per_minute": ("600", 600),
    "flush_ms": ("5", 5),
    "max_lag_records": ("10", 10),
    "max_flush_votes": ("500", 500),
    "drain_timeout_s": ("3", 3.0),
    "watchdog_timeout_s": ("7", 7.0),
    "recovery_timeout_s": ("8", 8.0),
    "data_dir": ("/data", Path("/data")),
    "store": ("rocksdb", "rocksdb"),
    "stack_dir": ("/stack", Path("/stack")),
    "kafka_version": ("4.4.0", "4.4.0"),
    "stages": ("tally", "tally"),
    "tally_queues": ("tally.queue, combine.queue", ("tally.queue", "combine.queue")),
    "tally_api_keys": ("*", ("*",)),
    "tally_in_flight": ("3", 3),
    "tally_helpers": ("2", 2),
    "tally_min_ballots": ("7", 7),
    "tally_key_file": ("/etc/tally.key", Path("/etc/tally.key")),
    "log_format": ("json", "json"),
    "rabbitmq_tls": ("true", True),
    "postgres_tls": ("true", True),
    "redis_tls": ("true", True),
    "kafka_security_protocol": ("SSL", "SSL"),
    "kafka_sasl_mechanism": ("PLAIN", "PLAIN"),
    "kafka_sasl_username": ("scrutin", "scrutin"),
    "kafka_sasl_password": ("k", "k"),
    "tls_ca_file": ("/etc/ca.pem", Path("/etc/ca.pem")),
    "tls_cert_file": ("/etc/own.pem", Path("/etc/own.pem")),
    "tls_key_file": ("/etc/own.key", Path("/etc/own.key")),
    "test_deployment": ("true", True),
    "test_failpoints": ("", ""),
}

# DESIGN, outside contract: names and defaults that deployments rely on.
DOCUMENTED = {
    "RABBITMQ_HOST": "localhost",
    "RABBITMQ_PORT": 5672,
    "RABBITMQ_VHOST": "/",
    "RABBITMQ_PREFETCH_COUNT": 4000,
    "PREFETCH_COUNT": 4000,
    "RABBITMQ_QUEUE": "votes.aggregation",
    "VALIDATION_QUEUE": "votes.validation",
    "AGGREGATION_QUEUE": "votes.aggregation",
    "REVIEW_QUEUE": "votes.review",
    "POSTGRES_PORT": 5432,
    "REDIS_PORT": 6379,
    "REDIS_DB": 0,
    "BATCH_TIMEOUT_SECONDS": 1.0,
    "PROMETHEUS_PORT": 8001,
    "METRICS_PORT": 8001,
    "SCRUTIN_BRIDGE_METRICS_PORT": 8002,
    "SCRUTIN_WEBHOOKS_PORT": 8004,
    "SCRUTIN_GATEWAY_PORT": 8000,
    "SCRUTIN_INGRESS": ("votes.validation",),
    "SCRUTIN_EGRESS": ("votes.review",),
    "SCRUTIN_ROLL": "redis",
    "SCRUTIN_BINDINGS": True,
    "SCRUTIN_SINK": "postgres",
    "SCRUTIN_MAX_BODY_BYTES": 65536,
    "SCRUTIN_STACK_DIR": Path(".stack"),
    "SCRUTIN_KAFKA_VERSION": "",
    "SCRUTIN_STAGES": "votes",
    "SCRUTIN_TALLY_QUEUES": (),
    "SCRUTIN_TALLY_API_KEYS": (),
    "SCRUTIN_TALLY_IN_FLIGHT": 1,
    "SCRUTIN_TALLY_HELPERS": 0,
    "SCRUTIN_TALLY_KEY_FILE": Path("tally.key"),
}

ALIASES = [
    ("RABBITMQ_PASSWORD", "RABBITMQ_PASS"),
    ("RABBITMQ_PREFETCH_COUNT", "PREFETCH_COUNT"),
    ("POSTGRES_MIN_CONNECTIONS", "POSTGRES_MIN_POOL_SIZE"),
    ("POSTGRES_MAX_CONNECTIONS", "POSTGRES_MAX_POOL_SIZE"),
    ("PROMETHEUS_PORT", "METRICS_PORT"),
]


def field_of(variable: str) -> str:
    return next(field for field, names in variables().items() if variable in names)


def plain(value: object) -> object:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def refused(given: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(given)
    assert caught.value.exit_code == ExitCode.BAD_SETTINGS
    return str(caught.value)


ALL = [(field, name) for field, names in variables().items() for name in names]


@pytest.mark.parametrize(("field", "variable"), ALL, ids=[name for _, name in ALL])
def test_every_variable_sets_its_field(field: str, variable: str) -> None:
    text, value = SAMPLES[field]
    assert plain(getattr(load_settings({variable: text}), field)) == value


def test_every_field_has_a_sample() -> None:
    assert set(SAMPLES) == set(Settings.model_fields)


def test_no_variable_stands_for_two_fields() -> None:
    names = [name for _, name in ALL]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(("variable", "default"), DOCUMENTED.items(), ids=list(DOCUMENTED))
def test_documented_defaults(variable: str, default: object) -> None:
    assert getattr(load_settings({}), field_of(variable)) == default


@pytest.mark.parametrize(("preferred", "other"), ALIASES)
def test_documented_aliases_are_one_setting(preferred: str, other: str) -> None:
    assert field_of(preferred) == field_of(other)


@pytest.mark.parametrize(
    "names", [n for n in variables().values() if len(n) > 1], ids=lambda n: n[0]
)
def test_aliases_that_disagree_are_both_named(names: tuple[str, ...]) -> None:
    message = refused({names[0]: "5", names[1]: "6"})
    assert names[0] in message
    assert names[1] in message
    assert f"Set only {names[0]}" in message


@pytest.mark.parametrize(
    "names", [n for n in variables().values() if len(n) > 1], ids=lambda n: n[0]
)
def test_aliases_that_agree_are_fine(names: tuple[str, ...]) -> None:
    settings = load_settings({names[0]: "5", names[1]: "5"})
    assert str(plain(getattr(settings, field_of(names[0])))) == "5"


def test_an_alias_that_disagrees_does_not_show_a_password() -> None:
    message = refused({"RABBITMQ_PASSWORD": "s3cret", "RABBITMQ_PASS": "0ther"})
    assert "s3cret" not in message
    assert "0ther" not in message


def test_passwords_are_not_shown() -> None:
    settings = load_settings({"RABBITMQ_PASSWORD": "s3cret", "POSTGRES_PASSWORD": "s3cret2"})
    assert "s3cret" not in repr(settings)
    assert "s3cret" not in str(settings.model_dump())


def test_unknown_settings_of_ours_are_all_named() -> None:
    message = refused({"SCRUTIN_PARTITION": "4", "SCRUTIN_SINKS": "off", "OTHER": "x"})
    assert "SCRUTIN_PARTITION" in message
    assert "SCRUTIN_SINKS" in message
    assert "OTHER" not in message
    assert ".env.example" in message


def test_variables_of_others_are_ignored() -> None:
    assert load_settings({"PATH": "/bin", "KAFKA_HEAP_OPTS": "-Xmx1g"}) == load_settings({})


def test_an_empty_value_is_no_value() -> None:
    assert load_settings({"PROMETHEUS_PORT": "", "METRICS_PORT": "9"}).metrics_port == 9
    assert load_settings({"RABBITMQ_HOST": ""}).rabbitmq_host == "localhost"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("RABBITMQ_PORT", "http"),
        ("POSTGRES_PORT", "65536"),
        ("PROMETHEUS_PORT", "-1"),
        ("METRICS_PORT", "x"),
        ("BATCH_SIZE", "0"),
        ("BATCH_SIZE", "1.5"),
        ("BATCH_TIMEOUT_SECONDS", "0"),
        ("BATCH_TIMEOUT_SECONDS", "nan"),
        ("BATCH_TIMEOUT_SECONDS", "inf"),
        ("RETRY_DELAY_SECONDS", "-1"),
        ("RETRY_DELAY_SECONDS", "inf"),
        ("MAX_RETRY_ATTEMPTS", "0"),
        ("RABBITMQ_PREFETCH_COUNT", "0"),
        ("PREFETCH_COUNT", "65536"),
        ("REDIS_DB", "-1"),
        ("LOG_LEVEL", "chatty"),
        ("KAFKA_BOOTSTRAP_SERVERS", " , "),
        ("SCRUTIN_INGRESS", ","),
        ("SCRUTIN_PARTITIONS", "0"),
        ("SCRUTIN_PARTITIONS", "1001"),
        ("SCRUTIN_APP_ID", "a b"),
        ("SCRUTIN_APP_ID", "a/b"),
        ("SCRUTIN_SINK", "redis"),
        ("SCRUTIN_ROLL", "everybody"),
        ("SCRUTIN_ROLL_MIN_SHARE", "1.1"),
        ("SCRUTIN_MAX_BODY_BYTES", "10"),
        ("SCRUTIN_BINDINGS", "maybe"),
        ("SCRUTIN_LOG_FORMAT", "xml"),
    ],
)
def test_a_bad_value_is_named_by_its_variable(variable: str, value: str) -> None:
    message = refused({variable: value})
    assert variables()[field_of(variable)][0] in message


def test_all_bad_values_are_named_at_once() -> None:
    message = refused({"BATCH_SIZE": "0", "SCRUTIN_PARTITIONS": "x"})
    assert "BATCH_SIZE" in message
    assert "SCRUTIN_PARTITIONS" in message


def test_a_bad_password_is_not_shown() -> None:
    message = refused({"RABBITMQ_PASSWORD": "s3cret", "RABBITMQ_PORT": "s3cret"})
    assert "RABBITMQ_PORT" in message
    assert "s3cret" not in message


# Queues.


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"SCRUTIN_INGRESS": "votes.review"}, "SCRUTIN_INGRESS"),
        ({"SCRUTIN_INGRESS": "votes.validation,elsewhere"}, "elsewhere"),
        ({"SCRUTIN_EGRESS": "votes.validation"}, "SCRUTIN_EGRESS"),
        ({"REVIEW_QUEUE": "votes.validation"}, "votes.validation"),
        (
            {
                "SCRUTIN_INGRESS": "votes.aggregation",
                "SCRUTIN_EGRESS": "votes.aggregation",
                "SCRUTIN_SINK": "off",
            },
            "votes.aggregation",
        ),
        (
            {
                "SCRUTIN_INGRESS": "votes.validation,votes.aggregation",
                "AGGREGATION_QUEUE": "votes.validation",
            },
            "votes.validation",
        ),
        ({"SCRUTIN_INGRESS": "poll_vote_updates"}, "SCRUTIN_SECRET"),
        ({"SCRUTIN_QUEUE_ARGUMENTS": "elsewhere:x-message-ttl=1"}, "elsewhere"),
        ({"SCRUTIN_QUEUE_ARGUMENTS": "votes.review:x-message-ttl"}, "SCRUTIN_QUEUE_ARGUMENTS"),
        ({"SCRUTIN_QUEUE_ARGUMENTS": "x-message-ttl=1"}, "SCRUTIN_QUEUE_ARGUMENTS"),
        (
            {"SCRUTIN_QUEUE_ARGUMENTS": "votes.review:x-expires=1,votes.review:x-expires=2"},
            "given twice",
        ),
        (
            {
                "SCRUTIN_INGRESS": "poll_vote_updates",
                "SCRUTIN_EGRESS": "poll_vote_updates",
                "SCRUTIN_SECRET": "s" * 32,
            },
            "poll_vote_updates",
        ),
    ],
)
def test_queues_that_cannot_be(given: dict[str, str], named: str) -> None:
    assert named in refused(given)


def test_queue_arguments_have_types() -> None:
    given = "r:x:x-message-ttl=5, r:x:x-overflow=reject-publish, votes.validation:x-flag=true"
    settings = load_settings({"REVIEW_QUEUE": "r:x", "SCRUTIN_QUEUE_ARGUMENTS": given})
    expected = {
        "r:x": {"x-message-ttl": 5, "x-overflow": "reject-publish"},
        "votes.validation": {"x-flag": True},
    }
    assert settings.rabbit.queue_arguments == settings.queues.arguments == expected


def test_votes_aggregation_as_egress_needs_our_sink_off() -> None:
    egress = {"SCRUTIN_EGRESS": "votes.review,votes.aggregation"}
    assert "SCRUTIN_SINK=off" in refused(egress)
    settings = load_settings({**egress, "SCRUTIN_SINK": "off"})
    assert settings.egress == ("votes.review", "votes.aggregation")


def test_queues_are_named_as_documented_and_renamed_by_settings() -> None:
    settings = load_settings({"VALIDATION_QUEUE": "v", "RABBITMQ_QUEUE": "a", "REVIEW_QUEUE": "r"})
    names = ("votes.validation", "votes.aggregation", "votes.review")
    assert [settings.queues.name(name) for name in names] == ["v", "a", "r"]


def test_both_ingress_queues() -> None:
    settings = load_settings({"SCRUTIN_INGRESS": "votes.validation, votes.aggregation"})
    assert settings.ingress == ("votes.validation", "votes.aggregation")


def test_more_connections_to_keep_than_to_open() -> None:
    message = refused({"POSTGRES_MIN_CONNECTIONS": "5", "POSTGRES_MAX_CONNECTIONS": "4"})
    assert "POSTGRES_MIN_CONNECTIONS" in message
    assert "POSTGRES_MAX_CONNECTIONS" in message


# Where they come from.


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for _, name in ALL:
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_the_environment_goes_before_the_env_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / ".env").write_text("BATCH_SIZE=7\nRABBITMQ_HOST=from-file\n")
    monkeypatch.setenv("BATCH_SIZE", "8")
    settings = load_settings()
    assert settings.batch_size == 8
    assert settings.rabbitmq_host == "from-file"


def test_a_missing_env_file_is_no_fault(folder: Path) -> None:
    assert load_settings().batch_size == 100


def test_another_env_file(folder: Path) -> None:
    other = folder / "other.env"
    other.write_text("BATCH_SIZE=9\n")
    assert load_settings(dotenv=other).batch_size == 9


def test_the_env_file_is_checked_too(folder: Path) -> None:
    (folder / ".env").write_text("SCRUTIN_NONSENSE=1\n")
    with pytest.raises(SettingsError, match="SCRUTIN_NONSENSE"):
        load_settings()


def test_a_given_mapping_is_all_there_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".env").write_text("BATCH_SIZE=7\n")
    monkeypatch.setenv("BATCH_SIZE", "8")
    assert load_settings({}).batch_size == 100


@pytest.mark.parametrize(
    ("text", "mode"),
    [("1", "true"), ("Yes", "true"), ("FALSE", "false"), ("off", "false"), ("Known", "known")],
)
def test_the_enforcement_of_contests_is_still_read_as_a_boolean(text: str, mode: str) -> None:
    assert load_settings({"SCRUTIN_ENFORCE_CONTESTS": text}).enforce_contests == mode


def test_the_example_lists_every_variable_with_its_default() -> None:
    text = (Path(__file__).parents[3] / ".env.example").read_text()
    listed = dict(re.findall(r"^([A-Z_]+)=(.*)$", text, flags=re.MULTILINE))
    assert set(listed) == {names[0] for names in variables().values()}
    example, default = load_settings(listed).model_dump(), load_settings({}).model_dump()
    assert example == default
    for names in variables().values():
        for alias in names[1:]:
            assert alias in text


def test_the_width_of_a_window_in_milliseconds() -> None:
    assert load_settings({"BATCH_TIMEOUT_SECONDS": "0.25"}).window_ms == 250
    assert load_settings({"BATCH_TIMEOUT_SECONDS": "0.0001"}).window_ms == 1


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings({}).batch_size = 5  # type: ignore[misc]


def config(tmp_path: Path, text: str, **more: str) -> dict[str, str]:
    """An environment with a file of settings."""
    file = tmp_path / "scrutin.toml"
    file.write_text(text)
    return {"SCRUTIN_CONFIG": str(file), **more}


def test_a_file_of_settings_stands_below_the_environment(tmp_path: Path) -> None:
    text = """
POSTGRES_HOST = "from the file"
RABBITMQ_PASS = "from the file"
SCRUTIN_PARTITIONS = 12
SCRUTIN_LIVE = false
KAFKA_BOOTSTRAP_SERVERS = ["a:1", "b:2"]
"""
    environ = config(tmp_path, text, POSTGRES_HOST="from above", RABBITMQ_PASSWORD="from above")
    found = load_settings(environ)
    assert found.postgres_host == "from above"
    assert found.rabbitmq_password.get_secret_value() == "from above"
    assert (found.partitions, found.live) == (12, False)
    assert found.kafka_bootstrap_servers == ("a:1", "b:2")
    assert sources(environ) == {
        "postgres_host": "environment",
        "rabbitmq_password": "environment",
        "config_file": "environment",
        **dict.fromkeys(
            ("partitions", "live", "kafka_bootstrap_servers"), environ["SCRUTIN_CONFIG"]
        ),
    }


def test_a_secret_of_the_environments_file_stands_above(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("from above\n")
    environ = config(
        tmp_path, 'POSTGRES_PASSWORD = "from the file"', POSTGRES_PASSWORD_FILE=str(secret)
    )
    assert load_settings(environ).postgres_password.get_secret_value() == "from above"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('POSTGRES_HOTS = "x"', "POSTGRES_HOTS"),
        ('SCRUTIN_CONFIG = "other.toml"', "SCRUTIN_CONFIG"),
        ("[postgres]\nhost = 1", "postgres"),
        ("POSTGRES_HOST = 1979-05-27", "POSTGRES_HOST"),
        ("POSTGRES_HOST = ", "cannot be read"),
        ('POSTGRES_HOST_FILE = "x"', "POSTGRES_HOST_FILE"),
        ("SCRUTIN_PARTITIONS = 0", "SCRUTIN_PARTITIONS"),
    ],
)
def test_a_fault_of_the_file_is_named(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        load_settings(config(tmp_path, text))


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings({"SCRUTIN_CONFIG": "/nowhere.toml"})
