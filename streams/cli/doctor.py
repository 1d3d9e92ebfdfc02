"""`scrutin doctor`: check a deployment, and say how to correct it."""

from __future__ import annotations

import typer
from rich.text import Text

from streams.cli.show import JsonOption, console, grid, plain, run, write_json
from streams.errors import ExitCode
from streams.inspect.checks import Check, CheckStatus, count
from streams.settings.build import doctor_config
from streams.settings.load import load_settings

_MARKS = {
    CheckStatus.OK: Text("✔", style="green"),
    CheckStatus.WARNING: Text("!", style="bold yellow"),
    CheckStatus.FAILURE: Text("✘", style="bold red"),
}


def command(*, as_json: JsonOption = False) -> None:
    """Check every service, topic and queue, the schema and this host, and suggest corrections.

    Changes nothing. Exit 0 also with warnings; 11 if a service does not answer; 1 if another check
    fails.

        scrutin doctor --json | jq '.checks[] | select(.status != "ok")'
    """
    # Loads every driver, which takes longer than most commands run.
    from streams.inspect.doctor import examine  # noqa: PLC0415

    checks = run(examine(doctor_config(load_settings())))
    if as_json:
        write_json(
            {
                "warnings": count(checks, CheckStatus.WARNING),
                "failures": count(checks, CheckStatus.FAILURE),
                "checks": [check.as_dict() for check in checks],
            }
        )
    else:
        _show(checks)
    if any(check.unavailable for check in checks):
        raise typer.Exit(ExitCode.SERVICE_UNAVAILABLE)
    if count(checks, CheckStatus.FAILURE):
        raise typer.Exit(ExitCode.FAILED)


def _show(checks: list[Check]) -> None:
    table = grid("", "Service", "Check", "Finding")
    previous = ""
    for check in checks:
        finding = plain(check.detail)
        if check.status is not CheckStatus.OK:
            finding.stylize("yellow" if check.status is CheckStatus.WARNING else "red")
            finding.append_text(Text("\n→ ", style="dim")).append_text(plain(check.todo))
        service = "" if check.service == previous else check.service
        previous = check.service
        table.add_row(_MARKS[check.status], service, plain(check.name), finding)
    out = console()
    out.print(table)
    failures, warnings = count(checks, CheckStatus.FAILURE), count(checks, CheckStatus.WARNING)
    if not failures and not warnings:
        out.print("\n[green]All checks passed.[/]")
        return
    out.print(f"\n{_number(failures, 'failure')}, {_number(warnings, 'warning')}.")


def _number(count_: int, what: str) -> str:
    return f"{count_} {what}{'' if count_ == 1 else 's'}"
