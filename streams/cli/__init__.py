"""The `scrutin` command: one module per group of subcommands, this page wires them."""

from __future__ import annotations

import importlib
import sys

import typer
from rich.console import Console

from streams.errors import ExitCode, ScrutinError

app = typer.Typer(
    name="scrutin",
    help="Run, inspect and prove a Scrutin vote count.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


MODULES = (
    "migrate",
    "demo",
    "results",
    "tables",
    "lag",
    "doctor",
    "settings_cmd",
    "stack",
    "publish",
    "verify",
    "roll",
    "mirror",
)
"""Modules of this package, in the order of `--help`; each has a `register(app)`."""


def _wire() -> None:
    for name in MODULES:
        importlib.import_module(f"streams.cli.{name}").register(app)


def main() -> None:
    """Entry point: turns our errors into one readable message and a named exit code."""
    _wire()
    try:
        app(standalone_mode=True)
    except ScrutinError as error:
        stderr = Console(stderr=True, soft_wrap=True)
        stderr.print(f"[bold red]scrutin:[/] {error}", highlight=False)
        stderr.print(f"[dim]exit {int(error.exit_code)} {error.exit_code.name}[/]")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)
