"""`scrutin top`: live overview of a running deployment."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from streams.cli.results import age_of
from streams.cli.show import JsonOption, facts, grid, plain, size
from streams.cli.watch import IntervalOption, show_or_watch
from streams.elections.contest_result import ContestResult
from streams.elections.overview import ahead, briefly, shown_results
from streams.errors import ServiceUnavailable
from streams.inspect.scrape import Process
from streams.inspect.top import (
    LATENCY_NAMES,
    RATE_NAMES,
    Quantiles,
    Snapshot,
    View,
    compare,
    look,
    partitions_of,
    waiting,
)
from streams.settings.build import deployment_config
from streams.settings.load import load_settings
from streams.settings.model import Settings

_BLOCKS = " ▁▂▃▄▅▆▇█"


def command(
    *,
    at: Annotated[
        list[str] | None,
        typer.Option(
            "--at",
            metavar="HOST:PORT",
            help="Metrics port of a process; repeatable. A name with several addresses means all "
            "of them. Default: worker, bridge and gateway on this host.",
        ),
    ] = None,
    once: Annotated[
        bool,
        typer.Option(
            "--once", help="Take two snapshots an interval apart, and show the result once."
        ),
    ] = False,
    interval: IntervalOption = 1.0,
    as_json: JsonOption = False,
) -> None:
    """Show live rates, waiting messages, latencies, results, windows and every process.

    Rates and latencies come from the processes given by **--at**; waiting messages come from
    RabbitMQ, Kafka and PostgreSQL; windows are the votes that PostgreSQL has committed. Results
    are those of pages and `scrutin results`, of contests that are open or closed last. A figure
    that nobody could be asked for is `?`, with --json null; with --once the exit code is 11 if a
    service, or every process, does not answer.

        scrutin top

        scrutin top --at worker:8001 --at bridge:8002

        scrutin top --once --json | jq .waiting
    """
    settings = load_settings()
    for address in at or []:
        _, _, port = address.rpartition(":")
        if not port.isdigit():
            raise typer.BadParameter(f"{address!r} is not HOST:PORT", param_hint="--at")
    addresses = at or _own(settings)
    deployment = deployment_config(settings)
    review = settings.review_queue

    latest: list[Snapshot] = []

    async def refresh() -> Seen:
        now, results = await asyncio.gather(
            look(deployment, addresses), shown_results(deployment.postgres)
        )
        before = latest[0] if latest else now
        latest[:] = [now]
        return Seen(compare(before, now, review), results)

    async def twice() -> Seen:
        await refresh()
        await asyncio.sleep(interval)
        return await refresh()

    seen = show_or_watch(
        twice if once else refresh,
        render,
        as_dict=Seen.as_dict,
        as_json=as_json,
        watch_it=not once,
        interval_s=interval,
    )
    if seen is None:
        return
    now = seen.view.now
    unreached = sorted(now.lag.errors)
    if not any(process.answers for process in now.processes):
        unreached.append("worker, bridge, gateway")
    if unreached:
        raise ServiceUnavailable(f"Some services do not answer: {', '.join(unreached)}")


@dataclass(frozen=True)
class Seen:
    """What is shown."""

    view: View
    results: list[ContestResult] | None
    """None if PostgreSQL could not be asked."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**self.view.as_dict(), "results": briefly(self.results)}


def _own(settings: Settings) -> list[str]:
    """Addresses of this host's processes by the settings."""
    ports = (settings.metrics_port, settings.bridge_metrics_port, settings.gateway_port)
    return [f"127.0.0.1:{port}" for port in ports if port]


def render(seen: Seen) -> RenderableType:
    """Figures side by side, results, windows and processes, then services that do not answer."""
    view = seen.view
    parts: list[RenderableType] = [
        Columns(
            [
                Panel(_rates(view), title="votes a second", title_align="left"),
                Panel(_waiting(view), title="waiting", title_align="left"),
                Panel(_latencies(view), title="latency", title_align="left"),
            ]
        ),
    ]
    if seen.results:
        parts += [_results(seen.results), Text()]
    parts += [
        _windows(view),
        Text(),
        _processes(view),
    ]
    errors = view.now.lag.errors
    parts += [Text(f"{service}: {error}", style="red") for service, error in errors.items()]
    return Group(*parts)


def _rates(view: View) -> Table:
    table = facts()
    table.columns[1].justify = "right"
    for name, title in RATE_NAMES.items():
        rate = view.rates[name]
        table.add_row(title, Text("?", style="dim") if rate is None else f"{rate:,.0f}")
    for status, rate in view.verdicts.items():
        if status != "valid":
            table.add_row(plain(status), Text(f"{rate:,.0f}", style="yellow" if rate else "dim"))
    return table


def _waiting(view: View) -> Table:
    table = facts()
    table.columns[1].justify = "right"
    for name, count in waiting(view.now.lag).items():
        if count is None:
            table.add_row(plain(name), Text("?", style="dim"))
        else:
            table.add_row(plain(name), Text(f"{count:,}", style="yellow" if count else "green"))
    return table


def _latencies(view: View) -> Table:
    table = grid("", "half", "99 %", right=("half", "99 %"))
    for name, title in LATENCY_NAMES.items():
        found = view.latencies[name]
        table.add_row(title, *(_seconds(found)))
    return table


def _seconds(found: Quantiles | None) -> tuple[str, str]:
    if found is None:
        return "-", "-"
    return _duration(found.p50_s), _duration(found.p99_s)


def _duration(seconds: float) -> str:
    if math.isinf(seconds):
        return "> 30 s"
    return f"{seconds * 1000:,.0f} ms" if seconds < 1 else f"{seconds:,.1f} s"


def _windows(view: View) -> Text:
    """The latest windows as bars, oldest first."""
    if view.now.windows is None:
        return Text("windows ? PostgreSQL could not be asked", style="dim")
    votes = [count for _, count in reversed(view.now.windows)]
    if not votes:
        return Text("no window was committed yet", style="dim")
    highest = max(votes)
    bars = "".join(_BLOCKS[math.ceil(count / highest * 8)] if count else " " for count in votes)
    latest = view.now.windows[0][0]
    return Text.assemble(
        ("windows ", "bold"),
        (bars, "cyan"),
        f"  highest {highest:,}, latest {latest:%H:%M:%S} UTC",
    )


def _results(results: Sequence[ContestResult]) -> Table:
    table = grid("Contest", "Phase", "Votes", "First", "Share", "Figures", right=("Votes", "Share"))
    for one in results:
        first = ahead(one)
        table.add_row(
            plain(one.title or one.id),
            one.phase.replace("_", " "),
            f"{one.total_votes:,}",
            plain(", ".join(each.name for each in first)),
            f"{100 * (first[0].share or 0):.1f} %" if first else "",
            age_of(one),
        )
    return table


def _processes(view: View) -> Table:
    table = grid(
        "Process", "", "State", "Partitions", "Votes/s", "Memory", right=("Votes/s", "Memory")
    )
    for process in view.now.processes:
        rate = view.worker_rates.get(process.address)
        memory = process.total("process_resident_memory_bytes")
        table.add_row(
            plain(process.address),
            process.kind if process.answers else "",
            _state(process),
            " ".join(map(str, partitions_of(process))),
            "" if rate is None else f"{rate:,.0f}",
            size(memory) if memory else "",
        )
    return table


def _state(process: Process) -> Text:
    if not process.faults:
        return Text("ready", style="green")
    text = plain("; ".join(process.faults))
    text.stylize("yellow" if process.answers else "red")
    return text
