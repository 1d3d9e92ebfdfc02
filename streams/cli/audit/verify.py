"""`scrutin audit verify`: count the log again and compare everything with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.audit.receipt import keys_of
from streams.cli.show import JsonOption, answer, console, counting, facts, grid, plain, run
from streams.cli.values import MAX_NUMBER
from streams.errors import ExitCode, SettingsError
from streams.settings.build import deployment_config
from streams.settings.load import load_settings

if TYPE_CHECKING:
    from streams.maintenance.recount.verify import RecountReport


def verify(
    *,
    key: Annotated[
        list[str] | None,
        typer.Option("--key", help="First public key of the log, got from elsewhere."),
    ] = None,
    seen: Annotated[
        list[Path] | None,
        typer.Option(help="Published checkpoint, or a folder of them; may be repeated."),
    ] = None,
    processes: Annotated[
        int, typer.Option(min=0, max=256, help="At once; 0 = one for each core.")
    ] = 0,
    in_memory: Annotated[
        int,
        typer.Option(
            min=0,
            max=MAX_NUMBER,
            help="Leaves of the largest count whose voters stay in memory.",
        ),
    ] = 5_000_000,
    as_json: JsonOption = False,
) -> None:
    """Count the log again, and compare rows, totals, trees and signed checkpoints with it.

    Decides every vote again by the rules in the log, and compares the changelog of the voted
    table, every row of `vote_audit` and `rejected_votes` but its metadata, the attempts of
    voters, totals, windows, closing points, stored trees, and each checkpoint's signature, roots
    and totals. Workers may run; it reads one moment of the database. Needs SCRUTIN_PROOF_SECRET.

    Names the first difference of each kind in each table and partition. Exit code 3: there is one.

    Example: `scrutin audit verify --key votes.example.org/2026+c1f0dbb3+AW4I... --seen checkpoints`
    """
    from streams.maintenance.recount.verify import recount  # noqa: PLC0415 - needs signatures

    config = deployment_config(load_settings())
    published = _published(seen or [])
    limits = {"processes": processes, "in_memory": in_memory}
    report = run(recount(config, keys_of(key or []), published, counting, **limits))
    answer(report.as_dict(), lambda: _show(report), as_json=as_json)
    if not report.equal:
        raise typer.Exit(ExitCode.DIFFERENT)


def _published(paths: list[Path]) -> dict[int, str]:
    """Notes by their number."""
    from streams.proof.checkpoints import Checkpoint  # noqa: PLC0415 - needs signatures
    from streams.proof.notes import BadNote  # noqa: PLC0415

    found = {}
    for path in paths:
        files = sorted(path.glob("*.txt")) if path.is_dir() else [path]
        if not files:
            raise SettingsError("The folder has no checkpoint, *.txt", where={"folder": path})
        for file in files:
            try:
                text = file.read_text(encoding="utf-8")
                found[Checkpoint.parse(text).size] = text
            except (OSError, UnicodeDecodeError, BadNote) as error:
                raise SettingsError(
                    f"The checkpoint cannot be read: {error}", where={"file": file}
                ) from error
    return found


def _show(report: RecountReport) -> None:
    out = console()
    table = facts()
    table.add_row("records", f"{report.records:,} in {report.partitions} partitions")
    table.add_row("counted votes", f"{report.votes:,}")
    table.add_row("rows", f"{report.audit_rows:,} counted, {report.rejected_rows:,} rejected")
    table.add_row("leaves", f"{report.leaves:,}")
    table.add_row("checkpoints", f"{report.checkpoints:,}")
    if (last := report.last_checkpoint) is not None:
        signed = f"{last.root.hex()[:16]}, signed {last.statement.at:%Y-%m-%d %H:%M:%S} UTC"
        table.add_row("tree head", signed)
    out.print(table)
    if not report.trusted and report.checkpoints:
        out.print("[yellow]The first key was read from the database;[/] give it with --key.")
    if not report.checkpoints:
        out.print("[yellow]Nothing was signed:[/] `scrutin audit checkpoint` does that.")
    if report.equal:
        out.print("[green]Everything follows from the log.[/]")
        return
    lines = grid("kind", "where", "what")
    for one in report.findings:
        place = [one.table] if one.table else []
        for name in ("partition", "offset", "item", "checkpoint"):
            if (value := getattr(one, name)) is not None:
                place.append(f"{name} {value}")
        lines.add_row(one.kind, plain(", ".join(place)), plain(one.what))
    out.print(lines)
    out.print("[bold red]The count is not what follows from the log.[/]")
