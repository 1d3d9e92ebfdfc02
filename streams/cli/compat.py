"""`scrutin compat`: recorded conversations of the replaced systems' clients, played."""

from __future__ import annotations

from typing import Annotated

import typer

from streams.cli.contest.confirm import YesOption
from streams.cli.show import JsonOption, console, grid, plain, run, write_json
from streams.compat.player import PlayedOutcome, Player
from streams.compat.recordings import SYSTEMS, recordings
from streams.errors import ExitCode
from streams.settings.build import deployment_config
from streams.settings.load import load_settings


def register(app: typer.Typer) -> None:
    """Add `scrutin compat`."""
    app.command("compat")(command)


def command(
    url: Annotated[
        str, typer.Argument(metavar="URL", help="Of the API, such as http://localhost:8000.")
    ],
    systems: Annotated[
        list[str] | None, typer.Argument(help=f"Of {', '.join(SYSTEMS)}; default all.")
    ] = None,
    *,
    given: Annotated[
        list[str] | None,
        typer.Option("--set", help="NAME=VALUE that a recording needs, such as an election's id."),
    ] = None,
    services: Annotated[
        bool,
        typer.Option(
            "--services",
            help="Play messages, queues, rolls, channels and queries too, at the services of the"
            " settings.",
        ),
    ] = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Play recorded conversations of the replaced systems' clients against a test deployment.

    It votes, creates polls and starts tallies: never play it where real votes are counted. A
    recording that needs something which was not given is named and left out.

    Exit code 3: an answer differs from the recorded one.

    Example: `scrutin compat http://localhost:8000 vote_counting polls --services --yes`
    """
    wanted = systems or list(SYSTEMS)
    if unknown := sorted(set(wanted) - set(SYSTEMS)):
        raise typer.BadParameter(f"{unknown[0]!r} is not one of {', '.join(SYSTEMS)}")
    variables = dict(_pair(each) for each in given or [])
    if not yes:
        typer.confirm(f"This votes at {url}. Is that a test deployment?", abort=True)
    player = Player(url, variables, deployment_config(load_settings()) if services else None)
    outcomes = run(_play(player, wanted))
    if as_json:
        write_json(
            [
                {
                    "recording": one.name,
                    "title": one.title,
                    "steps": one.played,
                    "left_out": one.left_out,
                    "differences": one.differences,
                }
                for one in outcomes
            ]
        )
    else:
        _show(outcomes)
    if not all(one.same for one in outcomes):
        raise typer.Exit(ExitCode.DIFFERENT)


async def _play(player: Player, systems: list[str]) -> list[PlayedOutcome]:
    return [
        await player.play(name, recording)
        for system in systems
        for name, recording in recordings(system).items()
    ]


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE")
    return name, value


def _show(outcomes: list[PlayedOutcome]) -> None:
    table = grid("recording", "steps", "", right=("steps",))
    for one in outcomes:
        if not one.same:
            said = "\n".join(one.differences)
        elif one.left_out:
            said = f"not played further: {one.left_out}" if one.played else one.left_out
        else:
            said = "same"
        table.add_row(plain(one.name), str(one.played), plain(said))
    console().print(table)
