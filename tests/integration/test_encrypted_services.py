"""All four services really encrypted: who is trusted, who is not, and what is said then."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.devstack import Stack
from streams.devstack.certificates import Certificates
from streams.errors import ExitCode
from tests.integration.cli_harness import run_cli

pytestmark = pytest.mark.timeout(240)

SERVICES = ("kafka", "rabbitmq", "redis", "postgresql")


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("encrypted"), environ={}, tls=True)
    stack.up()
    yield stack
    stack.down()


def away(stack: Stack, **other: str) -> dict[str, str]:
    """Services that `scrutin lag` could not ask, and why."""
    env = {**stack.env(), **other}
    done = run_cli(env, "lag", "--json")
    errors: dict[str, str] = json.loads(done.stdout)["errors"]
    roll = run_cli(env, "roll", "stats")
    if roll.returncode:
        errors["redis"] = roll.stderr
    return errors


def test_everything_works_and_is_really_encrypted(encrypted: Stack) -> None:
    env = encrypted.env()
    assert run_cli(env, "migrate").returncode == 0
    assert run_cli(env, "roll", "stats").returncode == 0
    # No log yet: that is an answer of Kafka.
    assert "certificate" not in str(away(encrypted))
    plain = {"KAFKA_SECURITY_PROTOCOL": "PLAINTEXT", "RABBITMQ_TLS": "false"}
    assert set(away(encrypted, **plain)) == {"kafka", "rabbitmq"}


def test_doctor_asks_the_management_api_encrypted_only(encrypted: Stack) -> None:
    def queue_arguments(env: dict[str, str]) -> tuple[str, str]:
        found = json.loads(run_cli(env, "doctor", "--json").stdout)["checks"]
        [one] = [each for each in found if each["name"] == "queue arguments"]
        return one["status"], one["detail"]

    env = encrypted.env()
    assert env["SCRUTIN_RABBITMQ_MANAGEMENT_URL"].startswith("https:")
    assert queue_arguments(env) == ("not_checked", "no queues yet")
    clear = env["SCRUTIN_RABBITMQ_MANAGEMENT_URL"].replace("https:", "http:")
    status, detail = queue_arguments({**env, "SCRUTIN_RABBITMQ_MANAGEMENT_URL": clear})
    assert status == "not_checked"
    assert "no password is sent" in detail


def test_another_authority_is_refused_by_name(encrypted: Stack, tmp_path: Path) -> None:
    other = Certificates(tmp_path)
    other.make()
    found = away(encrypted, SCRUTIN_TLS_CA_FILE=str(other.ca))
    assert set(found) == set(SERVICES)
    for service, said in found.items():
        text = " ".join(said.split())
        assert "its certificate is not trusted: " in text, (service, said)


@pytest.mark.parametrize(
    ("service", "variable"), [("kafka", "KAFKA_SASL_PASSWORD"), ("postgresql", "POSTGRES_PASSWORD")]
)
def test_a_wrong_password_is_refused_and_not_shown(
    encrypted: Stack, service: str, variable: str
) -> None:
    done = run_cli({**encrypted.env(), variable: "not-the-password"}, "lag", "--json")
    assert done.returncode == ExitCode.SERVICE_UNAVAILABLE
    assert service in json.loads(done.stdout)["errors"]
    assert "not-the-password" not in done.stdout + done.stderr


def test_no_password_is_on_a_command_line(encrypted: Stack) -> None:
    secrets = {value for name, value in encrypted.env().items() if name.endswith("PASSWORD")}
    assert len(secrets) > 1
    for status in encrypted.status():
        for pid in status.pids:
            line = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
            assert not [secret for secret in secrets if secret in line], status.name


def test_a_certificate_that_has_ended_is_refused(encrypted: Stack) -> None:
    """Last: the services keep it."""
    folder = encrypted.directory / "tls"
    shutil.rmtree(folder)
    Certificates(folder).make(ended=True)
    for service in ("redis", "postgres"):
        encrypted.stop(service)
        encrypted.start(service)
    found = away(encrypted)
    for service in ("redis", "postgresql"):
        assert "certificate has expired" in " ".join(found[service].split())
