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
    CheckStatus.NOT_CHECKED: Text("?", style="bold"),
}
_COLOURS = {
    CheckStatus.WARNING: "yellow",
    CheckStatus.FAILURE: "red",
    CheckStatus.NOT_CHECKED: "dim",
}


def command(*, as_json: JsonOption = False) -> None:
    """Check every service, topic and queue, the schema and this host, and suggest corrections.

    Changes nothing. What could not be checked is marked `?` (`not_checked`) and says why. Exit 0
    also with warnings; 11 if a service does not answer; 1 if another check
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
                "not_checked": count(checks, CheckStatus.NOT_CHECKED),
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
            finding.stylize(_COLOURS[check.status])
        if check.todo:
            finding.append_text(Text("\n→ ", style="dim")).append_text(plain(check.todo))
        service = "" if check.service == previous else check.service
        previous = check.service
        table.add_row(_MARKS[check.status], service, plain(check.name), finding)
    out = console()
    out.print(table)
    failures, warnings = count(checks, CheckStatus.FAILURE), count(checks, CheckStatus.WARNING)
    unknown = count(checks, CheckStatus.NOT_CHECKED)
    if not failures and not warnings and not unknown:
        out.print("\n[green]All checks passed.[/]")
        return
    found = f"{_number(failures, 'failure')}, {_number(warnings, 'warning')}"
    out.print(f"\n{found}, {unknown} not checked.")


def _number(count_: int, what: str) -> str:
    return f"{count_} {what}{'' if count_ == 1 else 's'}"
