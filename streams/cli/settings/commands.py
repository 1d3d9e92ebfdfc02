"""`scrutin settings`: every setting with its meaning and present value."""

from __future__ import annotations

import sys
from itertools import groupby
from typing import Annotated

import typer
from rich.text import Text

from streams.cli.settings.document import current, described, env_example, markdown
from streams.cli.show import JsonOption, console, grid, plain, write_json
from streams.settings.load import load_settings, sources


def command(
    *,
    as_json: JsonOption = False,
    as_env: Annotated[
        bool, typer.Option("--env-example", help="Print the text of .env.example.")
    ] = False,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the table of docs/settings.md.")
    ] = False,
) -> None:
    """Show every setting with its variables, default and present value; passwords stay hidden.

    Values come from the environment, then from a file .env in this folder, then from the TOML
    file SCRUTIN_CONFIG; each is shown with its source.

        scrutin settings --env-example > .env
    """
    if sum((as_json, as_env, as_markdown)) > 1:
        raise typer.BadParameter("choose one of --json, --env-example, --markdown")
    if as_env or as_markdown:
        sys.stdout.write(env_example() if as_env else markdown())
        return
    now, source = load_settings(), sources()
    if as_json:
        write_json(
            [
                {
                    "name": one.field,
                    "group": one.group,
                    "variables": list(one.variables),
                    "default": None if one.secret else one.default,
                    "value": current(now, one),
                    "source": source.get(one.field, "default"),
                    "about": one.about,
                }
                for one in described()
            ]
        )
        return
    table = grid("Variable", "Value", "Meaning")
    # A name that is folded cannot be copied.
    table.columns[0].no_wrap = True
    for title, members in groupby(described(), key=lambda one: one.group):
        table.add_row(Text(title, style="bold cyan"), "", "")
        for one in members:
            value = plain(current(now, one))
            if one.field in source:
                value.stylize("yellow")
                value.append(f"\nfrom {source[one.field]}", style="dim")
                if one.default and not one.secret:
                    value.append(f", default {one.default}", style="dim")
            names = Text(one.variables[0])
            for other in one.variables[1:]:
                names.append(f"\n{other}", style="dim")
            table.add_row(names, value, plain(one.about))
    console().print(table)
