"""Redis: Debian's redis-server with an append-only file."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from streams.devstack import probes
from streams.devstack.packages import Need, which
from streams.devstack.ports import LOOPBACK
from streams.devstack.process import Command, clean_environment
from streams.devstack.service import Image, certificates_of, folder
from streams.devstack.state import ServiceRecord


class Redis:
    """See :class:`streams.devstack.service.Service`."""

    name = "redis"
    title = "Redis"
    ports: tuple[str, ...] = ("redis",)
    stop_signal: signal.Signals = signal.SIGTERM
    abandon_signal: signal.Signals = signal.SIGKILL

    def given(self, stack_id: str, environ: Mapping[str, str]) -> ServiceRecord | None:
        """From REDIS_HOST, REDIS_PORT, REDIS_DB and REDIS_PASSWORD."""
        host = environ.get("REDIS_HOST")
        if not host:
            return None
        options = {"db": environ.get("REDIS_DB", "0")}
        if password := environ.get("REDIS_PASSWORD"):
            options["password"] = password
        ports = {"redis": int(environ.get("REDIS_PORT", "6379"))}
        return ServiceRecord(
            name=self.name, stack=stack_id, kind="given", host=host, ports=ports, options=options
        )

    def options(self) -> dict[str, str]:
        """Database 0, no password: it listens on loopback only."""
        return {"db": "0"}

    def needs(self) -> Sequence[Need]:
        """redis-server."""
        return [Need("redis-server", "redis-server", lambda: which("redis-server"))]

    def prepare(self, record: ServiceRecord, say: Callable[[str], None]) -> None:
        """Write redis.conf."""
        del say
        data = Path(record.data)
        data.mkdir(parents=True, exist_ok=True)
        lines = [
            f"bind {LOOPBACK}",
            f'dir "{data}"',
            "daemonize no",
            "appendonly yes",
            "appendfsync everysec",
            'save ""',
            'logfile ""',
        ]
        port = record.ports["redis"]
        if (certificates := certificates_of(record)) is None:
            lines.append(f"port {port}")
        else:
            lines += [
                "port 0",
                f"tls-port {port}",
                f'tls-ca-cert-file "{certificates.ca}"',
                f'tls-cert-file "{certificates.certificate}"',
                f'tls-key-file "{certificates.key}"',
                "tls-auth-clients no",
                f"requirepass {record.options['password']}",
            ]
        config = folder(record) / "redis.conf"
        config.touch(mode=0o600)
        config.write_text("\n".join(lines) + "\n")

    def commands(self, record: ServiceRecord) -> list[Command]:
        """One process."""
        config = folder(record) / "redis.conf"
        argv = [str(which("redis-server")), str(config)]
        return [Command("redis-server", argv, cwd=folder(record), env=clean_environment())]

    def image(self, record: ServiceRecord) -> Image:
        """The official image, with the append-only file on."""
        del record
        return Image(
            name="redis:8-alpine",
            environment={},
            ports={"redis": 6379},
            command=["redis-server", "--appendonly", "yes", "--save", ""],
        )

    def probe(self, record: ServiceRecord) -> None:
        """PING."""
        probes.redis(record.host, record.ports["redis"], tls="tls" in record.options)

    def env(self, record: ServiceRecord) -> dict[str, str]:
        """REDIS_*."""
        names = {
            "REDIS_HOST": record.host,
            "REDIS_PORT": str(record.ports["redis"]),
            "REDIS_DB": record.options["db"],
        }
        if "password" in record.options:
            names["REDIS_PASSWORD"] = record.options["password"]
        if "tls" in record.options:
            names["REDIS_TLS"] = "true"
        return names

    def links(self, record: ServiceRecord) -> dict[str, str]:
        """redis://."""
        scheme = "rediss" if "tls" in record.options else "redis"
        address = f"{scheme}://{record.host}:{record.ports['redis']}/{record.options['db']}"
        return {self.title: address}
