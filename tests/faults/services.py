"""What can happen to RabbitMQ and PostgreSQL while they run, and how to undo it.

For stacks that run as processes of this machine. Kafka's and Redis's faults need no more than
:class:`streams.devstack.Stack` and :mod:`tests.faults.proxy`.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

import aiohttp
import asyncpg
import pika
from pika.adapters.blocking_connection import BlockingChannel

from streams.devstack import Stack, postgres
from streams.devstack.packages import newest
from streams.devstack.rabbitmq import RabbitMQ
from streams.devstack.state import ServiceRecord, StateFile
from tests.harness import until

FENCE: Final = "sink_offsets"
VALIDATION: Final = "votes.validation"
_TABLESPACE: Final = "small"
_GROWING: Final = ("counted_law_votes_0", "counted_contest_votes_0", "rejected_votes")
_MIB: Final = 1 << 20
_ROOMY: Final = "1g"
_MANY: Final = 60_000
_NO_MORE_S: Final = 10.0

Answer = TypeVar("Answer")

Taken = tuple[pika.BasicProperties, bytes]
"""Properties and body of a message."""


class NotPossibleHere(Exception):
    """This machine or this stack cannot be hurt in that way; the reason is the message."""


def record_of(stack: Stack, service: str) -> ServiceRecord:
    """The stack's record of a service that runs as processes of this machine."""
    state = StateFile(stack.directory).load()
    assert state is not None
    record = state.services[service]
    if record.kind != "native":
        raise NotPossibleHere(f"{service} is {record.kind}, not a process of this machine")
    return record


class Rabbit:
    """The stack's RabbitMQ as its operator sees it."""

    def __init__(self, stack: Stack) -> None:
        self._record = record_of(stack, "rabbitmq")
        self._base = f"http://{self._record.host}:{self._record.ports['management']}/api"
        options = self._record.options
        self._headers = {
            "Authorization": aiohttp.encode_basic_auth(options["user"], options["password"])
        }
        self._vhost = quote(options["vhost"], safe="")

    async def ctl(self, *arguments: str) -> None:
        """Run `rabbitmqctl`."""
        program = newest("/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmqctl")
        assert program is not None
        node = RabbitMQ().commands(self._record)[1]
        done = await asyncio.to_thread(
            subprocess.run,
            [str(program), *arguments],
            env=node.env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    async def _api(self, method: str, path: str, body: object = None) -> Any:
        timeout = aiohttp.ClientTimeout(total=20)
        async with (
            aiohttp.ClientSession(headers=self._headers, timeout=timeout) as session,
            session.request(method, f"{self._base}{path}", json=body) as answer,
        ):
            answer.raise_for_status()
            return await answer.json() if answer.content_type == "application/json" else None

    async def ready(self, queue: str) -> int:
        """Messages in a queue that nobody has been handed."""

        def ask(channel: BlockingChannel) -> int:
            return int(channel.queue_declare(queue, passive=True).method.message_count)

        return await self._on_channel(ask)

    async def _on_channel(self, ask: Callable[[BlockingChannel], Answer]) -> Answer:
        def connect() -> Answer:
            options = self._record.options
            parameters = pika.ConnectionParameters(
                self._record.host,
                self._record.ports["amqp"],
                options["vhost"],
                pika.PlainCredentials(options["user"], options["password"]),
            )
            with pika.BlockingConnection(parameters) as connection:
                return ask(connection.channel())

        return await asyncio.to_thread(connect)

    async def version(self) -> tuple[int, ...]:
        """Major and minor version."""
        found = (await self._api("GET", "/overview"))["rabbitmq_version"]
        return tuple(int(part) for part in found.split(".")[:2])

    async def declare(self, queue: str, arguments: Mapping[str, Any]) -> None:
        """Declare a durable queue, and wait until the management API shows it with its policy."""
        await self._on_channel(
            lambda channel: channel.queue_declare(queue, durable=True, arguments=dict(arguments))
        )
        path = f"/queues/{self._vhost}/{quote(queue, safe='')}"
        policies = await self._api("GET", f"/policies/{self._vhost}")
        wanted = any(re.match(policy["pattern"], queue) for policy in policies)

        async def shown() -> bool:
            try:
                found = await self._api("GET", path)
            except aiohttp.ClientResponseError:
                return False
            return bool(found.get("effective_policy_definition")) is wanted

        await until(shown, f"the queue {queue} is shown with its policy", poll_s=0.2)

    async def delete_queue(self, queue: str) -> None:
        """Delete a queue with what is in it."""
        await self._api("DELETE", f"/queues/{self._vhost}/{quote(queue, safe='')}")

    async def take_all(
        self, queue: str, arguments: Mapping[str, Any] | None = None, *, at_least: int = 1
    ) -> list[Taken]:
        """All messages of a queue, each as properties and body; they stay until it is deleted.

        RabbitMQ's number of messages comes late, so it does not say which one is the last.

        Args:
            queue: nobody else may read it or write to it.
            arguments: of the consumer.
            at_least: messages that it must hold.
        """

        def read(channel: BlockingChannel) -> list[Taken]:
            # A consumer of a stream must have a limit.
            channel.basic_qos(prefetch_count=_MANY)
            taken: list[Taken] = []
            for _, properties, body in channel.consume(
                queue, arguments=dict(arguments or {}), inactivity_timeout=_NO_MORE_S
            ):
                if properties is None:
                    break
                taken.append((properties, body))
            assert len(taken) >= at_least, f"{len(taken)} of {at_least} messages came"
            return taken

        return await self._on_channel(read)

    async def publish(self, queue: str, messages: Iterable[Taken]) -> None:
        """Publish messages as they are, with confirms."""

        def write(channel: BlockingChannel) -> None:
            channel.confirm_delivery()
            for properties, body in messages:
                channel.basic_publish("", queue, body, properties, mandatory=True)

        await self._on_channel(write)

    async def move_back(self, source: str, target: str) -> None:
        """Move dead letters to a queue again, except for what the bridge itself rejected."""

        def shovel(channel: BlockingChannel) -> None:
            channel.confirm_delivery()
            while True:
                method, properties, body = channel.basic_get(source)
                if method is None:
                    return
                assert properties is not None
                assert body is not None
                headers: dict[str, Any] = properties.headers or {}
                if headers["x-death"][0]["reason"] != "rejected":
                    channel.basic_publish("", target, body, properties, mandatory=True)
                channel.basic_ack(method.delivery_tag)

        await self._on_channel(shovel)

    @asynccontextmanager
    async def policy(
        self, name: str, queue: str, definition: Mapping[str, Any]
    ) -> AsyncIterator[None]:
        """A policy for one queue."""
        path = f"/policies/{self._vhost}/{name}"
        pattern = f"^{queue}$".replace(".", "\\.")
        body = {"pattern": pattern, "definition": definition, "apply-to": "queues"}
        await self._api("PUT", path, body)
        try:
            yield
        finally:
            await self._api("DELETE", path)

    async def default_type(self, name: str) -> None:
        """The type of queues that are declared without one."""
        await self._api("PUT", f"/vhosts/{self._vhost}", {"default_queue_type": name})

    @asynccontextmanager
    async def memory_alarm(self) -> AsyncIterator[None]:
        """RabbitMQ believes that it is out of memory: it reads from nobody who publishes."""

        async def alarmed() -> bool:
            return any(node["mem_alarm"] for node in await self._api("GET", "/nodes"))

        try:
            await self.ctl("set_vm_memory_high_watermark", "0")
            await until(alarmed, "the alarm is on", within_s=60, poll_s=0.2)
            yield
        finally:
            await self.ctl("set_vm_memory_high_watermark", "0.4")

    @asynccontextmanager
    async def full(self, queue: str, messages: int) -> AsyncIterator[None]:
        """A queue takes no more than so many messages and refuses all others (reject-publish).

        It must hold less when that begins: RabbitMQ drops the surplus.
        """
        definition = {"max-length": messages, "overflow": "reject-publish"}
        async with self.policy("full", queue, definition):
            yield

    @asynccontextmanager
    async def impatient(self, timeout_ms: int) -> AsyncIterator[None]:
        """Channels that are opened now are closed if a delivery is not acknowledged in time."""
        await self._patience(timeout_ms, tick_ms=max(100, timeout_ms // 4))
        try:
            yield
        finally:
            await self._patience(1_800_000, tick_ms=60_000)

    async def _patience(self, timeout_ms: int, *, tick_ms: int) -> None:
        await self.ctl(
            "eval",
            f"application:set_env(rabbit, consumer_timeout, {timeout_ms}),"
            f" application:set_env(rabbit, channel_tick_interval, {tick_ms}).",
        )


class Postgres:
    """The stack's PostgreSQL as its operator sees it."""

    def __init__(self, stack: Stack) -> None:
        record_of(stack, "postgres")
        self._env = stack.env()

    async def connect(self) -> asyncpg.Connection:
        """A connection that may write whatever the default says."""
        env = self._env
        return await asyncpg.connect(
            host=env["POSTGRES_HOST"],
            port=int(env["POSTGRES_PORT"]),
            user=env["POSTGRES_USER"],
            password=env["POSTGRES_PASSWORD"],
            database=env["POSTGRES_DB"],
            server_settings={
                "application_name": "operator",
                "default_transaction_read_only": "off",
            },
        )

    async def _run(self, *statements: str) -> None:
        connection = await self.connect()
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    async def terminate_backends(self) -> int:
        """End every worker's connections; returns how many there were."""
        connection = await self.connect()
        try:
            return int(
                await connection.fetchval(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                    " WHERE application_name LIKE 'scrutin%'"
                )
            )
        finally:
            await connection.close()

    @asynccontextmanager
    async def read_only(self) -> AsyncIterator[None]:
        """No transaction may write, as on a standby after a failover the wrong way."""
        reload = "SELECT pg_reload_conf()"
        await self._run("ALTER SYSTEM SET default_transaction_read_only = on", reload)
        try:
            yield
        finally:
            await self._run("ALTER SYSTEM RESET default_transaction_read_only", reload)

    @asynccontextmanager
    async def locked(self, table: str = FENCE) -> AsyncIterator[None]:
        """Somebody's transaction holds a table and does not end."""
        connection = await self.connect()
        try:
            async with connection.transaction():
                await connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
                yield
        finally:
            await connection.close()

    @asynccontextmanager
    async def full_disk(self, free_mib: int) -> AsyncIterator[None]:
        """The tables that grow get a disk of their own with little room; it grows at the end.

        Args:
            free_mib: room beside what the tables hold now.
        """
        if os.geteuid() != 0:
            raise NotPossibleHere("mounting a small disk takes root")
        mount = await asyncio.to_thread(_small_disk)
        space = mount / "space"
        try:
            await self._run(
                f"CREATE TABLESPACE {_TABLESPACE} LOCATION '{space}'",
                *(f"ALTER TABLE {table} SET TABLESPACE {_TABLESPACE}" for table in _GROWING),
                "CHECKPOINT",
            )
            used = shutil.disk_usage(mount).used
            await _mount("-o", f"remount,size={used + free_mib * _MIB}", str(mount))
            yield
        finally:
            await _mount("-o", f"remount,size={_ROOMY}", str(mount))
            await self._run(
                *(f"ALTER TABLE {table} SET TABLESPACE pg_default" for table in _GROWING),
                f"DROP TABLESPACE {_TABLESPACE}",
            )
            await asyncio.to_thread(_remove_disk, mount)


def _small_disk() -> Path:
    """Mount a disk in memory, with a folder `space` for PostgreSQL."""
    mount = Path(tempfile.mkdtemp(prefix="scrutin-disk-", dir="/var/tmp"))
    try:
        _run("mount", "-t", "tmpfs", "-o", f"size={_ROOMY},mode=0755", "tmpfs", str(mount))
    except subprocess.CalledProcessError as error:
        mount.rmdir()
        raise NotPossibleHere(f"no disk can be mounted: {error.stderr}") from error
    (mount / "space").mkdir()
    shutil.chown(mount / "space", postgres.SYSTEM_USER, postgres.SYSTEM_USER)
    return mount


def _remove_disk(mount: Path) -> None:
    _run("umount", "-l", str(mount))
    mount.rmdir()


async def _mount(*arguments: str) -> None:
    await asyncio.to_thread(_run, "mount", *arguments)


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True, text=True, timeout=30)
