"""PostgreSQL: Debian's server with its own cluster; runs as user `postgres` if started by root."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from streams.devstack import probes
from streams.devstack.packages import Need, newest, which
from streams.devstack.ports import LOOPBACK
from streams.devstack.process import Command, clean_environment, user_arguments
from streams.devstack.service import Image, certificates_of, folder
from streams.devstack.state import ServiceRecord
from streams.errors import StackError

DATABASE = "election_votes"
SYSTEM_USER = "postgres"
SHARED_BUFFERS = "1GB"
"""Hashes hit random pages of the indexes, which must fit in memory; allocated only when used."""


def _program(name: str) -> Path | None:
    return newest(f"/usr/lib/postgresql/*/bin/{name}") or which(name)


def server_user() -> str:
    """User to run the server as, which refuses root; empty if this process is not root."""
    return SYSTEM_USER if os.geteuid() == 0 else ""


def reachable(path: Path, user: str) -> bool:
    """Whether `user` can pass through every folder above `path` that exists."""
    if not user:
        return True
    entry = pwd.getpwnam(user)
    groups = os.getgrouplist(user, entry.pw_gid)
    for parent in path.resolve().parents:
        try:
            status = parent.stat()
        except FileNotFoundError:
            continue
        if status.st_uid == entry.pw_uid:
            bit = stat.S_IXUSR
        elif status.st_gid in groups:
            bit = stat.S_IXGRP
        else:
            bit = stat.S_IXOTH
        if not status.st_mode & bit:
            return False
    return True


class PostgreSQL:
    """See :class:`streams.devstack.service.Service`."""

    name = "postgres"
    title = "PostgreSQL"
    ports: tuple[str, ...] = ("postgres",)
    stop_signal: signal.Signals = signal.SIGINT  # "fast": does not wait for clients to disconnect
    abandon_signal: signal.Signals = signal.SIGQUIT  # "immediate", but releases shared memory

    def given(self, stack_id: str, environ: Mapping[str, str]) -> ServiceRecord | None:
        """From POSTGRES_HOST, PORT, DB, USER and PASSWORD."""
        host = environ.get("POSTGRES_HOST")
        if not host:
            return None
        return ServiceRecord(
            name=self.name,
            stack=stack_id,
            kind="given",
            host=host,
            ports={"postgres": int(environ.get("POSTGRES_PORT", "5432"))},
            options={
                "user": environ.get("POSTGRES_USER", "postgres"),
                "password": environ.get("POSTGRES_PASSWORD", ""),
                "db": environ.get("POSTGRES_DB", DATABASE),
            },
        )

    def options(self) -> dict[str, str]:
        """The usual names, a random password."""
        return {"user": "postgres", "password": secrets.token_urlsafe(12), "db": DATABASE}

    def needs(self) -> Sequence[Need]:
        """The server and initdb."""
        return [Need("postgres", "postgresql", lambda: _program("initdb"))]

    def prepare(self, record: ServiceRecord, say: Callable[[str], None]) -> None:
        """Create the cluster and the database, or check an existing one against the server."""
        user = server_user()
        folder(record).mkdir(parents=True, exist_ok=True)
        data = Path(record.data)
        if not reachable(data, user):
            private = Path(tempfile.mkdtemp(prefix=f"scrutin-{record.stack}-", dir="/var/tmp"))
            _chown(private, user)
            data = private / "data"
            record.data = str(data)
        if data.exists():
            _check_cluster(data)
            _place_certificates(record, data, user)
            return
        say("creating the database cluster")
        new_data = data.with_name("data.new")
        shutil.rmtree(new_data, ignore_errors=True)
        new_data.mkdir(parents=True, mode=0o700)
        _chown(new_data, user)
        secret = data.with_name("password")
        secret.touch(mode=0o600)
        try:
            secret.write_text(record.options["password"] + "\n")
            _chown(secret, user)
            initdb = [
                str(_program("initdb")),
                *("-D", str(new_data), "-U", record.options["user"], "-A", "scram-sha-256"),
                *("-E", "UTF8", "--no-locale", "--no-sync", f"--pwfile={secret}"),
            ]
            _run(initdb, new_data, user, "")
        finally:
            secret.unlink(missing_ok=True)
        if "tls" in record.options:
            hba = new_data / "pg_hba.conf"
            hba.write_text("hostssl all all all scram-sha-256\n")
        single = [str(_program("postgres")), "--single", "-D", str(new_data), "postgres"]
        _run(single, new_data, user, f'CREATE DATABASE "{record.options["db"]}"\n')
        _place_certificates(record, new_data, user)
        new_data.rename(data)

    def commands(self, record: ServiceRecord) -> list[Command]:
        """The postmaster. Durability keeps its defaults, because the tests depend on it."""
        settings = {
            "port": record.ports["postgres"],
            "listen_addresses": LOOPBACK,
            "unix_socket_directories": "",
            "max_connections": 100,
            "shared_buffers": SHARED_BUFFERS,
            # Fewer checkpoints: after each, every page's first change logs the whole page.
            "max_wal_size": "4GB",
            "checkpoint_timeout": "15min",
        }
        if "tls" in record.options:
            settings |= {"ssl": "on", "ssl_cert_file": "tls.pem", "ssl_key_file": "tls.key"}
        argv = [str(_program("postgres")), "-D", record.data]
        for name, value in settings.items():
            argv += ["-c", f"{name}={value}"]
        env = clean_environment()
        return [Command("postgres", argv, cwd=Path(record.data), env=env, user=server_user())]

    def image(self, record: ServiceRecord) -> Image:
        """The official image."""
        return Image(
            name="postgres:17-alpine",
            environment={
                "POSTGRES_USER": record.options["user"],
                "POSTGRES_PASSWORD": record.options["password"],
                "POSTGRES_DB": record.options["db"],
            },
            ports={"postgres": 5432},
            command=[
                "postgres",
                "-c",
                f"shared_buffers={SHARED_BUFFERS}",
                "-c",
                "max_connections=100",
            ],
        )

    def probe(self, record: ServiceRecord) -> None:
        """Check that the server asks a client to authenticate."""
        options = record.options
        probes.postgres(
            record.host,
            record.ports["postgres"],
            options["user"],
            options["db"],
            tls="tls" in options,
        )

    def env(self, record: ServiceRecord) -> dict[str, str]:
        """POSTGRES_*."""
        tls = {"POSTGRES_TLS": "true"} if "tls" in record.options else {}
        return {
            **tls,
            "POSTGRES_HOST": record.host,
            "POSTGRES_PORT": str(record.ports["postgres"]),
            "POSTGRES_DB": record.options["db"],
            "POSTGRES_USER": record.options["user"],
            "POSTGRES_PASSWORD": record.options["password"],
        }

    def links(self, record: ServiceRecord) -> dict[str, str]:
        """postgresql://."""
        place = f"{record.options['user']}@{record.host}:{record.ports['postgres']}"
        return {self.title: f"postgresql://{place}/{record.options['db']}"}


def _place_certificates(record: ServiceRecord, data: Path, user: str) -> None:
    """Copy the certificates: the server requires a key file that only its user can read."""
    if (certificates := certificates_of(record)) is None:
        return
    for source, name in ((certificates.certificate, "tls.pem"), (certificates.key, "tls.key")):
        target = data / name
        target.unlink(missing_ok=True)
        target.touch(mode=0o600)
        target.write_bytes(source.read_bytes())
        _chown(target, user)


def _check_cluster(data: Path) -> None:
    """Refuse a folder that is not a cluster, or belongs to another major version."""
    try:
        found = (data / "PG_VERSION").read_text(errors="replace").strip()
    except FileNotFoundError:
        found = "none"
    program = _program("postgres")
    result = subprocess.run(  # noqa: S603
        [str(program), "--version"], capture_output=True, text=True, check=False
    )
    server = result.stdout.split()[2].split(".")[0] if len(result.stdout.split()) > 2 else "?"
    if found != server:
        raise StackError(
            f"The data folder of PostgreSQL is broken or of another version: PG_VERSION is "
            f"{found[:20]!r}, the server is {server}",
            where={"folder": data},
            todo="`scrutin stack down` removes the data, then `scrutin stack up` creates it again",
        )


def _run(argv: list[str], cwd: Path, user: str, text: str) -> None:
    result = subprocess.run(  # type: ignore[call-overload]  # noqa: S603
        argv,
        cwd=cwd,
        env=clean_environment(),
        input=text,
        capture_output=True,
        text=True,
        check=False,
        **user_arguments(user),
    )
    if result.returncode != 0:
        lines = (result.stdout + result.stderr).strip().splitlines()[-8:]
        raise StackError(
            f"{Path(argv[0]).name} failed:\n  " + "\n  ".join(lines) + "\n", where={"folder": cwd}
        )


def _chown(path: Path, user: str) -> None:
    if user:
        entry = pwd.getpwnam(user)
        os.chown(path, entry.pw_uid, entry.pw_gid)
