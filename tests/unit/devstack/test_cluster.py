"""A Kafka of three brokers in a stack: who knows whom, and what is refused."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streams.devstack import Stack, cluster, probes
from streams.devstack.certificates import Certificates
from streams.devstack.choosing import choose
from streams.devstack.kafka import Kafka, _configure
from streams.devstack.kafka_tls import Secured
from streams.devstack.state import StackRecord
from streams.errors import StackError


def record_of(
    directory: Path, brokers: int, certificates: Certificates | None = None
) -> StackRecord:
    record = StackRecord(format=1, id="id", created=0.0)
    members = cluster.members("256m", None)[:brokers]
    choose(record, directory, members, {}, "native", certificates=certificates)
    cluster.join(record)
    return record


def test_three_brokers_know_one_another(tmp_path: Path) -> None:
    record = record_of(tmp_path, 3)
    first, second, third = (record.services[n] for n in ("kafka", "kafka-2", "kafka-3"))
    numbered = list(enumerate((first, second, third), start=1))
    voters = ",".join(f"{n}@127.0.0.1:{one.ports['controller']}" for n, one in numbered)
    assert {one.options["voters"] for _, one in numbered} == {voters}
    assert len({one.options["cluster"] for _, one in numbered}) == 1
    servers = ",".join(f"127.0.0.1:{one.ports['broker']}" for _, one in numbered)
    assert Kafka().env(first) == {
        "KAFKA_BOOTSTRAP_SERVERS": servers,
        "SCRUTIN_REPLICATION_FACTOR": "3",
    }
    assert Kafka(node=2).env(second) == {}
    _configure(tmp_path, third.ports, tmp_path / "data", third.options)
    properties = (tmp_path / "server.properties").read_text().splitlines()
    assert "node.id=3" in properties
    assert f"controller.quorum.voters={voters}" in properties
    assert "offsets.topic.replication.factor=3" in properties
    assert not any(line.startswith("controller.quorum.bootstrap") for line in properties)


def test_encrypted_brokers_trust_their_authority_alone(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path / "tls")
    certificates.make()
    record = record_of(tmp_path, 3, certificates)
    secured = [Secured.of(one) for one in record.services.values()]
    # One user for all of them, whichever broker keeps it.
    assert len({one.password for one in secured if one is not None}) == 1
    second = record.services["kafka-2"]
    _configure(tmp_path, second.ports, tmp_path / "data", second.options, secured[1])
    properties = dict(
        line.split("=", 1) for line in (tmp_path / "server.properties").read_text().splitlines()
    )
    assert properties["controller.quorum.voters"] == second.options["voters"]
    assert properties["listener.security.protocol.map"] == "SASL_SSL:SASL_SSL,CONTROLLER:SSL"
    assert properties["inter.broker.listener.name"] == "SASL_SSL"
    assert properties["listener.name.controller.ssl.client.auth"] == "required"
    assert properties["offsets.topic.replication.factor"] == "3"
    env = Kafka().env(record.services["kafka"])
    assert len(env["KAFKA_BOOTSTRAP_SERVERS"].split(",")) == 3
    assert (env["KAFKA_SECURITY_PROTOCOL"], env["SCRUTIN_REPLICATION_FACTOR"]) == ("SASL_SSL", "3")


def test_they_are_told_once(tmp_path: Path) -> None:
    record = record_of(tmp_path, 3)
    before = {name: dict(one.options) for name, one in record.services.items()}
    cluster.join(record)
    assert before == {name: one.options for name, one in record.services.items()}


def test_one_broker_is_told_nothing(tmp_path: Path) -> None:
    one = record_of(tmp_path, 1).services["kafka"]
    assert "voters" not in one.options
    assert Kafka().env(one) == {"KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{one.ports['broker']}"}


def test_another_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="has one broker, which cannot be changed"):
        cluster.check(record_of(tmp_path, 1), 3, {})
    with pytest.raises(StackError, match="1 or 3 brokers, not 2"):
        cluster.check(None, 2, {})
    with pytest.raises(StackError, match="given by the environment"):
        cluster.check(None, 3, {"KAFKA_BOOTSTRAP_SERVERS": "there:9092"})
    cluster.check(record_of(tmp_path, 3), 3, {})
    cluster.check(record_of(tmp_path, 3), 1, {})


def test_a_stack_has_the_brokers_it_has(tmp_path: Path) -> None:
    three = record_of(tmp_path, 3)
    assert {"kafka-2", "kafka-3"} <= set(Stack(tmp_path)._default(three))
    assert "kafka-2" not in Stack(tmp_path)._default(record_of(tmp_path, 1))


@contextmanager
def answering(*brokers: int) -> Iterator[int]:
    """Something that answers a Metadata request with brokers of these numbers; yields its port."""
    body = b"".join(
        struct.pack("!ih4sih", node, 4, b"host", 9092, -1)
        if node % 2
        else struct.pack("!ih4sih2s", node, 4, b"host", 9092, 2, b"ab")
        for node in brokers
    )
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            client, _ = server.accept()
            with client:
                client.recv(1024)
                answer = struct.pack("!ii", 1, len(brokers)) + body
                client.sendall(struct.pack("!i", len(answer)) + answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join(10)


@pytest.mark.parametrize(
    ("brokers", "member", "ready"),
    [((1,), None, True), ((), None, False), ((1, 2, 3), 3, True), ((1, 2), 3, False)],
)
def test_the_probe_looks_for_its_broker(
    brokers: tuple[int, ...], member: int | None, *, ready: bool
) -> None:
    with answering(*brokers) as port:
        if ready:
            probes.kafka("127.0.0.1", port, member=member)
        else:
            with pytest.raises(probes.NotReady, match="has not joined"):
                probes.kafka("127.0.0.1", port, member=member)
