"""Run Scrutin's processes as a user would, for the demo, the benchmarks and the tests.

Each has its own log file and its own port for `/ready`. None outlives the block that started it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import KW_ONLY, InitVar, dataclass
from pathlib import Path
from typing import Final, Self

import aiohttp

from streams.devstack import ports
from streams.errors import StackError

_POLL_S: Final = 0.03
_DUMP_S: Final = 1.0
_TAIL_LINES: Final = 30
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_assigned_ports: Final[set[int]] = set()
"""Ports given to programs: some may not listen yet, and look free."""


@dataclass(eq=False)
class Program:
    """One process."""

    name: str
    """For messages and for the log file."""
    argv: list[str]
    """What to run."""
    _: KW_ONLY
    env: InitVar[Mapping[str, str]]
    """Its complete environment."""
    directory: InitVar[Path]
    """For its log `NAME.log`; later starts append."""
    port: int
    """Of `/ready` and `/metrics`."""
    cwd: Path | None = None
    """Working directory; Python imports Scrutin's modules from there, if present."""

    def __post_init__(self, env: Mapping[str, str], directory: Path) -> None:
        self.log = directory / f"{self.name}.log"
        # Faust has the folder in its path only while it imports the application.
        path = {} if self.cwd is None else {"PYTHONPATH": str(self.cwd)}
        self._env = {**env, **path}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id of the latest start."""
        assert self._process is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Exit code, negative for a signal; None while it runs."""
        return None if self._process is None else self._process.poll()

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self, **more: str) -> Self:
        """Start the process; after it ended it can be started again.

        Args:
            more: environment variables for this start only.
        """
        assert not self.running
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603
                self.argv,
                env={**self._env, **more},
                cwd=self.cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C in the terminal must not reach it; the caller decides.
                start_new_session=True,
            )
        return self

    async def ready(self, within_s: float = 120.0) -> None:
        """Wait until `/ready` answers 200.

        Raises:
            StackError: the process ended or was not ready in time; with the end of its log.
        """
        deadline = time.monotonic() + within_s
        seen = "no answer"
        timeout = aiohttp.ClientTimeout(total=5)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while time.monotonic() < deadline:
                self.check()
                try:
                    async with session.get(f"http://127.0.0.1:{self.port}/ready") as answer:
                        if answer.status == 200:
                            return
                        seen = (await answer.text())[:300]
                except (aiohttp.ClientError, TimeoutError, OSError) as error:
                    seen = str(error)
                await asyncio.sleep(_POLL_S)
        raise StackError(
            f"{self.name} was not ready within {within_s:.0f} s: {seen}",
            where={"log": self.log},
            todo=self._quoted_tail(),
        )

    def check(self) -> None:
        """Raise StackError, with the end of the log, if the process has ended."""
        if not self.running:
            raise StackError(
                f"{self.name} ended with exit code {self.returncode}",
                where={"log": self.log},
                todo=self._quoted_tail(),
            )

    def send(self, sig: signal.Signals) -> None:
        """Send a signal if the process runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(sig)

    async def terminate(self, within_s: float = 60.0) -> int:
        """SIGTERM; returns the exit code.

        Raises:
            StackError: the process had to be killed.
        """
        self.send(signal.SIGTERM)
        try:
            async with asyncio.timeout(within_s):
                return await self.ended()
        except TimeoutError as error:
            await self.dump_and_kill()
            raise StackError(
                f"{self.name} did not end within {within_s:.0f} s of SIGTERM",
                where={"log": self.log},
                todo=self._quoted_tail(),
            ) from error

    async def kill(self) -> int:
        """SIGKILL; returns the exit code: -9 unless the process had ended before."""
        self.send(signal.SIGKILL)
        return await self.ended()

    async def dump_and_kill(self) -> None:
        """SIGKILL, after the process wrote its tasks to its log."""
        self.send(signal.SIGUSR1)
        await asyncio.sleep(_DUMP_S)
        await self.kill()

    async def ended(self) -> int:
        """Wait until it ends; returns the exit code."""
        assert self._process is not None
        while (code := self._process.poll()) is None:  # noqa: ASYNC110 - Popen has no event to await
            await asyncio.sleep(_POLL_S)
        return code

    def cpu_s(self) -> float:
        """CPU time that the process has used, in seconds."""
        return cpu_seconds(self.pid)

    def tail(self, lines: int = _TAIL_LINES) -> list[str]:
        """The last lines of its log."""
        try:
            return self.log.read_text(errors="replace").splitlines()[-lines:]
        except FileNotFoundError:
            return []

    def _quoted_tail(self) -> str:
        return "Its last log lines:\n" + "\n".join(f"  | {line}" for line in self.tail())

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        if self.running:
            if error is None:
                await self.terminate()
            else:
                await self.kill()


def cpu_seconds(pid: int) -> float:
    """CPU time of a process, user and system, in seconds; 0 if it does not exist."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def child_environment(addresses: Mapping[str, str], **more: str) -> dict[str, str]:
    """Environment of a child: this process's without Scrutin's settings, plus the given ones."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SCRUTIN_", "RABBITMQ_", "POSTGRES_", "REDIS_", "KAFKA_"))
    }
    return {**inherited, "SCRUTIN_METRICS_HOST": "127.0.0.1", **addresses, **more}


def _free_port() -> int:
    [port] = ports.choose(1, _assigned_ports)
    _assigned_ports.add(port)
    return port


def bridge(
    env: Mapping[str, str], directory: Path, name: str = "bridge", *, cwd: Path | None = None
) -> Program:
    """A bridge on a free port."""
    return _module("streams.bridge", "SCRUTIN_BRIDGE_METRICS_PORT", env, directory, name, cwd=cwd)


def webhooks(env: Mapping[str, str], directory: Path) -> Program:
    """A sender of webhooks on a free port."""
    return _module("streams.gateway.webhooks", "SCRUTIN_WEBHOOKS_PORT", env, directory, "webhooks")


def operators_console(env: Mapping[str, str], directory: Path) -> Program:
    """The operators' console on a free port."""
    return _module("streams.console", "SCRUTIN_CONSOLE_PORT", env, directory, "console")


def _module(
    module: str,
    variable: str,
    env: Mapping[str, str],
    directory: Path,
    name: str,
    *,
    cwd: Path | None = None,
) -> Program:
    port = _free_port()
    argv = [sys.executable, "-m", module]
    given = {**env, variable: str(port)}
    return Program(name, argv, env=given, directory=directory, port=port, cwd=cwd)


def worker(
    env: Mapping[str, str], directory: Path, name: str = "worker", *, cwd: Path | None = None
) -> Program:
    """A worker on a free port with its own data folder."""
    port = _free_port()
    faust = str(Path(sys.executable).with_name("faust"))
    argv = [faust, "-A", "topology", "worker", "-l", "info"]
    own = {
        "PROMETHEUS_PORT": str(port),
        "WORKER_ID": name,
        "SCRUTIN_DATA_DIR": str(directory / f"{name}-data"),
    }
    return Program(name, argv, env={**env, **own}, directory=directory, port=port, cwd=cwd)


def gateway(
    env: Mapping[str, str],
    directory: Path,
    name: str = "gateway",
    *,
    port: int | None = None,
    cwd: Path | None = None,
    module: str = "streams.gateway",
) -> Program:
    """A gateway, by default on a free port."""
    port = _free_port() if port is None else port
    argv = [sys.executable, "-m", module]
    own = {"SCRUTIN_GATEWAY_PORT": str(port), "SCRUTIN_GATEWAY_HOST": "127.0.0.1"}
    return Program(name, argv, env={**env, **own}, directory=directory, port=port, cwd=cwd)
