"""`scrutin console`."""

from __future__ import annotations

import secrets
from typing import Annotated

import typer

from streams.cli.extras import needs
from streams.cli.processes import become
from streams.cli.show import JsonOption, answer, console
from streams.errors import SettingsError

needs("litestar", "console")
needs("joserfc", "console")


def command(
    *,
    new_key: Annotated[
        str | None,
        typer.Option("--new-key", metavar="NAME", help="Make an operator's key instead."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run the operators' console until SIGTERM: charts, rejected votes, contests, trail.

    The same as `python -m streams.console`. Settings come from environment variables. With
    **--new-key** it prints a key, which is shown only now, and the operator's entry for
    SCRUTIN_CONSOLE_OPERATORS.

    Examples:

        scrutin console --new-key alice

        SCRUTIN_CONSOLE_OPERATORS=alice=0123...:4567... scrutin console
    """
    if new_key is None:
        become("streams.console")
    from streams.console.keys import ENTRY, new_entry  # noqa: PLC0415 - only for a key

    key = secrets.token_urlsafe(32)
    entry = new_entry(new_key, key)
    if ENTRY.match(entry) is None:
        raise SettingsError(
            "This cannot be the name of an operator",
            todo="Use up to 64 letters, digits and . _ - @",
        )
    answer(
        {"name": new_key, "key": key, "entry": entry},
        lambda: console().print(f"key   {key}\nentry {entry}"),
        as_json=as_json,
    )
