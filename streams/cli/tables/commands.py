"""`scrutin tables`: the workers' tables, read from Kafka without affecting the workers."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from schemas.votes import Kind
from streams.adapters.kafka.view import LogView
from streams.cli.show import (
    JsonOption,
    console,
    counting,
    facts,
    grid,
    moment,
    plain,
    run,
    size,
    write_json,
)
from streams.cli.tables.rows import TableName, export, scan
from streams.cli.values import contest_name
from streams.core.keys import ELECTION_PREFIX, normalise_hash, partition_of, voter_key
from streams.core.topics import WINDOWS_TOPIC, changelog_topic
from streams.errors import ExitCode, ScrutinError
from streams.inspect import report
from streams.inspect.windows import read_windows
from streams.settings.load import load_settings
from streams.settings.model import Settings

app = typer.Typer(
    help="Inspect the workers' tables (voted, windows) through their topics in Kafka.\n\n"
    "Reads up to a topic's end at the start of the command, joins no consumer group and commits "
    "nothing, so workers are not affected.\n\nExample:\n\n    scrutin tables list",
    no_args_is_help=True,
)


@app.command("list")
def list_tables(as_json: JsonOption = False) -> None:
    """List the tables with their topics, records, entries and sizes.

    scrutin tables list
    """
    settings = load_settings()
    found = run(_list(settings))
    if as_json:
        write_json(found)
        return
    table = grid(
        "Table",
        "Topic",
        "Partitions",
        "Records",
        "Entries",
        "Size",
        right=("Partitions", "Records", "Entries", "Size"),
    )
    for row in found:
        table.add_row(
            row["table"],
            row["topic"],
            str(row["partitions"]),
            f"{row['records']:,}",
            f"{row['entries']:,}",
            size(row["bytes"]),
        )
    console().print(table)


async def _list(settings: Settings) -> list[dict[str, Any]]:
    topic = changelog_topic(settings.app_id)
    async with LogView(settings.kafka.servers) as reader:
        stats = await _voted_stats(reader, topic)
        latest = await read_windows(reader)
        return [
            {
                "table": "voted",
                "topic": topic,
                "partitions": len(stats.partitions),
                "records": stats.records,
                "entries": stats.entries,
                "bytes": stats.size_bytes,
            },
            {
                "table": "windows",
                "topic": WINDOWS_TOPIC,
                "partitions": reader.partitions(WINDOWS_TOPIC),
                "records": latest.records,
                "entries": len(latest),
                "bytes": latest.size_bytes,
            },
        ]


async def _voted_stats(reader: LogView, topic: str) -> report.VotedStats:
    spans = await reader.spans(topic)
    with counting("voted", report.steps(spans)) as advance:
        return await report.voted_stats(reader, topic, spans, advance)


@app.command("get")
def get(
    table: Annotated[TableName, typer.Argument(help="Only `voted` supports lookup by key.")],
    vote_hash: Annotated[
        str,
        typer.Argument(
            metavar="HASH",
            help="The voter's hash, in upper or lower case, or a key as shown by `scan`.",
        ),
    ],
    election: Annotated[
        str | None,
        typer.Option(
            "--election",
            metavar="ID",
            callback=contest_name,
            help="Election of the vote; default: a law.",
        ),
    ] = None,
    show_choice: Annotated[
        bool,
        typer.Option("--show-choice", help="Show the choice too; it reveals how the voter voted."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show whether and where a voter's vote was accepted. Exit 1 if there is none.

    scrutin tables get voted HASH

    scrutin tables get voted HASH --election 2026-11
    """
    if table is not TableName.VOTED:
        raise typer.BadParameter("windows do not support lookup by key; use `scrutin tables scan`")
    settings = load_settings()
    kind = Kind.LAW if election is None else Kind.CANDIDATE
    contest = "" if election is None else f"{ELECTION_PREFIX}{election}"
    key = voter_key(normalise_hash(vote_hash.strip()), contest, kind)
    found = run(_get(settings, key, show_choice=show_choice))
    if as_json:
        write_json(found)
        if not found["found"]:
            raise typer.Exit(ExitCode.FAILED)
        return
    if not found["found"]:
        raise ScrutinError(
            "No vote with this hash was accepted"
            + ("" if election is None else " in this election"),
            where={"table": "voted", "partition": found["partition"]},
            todo="It may have been rejected (see table rejected_votes), may still be in the "
            "queue (`scrutin lag`), or belong to another --election",
        )
    show = facts()
    show.add_row("Key", found["key"])
    show.add_row("Contest", plain(found["contest"]))
    show.add_row(
        "Position",
        f"partition {found['partition']}, offset {found['offset']}, vote {found['index']}",
    )
    if found["ingest_ms"] is None:
        show.add_row("Taken in", "no longer in the input log")
    else:
        show.add_row("Taken in", f"{moment(found['ingest_ms'])} by bridge {found['bridge']}")
    if show_choice:
        show.add_row("Choice", plain(found["choice"]))
    show.add_row("Later attempts", f"{found['attempts']:,}")
    console().print(show)


async def _get(settings: Settings, key: bytes, *, show_choice: bool) -> dict[str, Any]:
    topic = changelog_topic(settings.app_id)
    async with LogView(settings.kafka.servers) as reader:
        partition = partition_of(key, reader.partitions(topic))
        span = (await reader.spans(topic))[partition]
        with counting(f"voted, partition {partition}", span.end - span.begin) as advance:
            return await report.describe_entry(
                reader, topic, key, partition, show_choice=show_choice, advance=advance
            )


@app.command("stats")
def stats(as_json: JsonOption = False) -> None:
    """Statistics of the voted table: partitions, contests, duplicates, rejections, bytes per entry.

    scrutin tables stats --json | jq .contests
    """
    settings = load_settings()
    found = run(_stats(settings))
    if as_json:
        write_json(found.as_dict())
        return
    out = console()
    share = found.size_bytes / found.entries if found.entries else 0
    total = facts()
    total.add_row("Entries", f"{found.entries:,}")
    total.add_row("Duplicate attempts", f"{found.attempts:,} by {found.repeated_voters:,} voters")
    total.add_row("Changelog", f"{found.records:,} records, {size(found.size_bytes)}")
    total.add_row("Bytes per entry", f"{share:.1f}")
    if found.repeated_records:
        total.add_row("Records written twice", f"{found.repeated_records:,} (harmless)")
    out.print(total)
    if len(found.logs) > 1:
        out.print("[bold red]The changelog mixes records of several logs[/]; see `scrutin doctor`.")
    for title, column, counts in (
        ("Partitions", "Partition", found.partitions),
        ("Contests", "Contest", found.contests),
        ("Not accepted", "Reason", found.rejections),
    ):
        out.print(f"\n[bold]{title}[/]" if counts else f"\n[bold]{title}[/]\nnone")
        table = grid(column, "Count", right=("Count",))
        table.show_header = False
        for name, number in counts.items():
            table.add_row(plain(name), f"{number:,}")
        if counts:
            out.print(table)


async def _stats(settings: Settings) -> report.VotedStats:
    async with LogView(settings.kafka.servers) as reader:
        return await _voted_stats(reader, changelog_topic(settings.app_id))


app.command("scan")(scan)
app.command("export")(export)
