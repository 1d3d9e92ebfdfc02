"""`scrutin stack`: the local stack for development, tests and the demo."""

from __future__ import annotations

import json
import shlex
import signal
import sys
import threading
import time
from collections import deque
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal, TextIO

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from streams.cli.values import MAX_NUMBER, finite
from streams.devstack.cluster import LARGEST
from streams.devstack.rabbitmq import QueueType
from streams.devstack.stack import ServiceStatus, Stack
from streams.errors import ExitCode, StackError

app = typer.Typer(no_args_is_help=True, help="Start and stop the local services.")

Service = Annotated[str, typer.Argument(help="rabbitmq, kafka, postgres or redis")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_COLOURS = {"up": "green", "paused": "yellow", "unwell": "red", "stopped": "red"}


class _Progress:
    """Progress of each service: a live table on a terminal, else one line per event."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._begin = time.monotonic()
        self._last: dict[str, str] = {}
        self._lock = threading.Lock()
        self._live = Live(console=console, transient=True) if console.is_terminal else None

    def __enter__(self) -> _Progress:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, name: str, text: str) -> None:
        """Show an event; called from several threads."""
        with self._lock:
            seconds = time.monotonic() - self._begin
            if self._live is None:
                self._console.print(f"{seconds:6.1f} s  {name:<9} {text}", highlight=False)
                return
            self._last[name] = f"{text} [dim]({seconds:.1f} s)[/]"
            table = Table.grid(padding=(0, 2))
            for service, last in self._last.items():
                table.add_row(f"[bold]{service}[/]", last)
            self._live.update(table, refresh=True)


@app.command()
def up(
    services: Annotated[
        list[str] | None, typer.Argument(help="Only these services; default all four.")
    ] = None,
    *,
    native: Annotated[
        bool,
        typer.Option("--native", help="Run processes on this machine, even if Docker answers."),
    ] = False,
    docker: Annotated[bool, typer.Option("--docker", help="Run containers, or fail.")] = False,
    deadline: Annotated[
        float,
        typer.Option(callback=finite, min=1, help="Seconds for each service to become ready."),
    ] = 90.0,
    kafka_heap: Annotated[str, typer.Option(help="Heap of Kafka's Java, e.g. 512m.")] = "512m",
    brokers: Annotated[
        int, typer.Option(min=1, max=LARGEST, help="Brokers of Kafka: 1, or 3 for replication.")
    ] = 1,
    tls: Annotated[
        bool,
        typer.Option("--tls", help="Use TLS with a private authority, and passwords."),
    ] = False,
    queue_type: Annotated[
        QueueType,
        typer.Option(help="Of RabbitMQ's durable queues that are declared without a type."),
    ] = "classic",
) -> None:
    """Start services that are not up: given in the environment, else in Docker, else native.

    Example: `scrutin stack up kafka postgres`
    """
    if tls and docker:
        raise typer.BadParameter("--tls is for native services")
    if brokers not in {1, LARGEST}:
        raise typer.BadParameter(f"--brokers is 1 or {LARGEST}")
    if brokers > 1 and docker:
        raise typer.BadParameter("--brokers is for native services")
    if native and docker:
        raise typer.BadParameter("--native and --docker exclude each other")
    begin = time.monotonic()
    console = _console()
    with _Progress(console) as progress:
        stack = Stack(
            say=progress.say,
            kafka_heap=kafka_heap,
            brokers=brokers,
            tls=tls,
            queue_type=queue_type,
        )
        prefer: Literal["docker", "native"] | None = None
        if native or docker:
            prefer = "native" if native else "docker"
        started = stack.up(only=services or None, prefer=prefer, deadline_seconds=deadline)
    seconds = time.monotonic() - begin
    what = f"Started {', '.join(started)}" if started else "All services were already up"
    console.print(f"{what} ({seconds:.1f} s).", highlight=False)
    _print_table(console, stack.status())
    console.print(
        f'State in {stack.directory}; addresses: eval "$(scrutin stack env)"', highlight=False
    )


@app.command()
def down(
    keep: Annotated[bool, typer.Option("--keep", help="Keep the data for the next `up`.")] = False,
) -> None:
    """Stop only what `up` started, and remove its data.

    Example: `scrutin stack down`
    """
    console = _console()
    with _Progress(console) as progress:
        stack = Stack(say=progress.say)
        ended = stack.down(keep=keep)
    console.print(f"Ended {', '.join(ended)}." if ended else "Nothing was up.", highlight=False)


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show each service with its state and addresses; exits 1 unless all are up.

    Example: `scrutin stack status --json`
    """
    stack = Stack()
    found = stack.status()
    if as_json:
        print(json.dumps([asdict(one) for one in found], indent=2))  # noqa: T201
    elif found:
        _print_table(_console(), found)
    else:
        _console().print(f"No stack in {stack.directory}.", highlight=False)
    if not found or any(one.condition != "up" for one in found):
        raise typer.Exit(ExitCode.FAILED)


@app.command()
def env(as_json: AsJson = False) -> None:
    """Print the addresses as `export NAME=value` lines, for `eval`.

    Example: `eval "$(scrutin stack env)"`
    """
    names = Stack().env()
    if as_json:
        print(json.dumps(names, indent=2))  # noqa: T201
    else:
        print("\n".join(export_lines(names)))  # noqa: T201


@app.command()
def logs(
    service: Annotated[str | None, typer.Argument(help="Default: all services.")] = None,
    lines: Annotated[
        int, typer.Option("-n", "--lines", min=0, max=MAX_NUMBER, help="Lines of each service.")
    ] = 50,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Follow until Ctrl-C.")] = False,
) -> None:
    """Print the services' logs.

    Example: `scrutin stack logs kafka --lines 20`
    """
    stack = Stack()
    names = [service] if service else [one.name for one in stack.status()]
    if not names:
        stack.env()
    for name in names:
        prefix = "" if service else f"{name}: "
        for line in stack.log_lines(name, lines):
            sys.stdout.write(f"{prefix}{line}\n")
    sys.stdout.flush()
    if follow:
        files = stack.log_files()
        if not all(name in files for name in names):
            raise StackError(
                "Only logs of native services can be followed",
                todo="For a container: docker logs -f, its id is in `scrutin stack status --json`",
            )
        _follow({name: files[name] for name in names}, prefixed=service is None)


@app.command()
def stop(
    service: Service,
    signal_name: Annotated[
        str | None,
        typer.Option("--signal", help="KILL simulates a crash; default: a graceful stop."),
    ] = None,
) -> None:
    """Stop one service; its address and data stay.

    Example: `scrutin stack stop redis --signal KILL`
    """
    Stack().stop(service, parse_signal(signal_name) if signal_name else None)


@app.command()
def start(service: Service) -> None:
    """Start a stopped service at the same address with the same data.

    Example: `scrutin stack start redis`
    """
    with _Progress(_console()) as progress:
        Stack(say=progress.say).start(service)


@app.command()
def pause(service: Service) -> None:
    """Freeze one service (SIGSTOP): connections stay open, but nothing answers.

    Example: `scrutin stack pause postgres`
    """
    Stack().pause(service)


@app.command()
def resume(service: Service) -> None:
    """Continue a paused service.

    Example: `scrutin stack resume postgres`
    """
    Stack().resume(service)


def export_lines(names: dict[str, str]) -> list[str]:
    """`export NAME=value`, quoted for any POSIX shell."""
    return [f"export {name}={shlex.quote(value)}" for name, value in names.items()]


def parse_signal(name: str) -> signal.Signals:
    """`KILL`, `SIGKILL` or `9`."""
    try:
        if name.isdigit():
            return signal.Signals(int(name))
        return signal.Signals[f"SIG{name.upper().removeprefix('SIG')}"]
    except (KeyError, ValueError):
        raise typer.BadParameter(f"{name!r} is not a signal") from None


def _console() -> Console:
    """Standard output; wide lines without a terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=200)


def _print_table(console: Console, found: list[ServiceStatus]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("service", "is", "run as", "address"):
        table.add_column(column, overflow="fold")
    for one in found:
        links = [f"{url}" for url in one.links.values()]
        condition = Text(one.condition, style=_COLOURS[one.condition])
        kind = f"{one.kind} {' '.join(map(str, one.pids))}".strip()
        address = "\n".join([*links, one.detail] if one.detail else links)
        table.add_row(one.title, condition, kind, Text(address))
    console.print(table)


def _follow(files: dict[str, Path], *, prefixed: bool) -> None:
    """Print new lines of the files until interrupted."""
    opened: dict[str, TextIO] = {}
    for name, path in files.items():
        opened[name] = path.open(errors="replace")
        deque(opened[name], maxlen=0)
    try:
        while True:
            for name, file in opened.items():
                for line in file:
                    sys.stdout.write(f"{name}: {line}" if prefixed else line)
            sys.stdout.flush()
            time.sleep(0.2)
    except KeyboardInterrupt:
        pass
    finally:
        for file in opened.values():
            file.close()
