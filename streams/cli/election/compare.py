"""`scrutin election compare`: a second opinion on an election's count."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from schemas.control import Conduct, ContestMethod, SeatRules
from streams.adapters.postgres.connection import connected
from streams.cli.show import JsonOption, answer, console, plain, run
from streams.cli.values import contest_name
from streams.elections.definitions import METHODS
from streams.elections.results import ElectionResult, Seat, result_of
from streams.elections.rules import PRESETS, read_rules
from streams.elections.second_opinion import (
    OpinionRefused,
    OpinionRound,
    first_difference,
    published_rounds,
    rounds_of,
    rules_of_rctab,
)
from streams.elections.store import named, read_definitions, read_result
from streams.errors import ExitCode, ScrutinError, SettingsError
from streams.settings.load import load_settings


@dataclass(frozen=True)
class _Opinion:
    """The other count of each seat."""

    rounds: list[list[OpinionRound]]
    elected: list[tuple[str, ...]]


def command(
    name: Annotated[
        str,
        typer.Argument(metavar="ELECTION", callback=contest_name, help="Its id, code or contest."),
    ],
    *,
    other: Annotated[
        str,
        typer.Option(
            "--with",
            metavar="FILE",
            help="Rules in JSON, a configuration of RCTab, or a summary of rounds in its form; "
            f"or one of {', '.join(PRESETS)}.",
        ),
    ],
    as_json: JsonOption = False,
) -> None:
    """Count an election's ballots by other rules, and show the first round that differs.

    Or compare the count with the rounds that another program published. Exit 1: a round differs.

    Example: `scrutin election compare 1 --with maine`
    """
    settings = load_settings()
    given: Any = {"preset": other} if other in PRESETS else _read(Path(other))

    async def work() -> ElectionResult:
        async with connected(settings.postgres) as connection:
            definitions = await read_definitions(connection)
            return await read_result(connection, definitions, named(definitions, name))

    ours = run(work())
    if ours.hidden is not None:
        raise ScrutinError("The result may not be known yet", where={"election": name})
    document = compared(ours, given) | {"with": other}
    answer(document, lambda: _show(document), as_json=as_json)
    if not document["same"]:
        sys.exit(ExitCode.FAILED)


def compared(ours: ElectionResult, given: Any) -> dict[str, Any]:
    """A count beside another one: by rules, or as published."""
    opinion = _published(given) or _counted(ours, given)
    if len(opinion.rounds) != len(ours.seats):
        raise OpinionRefused(
            f"It has {len(opinion.rounds)} contests, and the election {len(ours.seats)}",
            todo="Give a list of summaries, one for each region in the order of their ids",
        )
    seats = [
        _seat(seat, rounds, elected)
        for seat, rounds, elected in zip(ours.seats, opinion.rounds, opinion.elected, strict=True)
    ]
    return {
        "election_id": ours.election.id,
        "final": ours.final,
        "same": all(seat["first_difference"] is None for seat in seats),
        "seats": seats,
    }


def _published(given: Any) -> _Opinion | None:
    summaries = given if isinstance(given, list) else [given]
    if not all(isinstance(each, dict) and "results" in each for each in summaries):
        return None
    rounds = [published_rounds(each) for each in summaries]
    return _Opinion(rounds, [tuple(n for one in each for n in one.elected) for each in rounds])


def _counted(ours: ElectionResult, given: Any) -> _Opinion:
    election = ours.election
    rctab = isinstance(given, dict) and isinstance(given.get("rules"), dict)
    try:
        rules, conduct = read_rules(
            rules_of_rctab(given) if rctab else given,
            ranked=METHODS[election.method] == ContestMethod.RANKED,
        )
    except ValueError as error:
        raise SettingsError(str(error)) from error
    # Facts are of the election: who withdrew, lots that were drawn, the seed.
    changed = replace(election, rules=rules, conduct=_with_seats(ours, conduct.seats))
    ballots = [
        (">".join(ranking) or ">", str(seat.place), number)
        for seat in ours.seats
        for ranking, number in seat.box.items()
    ]
    theirs = result_of(ours.definitions, changed, ballots)
    return _Opinion([rounds_of(seat) for seat in theirs.seats], [_names(s) for s in theirs.seats])


def _seat(seat: Seat, rounds: list[OpinionRound], elected: tuple[str, ...]) -> dict[str, Any]:
    found = first_difference(rounds_of(seat), rounds)
    return {
        "region_id": seat.region.id if seat.region else None,
        "region_name": seat.region.name if seat.region else None,
        "rounds": len(seat.count.rounds),
        "other_rounds": len(rounds),
        "elected": _names(seat),
        "other_elected": elected,
        "first_difference": None if found is None else found.as_dict(),
    }


def _names(seat: Seat) -> tuple[str, ...]:
    names = {str(one.id): one.name for one in seat.candidates}
    return tuple(names[name] for name in seat.count.winners)


def _with_seats(ours: ElectionResult, seats: SeatRules | None) -> Conduct:
    conduct = ours.election.conduct
    if seats is None:
        return conduct
    lists = {} if conduct.seats is None else conduct.seats.lists
    return msgspec.structs.replace(conduct, seats=msgspec.structs.replace(seats, lists=lists))


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise OpinionRefused(
            f"The file cannot be read: {error}",
            where={"file": path},
            todo=f"JSON, or one of {', '.join(PRESETS)}",
        ) from error


def _show(document: dict[str, Any]) -> None:
    for seat in document["seats"]:
        where = seat["region_name"] or "all regions"
        found = seat["first_difference"]
        said = "the same in each round" if found is None else f"round {found['round']} differs"
        console().print(plain(f"{where}: {said}"))
        if found is None:
            continue
        for side in ("ours", "theirs"):
            one = found[side]
            text = "the count had ended" if one is None else _round(one)
            console().print(plain(f"  {side}: {text}"))
        for side, names in (("ours", seat["elected"]), ("theirs", seat["other_elected"])):
            console().print(plain(f"  elected by {side}: {', '.join(names) or 'nobody'}"))


def _round(one: dict[str, Any]) -> str:
    votes = ", ".join(f"{name} {number}" for name, number in one["votes"].items())
    said = [votes or "no votes"]
    said += [f"{name} elected" for name in one["elected"]]
    said += [f"{name} eliminated" for name in one["eliminated"]]
    return "; ".join(said)
