"""`scrutin election map`: the map of an election's regions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from streams.adapters.postgres.connection import connected, translated
from streams.cli.show import JsonOption, console, plain, run, write_json
from streams.cli.values import contest_name
from streams.control.trail import note_action, user_of_host
from streams.elections.definitions import Definitions, ElectionDefinition
from streams.elections.maps.geojson import MAX_BYTES, MapRefused, ReadMap, read_map
from streams.elections.store import named, read_definitions, write_map
from streams.errors import SettingsError
from streams.settings.load import load_settings
from streams.settings.model import Settings

PROPERTY: Final = "region_code"
_NAMED: Final = 20
"""Regions and shapes of one line."""


def command(
    election: Annotated[
        str,
        typer.Argument(metavar="ELECTION", callback=contest_name, help="Its id, code or contest."),
    ],
    file: Annotated[
        Path | None,
        typer.Argument(help="GeoJSON: a feature collection of polygons, in WGS 84."),
    ] = None,
    *,
    property_name: Annotated[
        str,
        typer.Option("--property", help="The property of features with the region's code."),
    ] = PROPERTY,
    remove: Annotated[bool, typer.Option("--remove", help="Show no map any more.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show a map of the regions on the election's page, from a GeoJSON file.

    The file is simplified until it is small enough for a phone. Regions without a shape and shapes
    without a region are named, and left out of the map. It can be loaded again at any time.

    Example: `scrutin election map 1 regions.geojson --property code`
    """
    if (file is None) is not remove:
        raise SettingsError("It is not clear what to do", todo="Name a file, or --remove")
    settings = load_settings()
    content = None if file is None else _read(file)
    contest, found = run(_changed(settings, election, content, property_name))
    if as_json:
        write_json(
            {
                "contest_id": contest,
                "drawn": 0 if found is None else found.drawn,
                "without_shape": [] if found is None else found.without_shape,
                "without_region": [] if found is None else found.without_region,
                "bytes": 0 if found is None else len(found.document),
            }
        )
    elif found is None:
        console().print(plain(f"{contest} has no map."))
    else:
        _tell(contest, found)


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            # One byte more says that it is too long.
            return opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"The file cannot be read: {error}", where={"file": file}) from error


async def _changed(
    settings: Settings, name: str, content: bytes | None, property_name: str
) -> tuple[str, ReadMap | None]:
    async with connected(settings.postgres) as connection:
        definitions = await read_definitions(connection)
        election = named(definitions, name)
        found = None
        if content is not None:
            found = read_map(content, _regions(definitions, election), property_name)
        where: dict[str, object] = {"contest": election.contest}
        async with translated(where), connection.transaction():
            document = None if found is None else found.document
            if await write_map(connection, election.contest, document):
                action = "map removed" if found is None else "map loaded"
                await note_action(connection, user_of_host(), action, election.contest)
    return election.contest, found


def _regions(definitions: Definitions, election: ElectionDefinition) -> dict[str, int]:
    """Code -> id of the regions in which the election has seats, or of all."""
    stood = {candidate.region_id for candidate in definitions.standing(election.id)}
    regions = definitions.regions.values()
    found = {one.code: one.id for one in regions if one.id in stood or None in stood}
    if not found:
        raise MapRefused(
            "The election has no regions",
            where={"contest": election.contest},
            todo="Import regions and candidates first: `scrutin election import`",
        )
    return found


def _tell(contest: str, found: ReadMap) -> None:
    regions = found.drawn + len(found.without_shape)
    say = console().print
    say(
        plain(
            f"{contest}: {found.drawn} of {regions} regions on the map, "
            f"{len(found.document):,} bytes."
        )
    )
    for what, names in (
        ("Regions without a shape", found.without_shape),
        ("Shapes without a region", found.without_region),
    ):
        if names:
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            say(plain(f"{what}: {', '.join(names[:_NAMED])}{more}"))
