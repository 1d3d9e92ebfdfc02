"""`scrutin election export`: an election's result in the formats of others."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from streams.adapters.postgres.connection import connected
from streams.cli.show import JsonOption, answer, console, run
from streams.cli.values import contest_name
from streams.elections.reports.nist import nist_report, nist_xml
from streams.elections.reports.tables import COLUMNS, rounds, rows
from streams.elections.results import ElectionResult
from streams.elections.store import named, read_definitions, read_result
from streams.errors import ScrutinError, SettingsError
from streams.settings.load import load_settings


class ReportFormat(StrEnum):
    """Formats of a result."""

    NIST_JSON = "nist-json"
    NIST_XML = "nist-xml"
    ROUNDS = "rounds"
    CSV = "csv"
    PARQUET = "parquet"


def command(
    name: Annotated[
        str,
        typer.Argument(metavar="ELECTION", callback=contest_name, help="Its id, code or contest."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="File; it is replaced.")],
    *,
    form: Annotated[
        ReportFormat,
        typer.Option("--format", help="nist: SP 1500-100 version 2; rounds: like RCTab's summary."),
    ],
    issuer: Annotated[str, typer.Option(help="The office, in NIST's reports.")] = "not stated",
    language: Annotated[str, typer.Option(help="Of the names, in NIST's reports.")] = "en",
    as_json: JsonOption = False,
) -> None:
    """Write the current result of an election to a file.

    CSV and Parquet come with a data dictionary: `FILE.dictionary.json`.

    Example: `scrutin election export 1 --format nist-json -o report.json`
    """
    settings = load_settings()

    async def work() -> ElectionResult:
        async with connected(settings.postgres) as connection:
            definitions = await read_definitions(connection)
            return await read_result(connection, definitions, named(definitions, name))

    result = run(work())
    if result.hidden is not None:
        raise ScrutinError(
            "The result may not be known yet",
            where={"election": name},
            todo="It can be exported after the contest has closed",
        )
    try:
        written = write_report(result, form, output, issuer=issuer, language=language)
    except OSError as error:
        raise SettingsError(f"The file cannot be written: {error}") from error
    files = [str(file) for file in written]
    document = {"format": str(form), "final": result.final, "files": files}
    answer(document, lambda: console().print("\n".join(files)), as_json=as_json)


def write_report(
    result: ElectionResult,
    form: ReportFormat,
    output: Path,
    *,
    issuer: str = "not stated",
    language: str = "en",
    generated: datetime | None = None,
) -> list[Path]:
    """Write a report; returns the files."""
    if form in {ReportFormat.CSV, ReportFormat.PARQUET}:
        _TABLES[form](list(rows(result)), output)
        dictionary = output.with_name(f"{output.name}.dictionary.json")
        dictionary.write_text(_json(COLUMNS), encoding="utf-8")
        return [output, dictionary]
    if form == ReportFormat.ROUNDS:
        output.write_text(_json([rounds(result, seat) for seat in result.seats]), encoding="utf-8")
        return [output]
    report = nist_report(
        result,
        generated=generated or datetime.now(UTC),
        issuer=issuer,
        abbreviation="".join(word[0] for word in issuer.split()).upper() or "-",
        language=language,
    )
    if form == ReportFormat.NIST_XML:
        output.write_bytes(nist_xml(report))
    else:
        output.write_text(_json(report), encoding="utf-8")
    return [output]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"


def _csv(found: list[dict[str, Any]], output: Path) -> None:
    with output.open("w", encoding="utf-8", newline="") as lines:
        table = csv.DictWriter(lines, COLUMNS)
        table.writeheader()
        table.writerows(found)


def _parquet(found: list[dict[str, Any]], output: Path) -> None:
    import pyarrow  # noqa: PLC0415 - slow to load, and not always installed
    from pyarrow import parquet  # noqa: PLC0415

    texts = {"election_name", "region_name", "candidate_name", "party_code", "status"}
    schema = pyarrow.schema(
        [
            pyarrow.field(
                name,
                pyarrow.bool_()
                if name == "final"
                else pyarrow.string()
                if name in texts
                else pyarrow.int64(),
                metadata={"description": what},
            )
            for name, what in COLUMNS.items()
        ]
    )
    parquet.write_table(pyarrow.Table.from_pylist(found, schema), output)


_TABLES: Final[dict[ReportFormat, Callable[[list[dict[str, Any]], Path], None]]] = {
    ReportFormat.CSV: _csv,
    ReportFormat.PARQUET: _parquet,
}
