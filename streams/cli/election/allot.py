"""`scrutin election allot`: seats of party lists from a table of votes, without a service."""

from __future__ import annotations

import csv
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from schemas.control import SeatMethod
from streams.cli.show import JsonOption, answer, console, grid, plain
from streams.cli.table_files import read_csv
from streams.core.conduct import share_of
from streams.core.seats import MAX_SEATS
from streams.elections.seats.lists import ListSeats, allot
from streams.errors import SettingsError

ListMethod = Literal["dhondt", "sainte_lague", "modified_sainte_lague", "hare"]


def command(
    file: Annotated[Path, typer.Argument(help="A CSV file with the columns party and votes.")],
    *,
    by: Annotated[ListMethod, typer.Option(help="How votes become seats.")],
    seats: Annotated[int, typer.Option(min=1, max=MAX_SEATS, help="To fill.")],
    threshold: Annotated[
        str | None, typer.Option(help="Share of the votes that a party needs, such as 5%.")
    ] = None,
    first_divisor: Annotated[
        str, typer.Option(help="Of the modified Sainte-Laguë, such as 1.2.")
    ] = "7/5",
    as_json: JsonOption = False,
) -> None:
    """Give seats to party lists by their votes, and name ties for the last seats.

    Example: `scrutin election allot votes.csv --by dhondt --seats 12 --threshold 5%`
    """
    votes = _votes(file)
    try:
        found = allot(
            votes,
            seats,
            SeatMethod(by),
            threshold=Fraction(share_of(threshold) if threshold else 0),
            first_divisor=Fraction(first_divisor),
        )
    except (ValueError, ZeroDivisionError) as error:
        raise SettingsError(str(error)) from error
    document = {"file": str(file), "by": by, **_described(votes, found)}
    answer(document, lambda: _show(document), as_json=as_json)


def _votes(file: Path) -> dict[str, int]:
    votes: dict[str, int] = {}
    try:
        for number, row in enumerate(read_csv(file), 2):
            party, text = str(row["party"]), str(row["votes"])
            if not party or party in votes or not (text.isascii() and text.isdigit()):
                raise ValueError(f"line {number} is no party with a whole number of votes")
            votes[party] = int(text[:18])
    except (OSError, KeyError, ValueError, csv.Error) as error:
        raise SettingsError(
            f"The file cannot be read: {error}",
            where={"file": file},
            todo="A CSV file with the columns party and votes, each party once",
        ) from error
    return votes


def _described(votes: dict[str, int], found: ListSeats) -> dict[str, Any]:
    return {
        "parties": [
            {
                "party": party,
                "votes": number,
                "seats": found.seats[party],
                "below_threshold": party in found.below,
                "tied": party in found.tied,
            }
            for party, number in votes.items()
        ],
        "awards": [
            {"seat": number, "party": award.name, "by": str(award.by)}
            for number, award in enumerate(found.awards, 1)
        ],
        "tied_seats": found.tied_seats,
    }


def _show(document: dict[str, Any]) -> None:
    table = grid("Party", "Votes", "Seats", "", right=("Votes", "Seats"))
    for one in document["parties"]:
        said = "below the threshold" if one["below_threshold"] else ""
        if one["tied"]:
            said = f"tied for {document['tied_seats']} more"
        table.add_row(plain(one["party"]), f"{one['votes']:,}", str(one["seats"]), said)
    console().print(table)
