"""Secrets from files, what TLS trusts, and that no message shows a secret."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

import pytest

from streams.adapters.kafka.errors import why_not
from streams.adapters.redis.client import address
from streams.devstack.certificates import Certificates
from streams.errors import SettingsError
from streams.settings.kafka_security import Broker, client
from streams.settings.load import load_settings, secrets
from streams.settings.tls import client_context, refusal


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    made = Certificates(tmp_path / "tls")
    made.make()
    return made


# Secrets.


@pytest.mark.parametrize("name", secrets())
def test_every_secret_may_be_in_a_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / "secret"
    path.write_text("0123456789abcdef" * 2 + "\n")
    settings = load_settings({f"{name}_FILE": str(path)})
    shown = repr(settings) + str(settings.model_dump())
    assert "0123456789abcdef" not in shown
    values = [
        value.get_secret_value()
        for value in dict(settings).values()
        if hasattr(value, "get_secret_value")
    ]
    assert "0123456789abcdef" * 2 in values


def test_the_secrets_are_the_passwords_and_the_key() -> None:
    assert set(secrets()) == {
        "RABBITMQ_PASSWORD",
        "RABBITMQ_PASS",
        "POSTGRES_PASSWORD",
        "REDIS_PASSWORD",
        "KAFKA_SASL_PASSWORD",
        "SCRUTIN_PROOF_SECRET",
        "SCRUTIN_SECRET",
        "SCRUTIN_CONSOLE_OIDC_CLIENT_SECRET",
    }


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "No such file or directory"), (b"\n", "is empty"), (b"\xff\xfe", "not UTF-8")],
)
def test_a_file_that_cannot_be_used_is_named(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=said) as caught:
        load_settings({"REDIS_PASSWORD_FILE": str(path)})
    assert "REDIS_PASSWORD_FILE" in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_secret_and_a_file_that_disagree_are_refused_and_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("in the file")
    assert load_settings({"REDIS_PASSWORD_FILE": str(path), "REDIS_PASSWORD": "in the file"})
    with pytest.raises(SettingsError, match="disagree") as caught:
        load_settings({"REDIS_PASSWORD_FILE": str(path), "REDIS_PASSWORD": "another"})
    assert "REDIS_PASSWORD, REDIS_PASSWORD_FILE" in str(caught.value)
    assert "another" not in str(caught.value)
    assert "in the file" not in str(caught.value)


# What the settings say, and what drivers get.


def test_brokers_carry_their_security(certificates: Certificates) -> None:
    settings = load_settings(
        {
            "KAFKA_BOOTSTRAP_SERVERS": "a:1,b:2",
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_USERNAME": "u",
            "KAFKA_SASL_PASSWORD": "hush",
            "SCRUTIN_TLS_CA_FILE": str(certificates.ca),
        }
    )
    # However the list is passed on.
    arguments = client(settings.kafka.servers[:1])
    assert arguments["bootstrap_servers"] == ["a:1"]
    assert arguments["security_protocol"] == "SASL_SSL"
    assert arguments["sasl_plain_password"] == "hush"
    assert arguments["ssl_context"].verify_mode == ssl.CERT_REQUIRED
    assert arguments["ssl_context"].check_hostname
    assert "hush" not in repr(settings.kafka.servers[0].security)  # type: ignore[attr-defined]
    assert client(["a:1"]) == {"bootstrap_servers": ["a:1"]}
    assert client(load_settings({}).kafka.servers)["security_protocol"] == "PLAINTEXT"


def test_a_user_is_needed_where_one_is_asked_for() -> None:
    with pytest.raises(SettingsError, match="KAFKA_SASL_USERNAME"):
        load_settings({"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"})


def test_redis_is_verified_by_name(certificates: Certificates) -> None:
    env = {"REDIS_TLS": "true", "SCRUTIN_TLS_CA_FILE": str(certificates.ca)}
    arguments = address(load_settings(env).redis)
    assert arguments["ssl"]
    assert arguments["ssl_check_hostname"]
    assert arguments["ssl_ca_certs"] == str(certificates.ca)
    assert "ssl" not in address(load_settings({}).redis)


@pytest.mark.parametrize("on", ["RABBITMQ_TLS", "POSTGRES_TLS", "REDIS_TLS"])
def test_files_that_cannot_be_trusted_are_named_at_once(tmp_path: Path, on: str) -> None:
    nothing = tmp_path / "nothing.pem"
    with pytest.raises(SettingsError, match=r"cannot be read: no such file.*SCRUTIN_TLS_CA_FILE"):
        load_settings({on: "true", "SCRUTIN_TLS_CA_FILE": str(nothing)})
    nothing.write_text("no certificate")
    with pytest.raises(SettingsError, match="SCRUTIN_TLS_CA_FILE"):
        load_settings({on: "true", "SCRUTIN_TLS_CA_FILE": str(nothing)})
    with pytest.raises(SettingsError, match="SCRUTIN_TLS_CERT_FILE"):
        load_settings({on: "true", "SCRUTIN_TLS_CERT_FILE": str(nothing)})


# Handshakes.


class Server:
    """Accepts one TLS connection on loopback."""

    def __init__(self, certificates: Certificates) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificates.certificate, certificates.key)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(20)
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        with self._socket:
            connection, _ = self._socket.accept()
            with connection:
                connection.settimeout(20)
                try:
                    self._context.wrap_socket(connection, server_side=True).close()
                except OSError:
                    # The client does not trust us: that is what it is asked for.
                    return

    def __enter__(self) -> str:
        self._thread.start()
        return f"127.0.0.1:{self.port}"

    def __exit__(self, *_: object) -> None:
        self._thread.join(30)
        assert not self._thread.is_alive()


def broker(server: str, ca: Path) -> Broker:
    env = {
        "KAFKA_SECURITY_PROTOCOL": "SSL",
        "KAFKA_BOOTSTRAP_SERVERS": server,
        "SCRUTIN_TLS_CA_FILE": str(ca),
    }
    [found] = load_settings(env).kafka.servers
    assert isinstance(found, Broker)
    return found


def test_the_authority_of_a_stack_signs_for_loopback(certificates: Certificates) -> None:
    with Server(certificates) as server:
        assert why_not([broker(server, certificates.ca)]) == ""


def test_another_authority_is_not_trusted(certificates: Certificates, tmp_path: Path) -> None:
    other = Certificates(tmp_path / "other")
    other.make()
    with Server(certificates) as server:
        assert "not trusted" in why_not([broker(server, other.ca)])


def test_a_certificate_that_has_ended_is_refused(tmp_path: Path) -> None:
    ended = Certificates(tmp_path / "ended")
    ended.make(ended=True)
    with Server(ended) as server:
        said = why_not([broker(server, ended.ca)])
    assert said == "its certificate is not trusted: certificate has expired"


def test_a_certificate_of_another_host_is_refused(certificates: Certificates) -> None:
    with Server(certificates) as server:
        context = client_context(certificates.ca)
        host, _, port = server.rpartition(":")
        with (
            socket.create_connection((host, int(port)), 20) as plain,
            pytest.raises(ssl.SSLCertVerificationError) as caught,
        ):
            context.wrap_socket(plain, server_hostname="db.example")
    assert "not trusted: " in refusal(caught.value)
    wrapped = RuntimeError("wrapped")
    wrapped.__cause__ = caught.value
    assert "db.example" in refusal(wrapped)
    assert refusal(OSError("refused")) == ""
