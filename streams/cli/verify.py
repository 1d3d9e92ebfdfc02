"""`scrutin verify`: compare the count with the expected outcome."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from streams.cli.show import JsonOption, console, grid, plain, run, write_json
from streams.cli.values import MAX_NUMBER, finite
from streams.errors import ExitCode
from streams.load.checks import Report
from streams.load.expected import Expected, read_expected
from streams.load.verification import (
    VerificationProgress,
    checks_review,
    wait_until_counted,
)
from streams.load.verification import (
    verify as compare,
)
from streams.settings.build import deployment_config
from streams.settings.configs import DeploymentConfig
from streams.settings.load import load_settings


def command(
    *,
    expected: Annotated[Path, typer.Argument(help="Written by `scrutin publish`.")],
    wait: Annotated[
        float,
        typer.Option(
            callback=finite, min=0, help="Give up after this many seconds without a change."
        ),
    ] = 30.0,
    sample: Annotated[
        int, typer.Option(min=0, max=MAX_NUMBER, help="Differing lines to show.")
    ] = 10,
    review: Annotated[
        bool, typer.Option("--review/--no-review", help="Compare the review queue too.")
    ] = True,
    drain_review: Annotated[
        bool,
        typer.Option(
            "--drain-review/--keep-review",
            help="Remove review messages, or leave them queued (marked as redelivered).",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Wait until a published election is counted, then compare every line of it.

    Compares `vote_results`, `contest_results`, `vote_windows`, each row of `vote_audit`,
    `rejected_votes` and `duplicate_attempts`, the messages on the review queue, and the Redis keys
    `voted_hashes` and `duplicate_count:*`. Everything counted must come from this election.

    Exit code 0 if all is equal, 3 if anything differs.

    Examples:

        scrutin verify expected.json

        scrutin verify expected.json --wait 120 --json
    """
    config = deployment_config(load_settings())
    document = read_expected(expected)
    report = run(
        check(
            config,
            document,
            expected,
            wait_s=wait,
            review=review and checks_review(config),
            drain_review=drain_review,
            sample=sample,
        )
    )
    if as_json:
        write_json({**asdict(report), "equal": report.equal, "expected": str(expected)})
    else:
        show(report)
    if not report.equal:
        sys.exit(ExitCode.DIFFERENT)


async def check(
    config: DeploymentConfig,
    document: Expected,
    path: Path,
    *,
    wait_s: float,
    review: bool,
    drain_review: bool = False,
    sample: int = 10,
) -> Report:
    """Wait with progress on a terminal, then compare."""
    with _looking(document) as look:
        arrived = await wait_until_counted(
            config, document, patience_s=wait_s, review=review, show=look
        )
    report = await compare(
        config, document, path, review=review, drain_review=drain_review, sample=sample
    )
    if not arrived:
        report.notes.append(f"The count is incomplete: no progress for {wait_s:g} s")
    return report


@contextmanager
def _looking(document: Expected) -> Iterator[Callable[[VerificationProgress], None]]:
    """Show the progress of the count in one line on a terminal's standard error."""
    err = Console(stderr=True)
    if not err.is_terminal:
        yield lambda _: None
        return
    begin = time.monotonic()
    with err.status("waiting for the count") as status:
        yield lambda p: status.update(
            f"{p.counted:,} of {document.counted:,} counted, {p.rejected:,} rejected; "
            f"{p.waiting:,} messages and {p.uncounted:,} records wait, "
            f"{p.mirrored:,} mirrored, {p.reviews:,} to review "
            f"[dim]({time.monotonic() - begin:.0f} s)[/]"
        )


def show(report: Report) -> None:
    """Print a report."""
    out = console()
    table = grid("where", "figure", "expected", "found", "", right=("expected", "found"))
    group = ""
    for figure in report.figures:
        mark = Text("ok", style="green") if figure.ok else Text("DIFFERENT", style="bold red")
        table.add_row(
            figure.group if figure.group != group else "",
            plain(figure.name),
            figure.expected,
            f"{figure.found:,}",
            mark,
        )
        group = figure.group
    out.print(table)
    if report.different_lines:
        shown = min(len(report.differences), report.different_lines)
        out.print(f"\n[bold red]{report.different_lines:,} lines differ[/]; the first {shown}:")
        lines = grid("where", "line", "expected", "found")
        for difference in report.differences:
            lines.add_row(*(plain(part) for part in astuple(difference)))
        out.print(lines)
    for note in report.notes:
        out.print(f"[yellow]note:[/] {note}")
    if report.equal:
        out.print(f"[bold green]Exact:[/] {len(report.figures)} figures and every line are equal.")
    else:
        out.print("[bold red]Different.[/]")
