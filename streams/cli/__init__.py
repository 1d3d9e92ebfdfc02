"""The `scrutin` command: one module or folder per command, attached here."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from streams.cli.extras import attach_missing, not_installed, provider
from streams.cli.values import check_arguments
from streams.errors import ExitCode, ScrutinError

app = typer.Typer(
    name="scrutin",
    help="Run, inspect and prove a Scrutin vote count.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


GROUPS = {
    "Run": {
        "worker": "processes.worker",
        "bridge": "processes.bridge",
        "gateway": "processes.gateway",
        "console": "processes.console",
        "stack": "stack",
        "demo": "demo.commands",
    },
    "Look": {
        "results": "results",
        "top": "top",
        "lag": "lag",
        "doctor": "doctor",
        "tables": "tables.commands",
        "settings": "settings.commands",
        "schema": "schema",
        "version": "version",
    },
    "Hold elections": {
        "contest": "contest.commands",
        "election": "election.commands",
        "roll": "roll.commands",
        "tally": "tally.commands",
        "guardian": "guardian",
        "webhook": "webhook",
    },
    "Rehearse and prove": {
        "vote": "vote",
        "publish": "publish",
        "verify": "verify",
        "audit": "audit.commands",
        "reset": "reset",
    },
    "Set up and repair": {
        "migrate": "migrate",
        "roles": "roles",
        "mirror": "mirror",
        "rebuild": "rebuild",
        "skip": "skip",
        "fresh": "fresh",
    },
    "Replace another system": {
        "adopt": "adopt",
        "compare": "compare",
        "compat": "compat",
    },
}
"""Commands in the order of `--help`, by heading, each with its module in this package.

A module has the group as `app`, or the only command as `command`.
"""
MODULES = {name: module for group in GROUPS.values() for name, module in group.items()}
_HEADINGS = {name: heading for heading, group in GROUPS.items() for name in group}


@app.callback()
def _group() -> None:
    # Keeps the command's name required when only one command is attached.
    pass


def attach(parent: typer.Typer, name: str) -> None:
    """Add a command or a group of commands."""
    module = importlib.import_module(f"streams.cli.{MODULES[name]}")
    if hasattr(module, "app"):
        parent.add_typer(module.app, name=name, rich_help_panel=_HEADINGS[name])
    else:
        options = getattr(module, "OPTIONS", {})
        parent.command(name, rich_help_panel=_HEADINGS[name], **options)(module.command)


def wire(arguments: Sequence[str]) -> None:
    """Attach the requested command only, or all of them for `--help`."""
    requested = arguments[0] if arguments else ""
    for command in [requested] if requested in MODULES else MODULES:
        try:
            attach(app, command)
        except ImportError as error:
            package = provider(error)
            if package is None:
                raise
            attach_missing(app, command, package, _HEADINGS[command])


def main() -> None:
    """Entry point: turns Scrutin's errors into one readable message and a named exit code."""
    try:
        check_arguments(sys.argv[1:])
        wire(sys.argv[1:])
        app(standalone_mode=True)
    except ScrutinError as error:
        _end(error)
    except ImportError as error:
        # Some packages are imported where a command first needs them.
        package = provider(error)
        if package is None:
            raise
        _end(not_installed(sys.argv[1], package))
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)


def _end(error: ScrutinError) -> NoReturn:
    stderr = Console(stderr=True, soft_wrap=True)
    stderr.print(f"[bold red]scrutin:[/] {escape(str(error))}", highlight=False)
    stderr.print(f"[dim]exit {int(error.exit_code)} {error.exit_code.name}[/]")
    sys.exit(error.exit_code)
