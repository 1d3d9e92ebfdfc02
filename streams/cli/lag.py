"""`scrutin lag`: waiting messages and records."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from streams.cli.show import JsonOption, grid, plain
from streams.cli.watch import IntervalOption, WatchOption, show_or_watch
from streams.errors import ServiceUnavailable
from streams.inspect.lag import EGRESS, MIRROR, READERS, SINK, WORKERS, Lag, PartitionLag, measure
from streams.settings.build import deployment_config
from streams.settings.load import load_settings

_TITLES = {WORKERS: "Workers", EGRESS: "Egress", MIRROR: "Mirror", SINK: "PostgreSQL"}


def command(
    *, watch_it: WatchOption = False, interval: IntervalOption = 1.0, as_json: JsonOption = False
) -> None:
    """Show what waits: in RabbitMQ's queues, for Kafka's consumer groups, for PostgreSQL.

    A reader's figure is the number of records that it has not read yet; **never** means that it
    has not committed anything yet. One record holds many votes.

        scrutin lag --watch

        scrutin lag --json | jq .queues
    """
    deployment = deployment_config(load_settings())

    found = show_or_watch(
        lambda: measure(deployment),
        render,
        as_dict=Lag.as_dict,
        as_json=as_json,
        watch_it=watch_it,
        interval_s=interval,
    )
    if found is not None and found.errors:
        unavailable = ", ".join(sorted(found.errors))
        raise ServiceUnavailable(f"Some services do not answer: {unavailable}")


def render(lag: Lag) -> RenderableType:
    """Queues and partitions as tables, errors below."""
    parts: list[RenderableType] = []
    if lag.queues:
        parts += [_queues(lag), Text()]
    if lag.partitions:
        parts += [_partitions(lag.partitions)]
    parts += [Text(f"{service}: {error}", style="red") for service, error in lag.errors.items()]
    return Group(*parts)


def _queues(lag: Lag) -> Table:
    table = grid("Queue", "Ready", "Consumers", right=("Ready", "Consumers"))
    for name, depth in lag.queues.items():
        if depth is None:
            table.add_row(plain(name), Text("missing", style="yellow"), "")
        else:
            table.add_row(plain(name), f"{depth.ready:,}", f"{depth.consumers:,}")
    return table


def _partitions(partitions: list[PartitionLag]) -> Table:
    titles = tuple(_TITLES.values())
    table = grid("Topic", "Partition", "End", *titles, right=("Partition", "End", *titles))
    for topic in dict.fromkeys(p.topic for p in partitions):
        rows = [p for p in partitions if p.topic == topic]
        for number, row in enumerate(rows):
            cells = [_cell(row, reader) for reader in READERS]
            name = plain(topic) if number == 0 else Text()
            table.add_row(name, str(row.partition), f"{row.end:,}", *cells)
        table.add_row(
            Text(),
            Text("all", style="bold"),
            f"{sum(row.end for row in rows):,}",
            *(_sum(rows, reader) for reader in READERS),
            end_section=True,
        )
    return table


def _cell(row: PartitionLag, reader: str) -> Text:
    if reader not in row.next_offsets:
        return Text("·", style="dim")
    behind = row.lag(reader)
    if behind is None:
        return Text("never", style="yellow")
    return Text(f"{behind:,}", style="yellow" if behind else "green")


def _sum(rows: list[PartitionLag], reader: str) -> Text:
    known = [row.lag(reader) for row in rows if reader in row.next_offsets]
    figures = [behind for behind in known if behind is not None]
    return Text(f"{sum(figures):,}", style="bold") if figures else Text()
