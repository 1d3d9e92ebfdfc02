"""What commands that go into the log share: issuing, waiting for the partitions, reading tables."""

from __future__ import annotations

import asyncio
import csv
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import asyncpg
import typer

from schemas.control import Contest
from streams.adapters.kafka.admin import ensure_topics
from streams.adapters.kafka.writer import LogWriter
from streams.adapters.postgres.connection import connect, translated
from streams.cli.contest_show import details, print_details
from streams.cli.show import console, reading, run, write_json
from streams.control.issuer import Issuer
from streams.errors import ServiceUnavailable, SettingsError
from streams.runtime.outages import OutageTracker
from streams.settings.model import Settings

WaitOption = Annotated[
    float,
    typer.Option(
        help="Seconds to wait until every partition has passed the command and counted what lies "
        "before it; 0: do not wait.",
        min=0,
    ),
]

_POLL_S: Final = 0.05


@asynccontextmanager
async def issuing(settings: Settings) -> AsyncIterator[Issuer]:
    """An issuer for one command, with connections of its own.

    Raises:
        ServiceUnavailable: PostgreSQL or Kafka is away.
        TopologyMismatch: the log has another number of partitions than the settings say.
    """
    genesis = await ensure_topics(
        list(settings.kafka_bootstrap_servers),
        app_id=settings.app_id,
        partitions=settings.partitions,
        replication_factor=settings.replication_factor,
    )
    connection = await connect(settings)
    writer = LogWriter(
        settings.kafka_bootstrap_servers,
        availability=OutageTracker(settings.max_retry_attempts),
    )
    try:
        yield Issuer(
            connection=connection,
            writer=writer,
            partitions=settings.partitions,
            log_id=genesis[0].log_id,
            name=settings.worker_id,
            enforced=settings.enforce_contests,
        )
    finally:
        await writer.close()
        await connection.close()


async def passed(
    connection: asyncpg.Connection, command_id: bytes, partitions: int, wait_s: float
) -> None:
    """Wait until every partition has passed a command.

    Raises:
        ServiceUnavailable: it did not happen in time.
    """
    deadline = time.monotonic() + wait_s
    count = shown = 0
    with reading("partitions", partitions) as advance:
        while count < partitions:
            async with translated({"table": "control_progress"}):
                count = await connection.fetchval(
                    "SELECT count(*) FROM control_progress WHERE command_id = $1", command_id
                )
            advance(count - shown)
            shown = count
            if count < partitions and time.monotonic() > deadline:
                raise ServiceUnavailable(
                    f"The command is in the log, but only {count} of {partitions} partitions"
                    f" have passed it within {wait_s:.0f} s",
                    where={"command": command_id.hex()},
                    todo="Is a worker running? It holds in any case; `scrutin contest list` shows"
                    " how far it is",
                )
            await asyncio.sleep(_POLL_S)


def carry_out(
    settings: Settings,
    change: Callable[[dict[str, Contest], int], list[Contest]],
    names: list[str],
    wait_s: float,
) -> bool:
    """Issue a change of contests and wait for it; returns whether anything changed.

    Where nothing changes, the wait is for the command that changed it before.
    """

    async def work() -> bool:
        async with issuing(settings) as issuer:
            async with issuer.turn():
                command = await issuer.change_contests(change)
            if wait_s:
                async with translated({"table": "contests"}):
                    rows = await issuer.connection.fetch(
                        "SELECT DISTINCT command_id FROM contests WHERE contest_id = ANY($1)", names
                    )
                for row in rows:
                    await passed(issuer.connection, row["command_id"], issuer.partitions, wait_s)
            return command is not None

    return run(work())


def announce(settings: Settings, names: list[str], changed: bool, *, as_json: bool) -> None:
    """Show the contests that a command was about."""
    found = run(details(settings, names))
    if as_json:
        described = [{**one, "changed": changed} for one in found]
        write_json(described[0] if len(names) == 1 else described)
        return
    for one in found:
        print_details(one)
    if not changed:
        console().print("[dim]Nothing had to be changed.[/]")
    if not settings.enforce_contests:
        console().print(
            "[yellow]SCRUTIN_ENFORCE_CONTESTS is off:[/] votes count in any contest, open or not."
        )


def read_table(file: Path) -> list[dict[str, Any]]:
    """Rows of a JSON list, a CSV file with a header, or a Parquet file.

    Raises:
        SettingsError: the file cannot be read, or is none of these.
    """
    try:
        suffix = file.suffix.lower()
        if suffix == ".json":
            rows = json.loads(file.read_text(encoding="utf-8-sig"))
            if isinstance(rows, dict):
                rows = rows.get("contests")
            if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                raise ValueError("a list of objects is needed")
            return rows
        if suffix == ".parquet":
            from pyarrow import parquet  # noqa: PLC0415 - slow to load

            table: list[dict[str, Any]] = parquet.read_table(file).to_pylist()
            return table
        with file.open(encoding="utf-8-sig", newline="") as lines:
            return list(csv.DictReader(lines))
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"The file cannot be read: {error}",
            where={"file": file},
            todo="JSON (a list of objects), CSV or Parquet with named columns",
        ) from error
