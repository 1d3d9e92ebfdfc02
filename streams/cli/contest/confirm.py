"""Ask before a change of a contest that cannot be undone."""

from __future__ import annotations

import sys
from typing import Annotated, Final

import typer

from streams.cli.contest.show import details
from streams.cli.show import run
from streams.errors import SettingsError
from streams.inspect.contests import effects_of
from streams.settings.model import Settings

YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; for programs.")]

_STATES: Final = {"close": {"open"}, "archive": {"closed", "not_enforced"}}
"""In any other state the command changes nothing, or says why it cannot."""


def ask(settings: Settings, name: str, verb: str, *, yes: bool) -> None:
    """Show what a command will do to a contest, and ask whether to go on.

    Args:
        settings: where the contest is.
        name: its id.
        verb: `close` or `archive`.
        yes: do not ask.

    Raises:
        SettingsError: nobody is there to answer.
        typer.Exit: the answer is no.
    """
    if yes:
        return
    [one] = run(details(settings, [name]))
    if one["state"] not in _STATES[verb]:
        return
    sure(" ".join(effects_of(one, verb)), yes=False)


def sure(text: str, *, yes: bool) -> None:
    """Ask whether to go on.

    Raises:
        SettingsError: nobody is there to answer.
        typer.Exit: the answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise SettingsError(
            f"{text} Standard input is no terminal, so nobody can answer",
            todo="Give --yes to go on without the question; nothing was changed",
        )
    if not typer.confirm(text, err=True):
        typer.echo("Nothing was changed.", err=True)
        raise typer.Exit(1)
