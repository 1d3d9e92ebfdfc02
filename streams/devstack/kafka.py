"""Apache Kafka from Maven Central; each process is both broker and controller (KRaft).

One process is the default. In a cluster each is a numbered service that knows the other members'
controllers (:mod:`streams.devstack.cluster`).
"""

from __future__ import annotations

import base64
import shutil
import signal
import subprocess
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from streams.devstack import archive, jars, probes
from streams.devstack.kafka_tls import Secured
from streams.devstack.packages import Need
from streams.devstack.ports import LOOPBACK
from streams.devstack.process import Command, clean_environment
from streams.devstack.service import Image, folder
from streams.devstack.state import ServiceRecord
from streams.errors import StackError

_LOG4J = """\
Configuration:
  status: WARN
  Appenders:
    Console:
      name: out
      PatternLayout:
        pattern: "[%d] %p %m (%c)%n"
  Loggers:
    Root:
      level: INFO
      AppenderRef:
        - ref: out
    Logger:
      - name: org.apache.kafka.clients
        level: WARN
      - name: org.apache.kafka.common.config.AbstractConfig
        level: WARN
"""

# One broker holds everything, so everything has one replica; groups form and dissolve quickly.
_BROKER = {
    "auto.create.topics.enable": "false",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "8",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "log.retention.ms": "-1",
    # The cleaner's default buffer would take a quarter of the heap.
    "log.cleaner.dedupe.buffer.size": "33554432",
    # A killed broker can rejoin only when its last session has expired.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
}


# Settings for data that must survive the loss of one broker.
_CLUSTERED = {
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    "share.coordinator.state.topic.replication.factor": "3",
    "share.coordinator.state.topic.min.isr": "2",
}

VOTERS = "voters"
"""Option of cluster members: numbers and addresses of all controllers."""
PROXIED = "proxied"
"""Port of the listener for clients that connect through a proxy."""


class Kafka:
    """See :class:`streams.devstack.service.Service`.

    Args:
        heap: of the Java virtual machine, in Java's notation.
        node: number of the broker; only the first has a name without one.
        proxy_port: a second listener, on the port "proxied", advertises this port. A proxy that
            listens there and forwards to "proxied" (a fault proxy) stays in the path of its
            clients, while clients of the port "broker" connect directly. None: no such listener.
    """

    stop_signal: signal.Signals = signal.SIGTERM
    abandon_signal: signal.Signals = signal.SIGKILL

    def __init__(self, heap: str = "512m", *, node: int = 1, proxy_port: int | None = None) -> None:
        self.name = "kafka" if node == 1 else f"kafka-{node}"
        self.title = "Kafka" if node == 1 else f"Kafka {node}"
        self.node = node
        self.heap = heap
        self.proxy_port = proxy_port
        self.ports: tuple[str, ...] = ("broker", "controller")
        if proxy_port is not None:
            self.ports += (PROXIED,)

    def given(self, stack_id: str, environ: Mapping[str, str]) -> ServiceRecord | None:
        """From KAFKA_BOOTSTRAP_SERVERS, a comma-separated list."""
        servers = environ.get("KAFKA_BOOTSTRAP_SERVERS")
        if not servers or self.node > 1:
            return None
        host, _, port = servers.split(",")[0].strip().rpartition(":")
        return ServiceRecord(
            name=self.name,
            stack=stack_id,
            kind="given",
            host=host.strip("[]"),
            ports={"broker": int(port)},
            options={"servers": servers},
        )

    def options(self) -> dict[str, str]:
        """A new cluster id, the heap, and the proxy's port."""
        options = {"cluster": _new_cluster(), "heap": self.heap}
        if self.proxy_port is not None:
            options["proxy_port"] = str(self.proxy_port)
        return options

    def needs(self) -> Sequence[Need]:
        """Java, and Maven for the first start."""
        return jars.needs()

    def fetch(self, say: Callable[[str], None]) -> None:
        """Fetch what all stacks share: the jars, and the archive for fast starts."""
        _, java_version = jars.require_java()
        classes = jars.provide(say)
        archive.provide(
            archive.place(classes, java_version),
            self._command,
            lambda home, ports: _format(home, ports, {"cluster": _new_cluster()}, home / "data"),
            say,
        )

    def prepare(self, record: ServiceRecord, say: Callable[[str], None]) -> None:
        """Fetch the jars, write the configuration, format the data folder."""
        self.fetch(say)
        home = folder(record)
        home.mkdir(parents=True, exist_ok=True)
        data = Path(record.data)
        if data.exists():
            _check_data(data, record.options["cluster"], self.node)
        else:
            say("formatting the data folder")
            new_data = data.with_name("data.new")
            shutil.rmtree(new_data, ignore_errors=True)
            _format(home, record.ports, record.options, new_data, Secured.of(record))
            new_data.rename(data)
        _configure(home, record.ports, data, record.options, Secured.of(record))

    def commands(self, record: ServiceRecord) -> list[Command]:
        """One Java process."""
        home = folder(record)
        argv = self._command(home, _archive_option(), record.options.get("heap", self.heap))
        return [Command("kafka", argv, cwd=home, env=clean_environment())]

    def _command(self, home: Path, java_options: list[str], heap: str = "512m") -> list[str]:
        java, _ = jars.require_java()
        return [
            str(java),
            *(f"-Xmx{heap}", "-Xms128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
            *("-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true"),
            *java_options,
            f"-Dlog4j2.configurationFile={home / 'log4j2.yaml'}",
            *("-cp", f"{jars.cache()}/*", "kafka.Kafka", str(home / "server.properties")),
        ]

    def image(self, record: ServiceRecord) -> Image:
        """The official image; clients reach it under the published port."""
        inside = {"broker": 9092}
        properties = _BROKER | {
            "node.id": "1",
            "process.roles": "broker,controller",
            "controller.quorum.voters": "1@localhost:9093",
            "controller.listener.names": "CONTROLLER",
            "listeners": "PLAINTEXT://:9092,CONTROLLER://:9093",
            "advertised.listeners": f"PLAINTEXT://{record.host}:{record.ports['broker']}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "PLAINTEXT",
        }
        if PROXIED in record.ports:
            inside[PROXIED] = 9094
            _add_proxied(properties, "", 9094, record.host, record.options["proxy_port"])
        environment = {
            f"KAFKA_{name.upper().replace('.', '_')}": value for name, value in properties.items()
        }
        heap = record.options.get("heap", self.heap)
        environment |= {
            "CLUSTER_ID": record.options["cluster"],
            "KAFKA_HEAP_OPTS": f"-Xmx{heap} -Xms128m",
        }
        return Image(name=f"apache/kafka:{jars.chosen()}", environment=environment, ports=inside)

    def probe(self, record: ServiceRecord) -> None:
        """The cluster metadata names a broker: in a cluster of several, this one."""
        member = self.node if VOTERS in record.options else None
        secured = Secured.of(record)
        port = record.ports["broker"]
        probes.kafka(record.host, port, tls=secured is not None, member=member)
        if secured is not None and member is not None:
            secured.probe_member(f"{record.host}:{port}", member)

    def env(self, record: ServiceRecord) -> dict[str, str]:
        """KAFKA_BOOTSTRAP_SERVERS; a cluster's first member adds the replication factor."""
        if self.node > 1:
            return {}
        own = f"{record.host}:{record.ports['broker']}"
        names = {"KAFKA_BOOTSTRAP_SERVERS": record.options.get("servers", own)}
        if VOTERS in record.options:
            names["SCRUTIN_REPLICATION_FACTOR"] = "3"
        secured = Secured.of(record)
        return names if secured is None else names | secured.environment()

    def links(self, record: ServiceRecord) -> dict[str, str]:
        """The bootstrap servers; for a cluster member its own address."""
        own = f"{record.host}:{record.ports['broker']}"
        if VOTERS in record.options:
            return {self.title: own}
        return {self.title: record.options.get("servers", own)}


def _new_cluster() -> str:
    while True:
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not cluster.startswith("-"):  # would be parsed as an option
            return cluster


def _archive_option() -> list[str]:
    _, version = jars.require_java()
    found = archive.place(jars.cache(), version)
    return [f"-XX:SharedArchiveFile={found}", "-Xlog:cds=off"] if found.exists() else []


def _configure(
    home: Path,
    ports: dict[str, int],
    data: Path,
    options: Mapping[str, str],
    secured: Secured | None = None,
) -> None:
    (home / "log4j2.yaml").write_text(_LOG4J)
    broker, controller = ports["broker"], ports["controller"]
    clients = "PLAINTEXT" if secured is None else "SASL_SSL"
    listeners = f"{clients}://{LOOPBACK}:{broker},CONTROLLER://{LOOPBACK}:{controller}"
    properties = _BROKER | {
        "process.roles": "broker,controller",
        "node.id": options.get("node", "1"),
        "controller.listener.names": "CONTROLLER",
        "listeners": listeners,
        "advertised.listeners": listeners,
        "log.dirs": str(data),
    }
    if VOTERS in options:
        properties |= _CLUSTERED | {"controller.quorum.voters": options[VOTERS]}
    else:
        properties["controller.quorum.bootstrap.servers"] = f"{LOOPBACK}:{controller}"
    proxy_port = options.get("proxy_port")
    if secured is not None:
        properties |= secured.properties(home)
    elif proxy_port is not None:
        _add_proxied(properties, LOOPBACK, ports[PROXIED], LOOPBACK, proxy_port)
    lines = [f"{name}={value}\n" for name, value in properties.items()]
    path = home / "server.properties"
    path.touch(mode=0o600)
    path.write_text("".join(lines))


def _add_proxied(
    properties: dict[str, str], listen_host: str, port: int, proxy_host: str, proxy_port: str
) -> None:
    """Add the listener whose clients connect through a proxy."""
    properties["listeners"] += f",PROXIED://{listen_host}:{port}"
    properties["advertised.listeners"] += f",PROXIED://{proxy_host}:{proxy_port}"
    properties["listener.security.protocol.map"] = (
        "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT"
    )
    properties["inter.broker.listener.name"] = "PLAINTEXT"


def _format(
    home: Path,
    ports: dict[str, int],
    options: Mapping[str, str],
    data: Path,
    secured: Secured | None = None,
) -> None:
    # The proxy is not involved yet.
    own = {name: value for name, value in options.items() if name != "proxy_port"}
    _configure(home, ports, data, own, secured)
    # In a cluster the voters are in the configuration.
    quorum = [] if VOTERS in options else ["--standalone"]
    users = [] if secured is None else ["--add-scram", secured.user()]
    java, _ = jars.require_java()
    argv = [
        str(java),
        *("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"),
        *_archive_option(),
        *("-cp", f"{jars.cache()}/*", f"-Dlog4j2.configurationFile={home / 'log4j2.yaml'}"),
        *("kafka.tools.StorageTool", "format", *quorum),
        *("-t", options["cluster"], "-c", str(home / "server.properties")),
        *users,
    ]
    result = subprocess.run(  # noqa: S603
        argv, cwd=home, env=clean_environment(), capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        lines = (result.stdout + result.stderr).strip().splitlines()[-8:]
        raise StackError(
            "Kafka's data folder could not be formatted:\n  " + "\n  ".join(lines) + "\n",
            where={"folder": data},
        )


def _check_data(data: Path, cluster: str, node: int) -> None:
    """Refuse a data folder of another cluster, before Kafka does so with a stack trace."""
    path = data / "meta.properties"
    try:
        lines = path.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        lines = []
    values = dict(line.split("=", 1) for line in lines if "=" in line and line[0] != "#")
    if values.get("cluster.id") != cluster or values.get("node.id") != str(node):
        raise StackError(
            "The data folder of Kafka is broken or belongs to another cluster",
            where={"file": path, "cluster": cluster, "found": values.get("cluster.id", "none")},
            todo="`scrutin stack down` removes the data, then `scrutin stack up` creates it again",
        )
