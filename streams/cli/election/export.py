"""`scrutin election export`: an election's result in the formats of others."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from streams.adapters.postgres.connection import connected
from streams.cli.show import JsonOption, answer, console, run
from streams.cli.values import contest_name
from streams.elections.reports.files import ReportFormat, ReportWords, report_of
from streams.elections.results import ElectionResult
from streams.elections.store import named, read_definitions, read_report
from streams.errors import ScrutinError, SettingsError
from streams.settings.load import load_settings


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
    region: Annotated[
        str | None, typer.Option(help="Id or code of the region whose ballots BLT holds.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the current result of an election to a file, or its ballots (BLT).

    CSV and Parquet come with a data dictionary: `FILE.dictionary.json`. The gateway has the same
    files.

    Example: `scrutin election export 1 --format nist-json -o report.json`
    """
    settings = load_settings()

    async def work() -> tuple[ElectionResult, datetime] | None:
        async with connected(settings.postgres) as connection:
            definitions = await read_definitions(connection)
            return await read_report(connection, named(definitions, name).id)

    read = run(work())
    if read is None:
        raise ScrutinError("The election does not exist any more", where={"election": name})
    result, generated = read
    words = ReportWords(generated, issuer, language, region)
    written = {output: report_of(result, form, words)}
    if form in {ReportFormat.CSV, ReportFormat.PARQUET}:
        dictionary = output.with_name(f"{output.name}.dictionary.json")
        written[dictionary] = report_of(result, ReportFormat.DICTIONARY, words)
    try:
        for file, body in written.items():
            file.write_bytes(body)
    except OSError as error:
        raise SettingsError(f"The file cannot be written: {error}") from error
    files = [str(file) for file in written]
    document = {"format": str(form), "final": result.final, "files": files}
    answer(document, lambda: console().print("\n".join(files)), as_json=as_json)
