"""Change contests through the log and show the outcome; read tables of contests from files."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from schemas.control import Contest
from streams.adapters.postgres.connection import translated
from streams.cli.contest.show import details, print_details
from streams.cli.issuing import issuing, passed
from streams.cli.show import console, run, write_json
from streams.cli.table_files import read_csv
from streams.errors import SettingsError
from streams.settings.model import Settings


def issue_change(
    settings: Settings,
    change: Callable[[dict[str, Contest], int], list[Contest]],
    names: list[str],
    wait_s: float,
) -> bool:
    """Issue a change of contests and wait for it; returns whether anything changed.

    If nothing changes, the wait is for the command that last changed the contests.
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


def show_changed(settings: Settings, names: list[str], changed: bool, *, as_json: bool) -> None:
    """Show the contests of a command."""
    found = run(details(settings, names))
    if as_json:
        described = [{**one, "changed": changed} for one in found]
        write_json(described[0] if len(names) == 1 else described)
        return
    for one in found:
        print_details(one)
    if not changed:
        console().print("[dim]Nothing to change.[/]")
    if not all(one["enforced"] for one in found):
        console().print(
            "[yellow]Not enforced[/] (SCRUTIN_ENFORCE_CONTESTS=false): votes count whether the "
            "contest is open or not."
        )


def read_table(file: Path) -> list[dict[str, Any]]:
    """Rows of a JSON list, a CSV file with a header, or a Parquet file.

    Raises:
        SettingsError: the file cannot be read, or has another format.
    """
    try:
        suffix = file.suffix.lower()
        if suffix == ".json":
            rows = json.loads(file.read_text(encoding="utf-8-sig"))
            if isinstance(rows, dict):
                rows = rows.get("contests")
            if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                raise ValueError("a list of objects is required")
            return rows
        if suffix == ".parquet":
            from pyarrow import parquet  # noqa: PLC0415 - slow to load

            table: list[dict[str, Any]] = parquet.read_table(file).to_pylist()
            return table
        return list(read_csv(file))
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        raise SettingsError(
            f"The file cannot be read: {error}",
            where={"file": file},
            todo="JSON (a list of objects), CSV or Parquet with named columns",
        ) from error
