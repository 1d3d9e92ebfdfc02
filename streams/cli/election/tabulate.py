"""`scrutin election tabulate`: counts a ballot file alone, without an election or a service."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from streams.cli.show import JsonOption, answer, console, grid, plain
from streams.core.ranking import OVERVOTE, Ranking, from_text, to_text
from streams.elections.counting import instant_runoff
from streams.elections.files.formats import BallotFormat, digest_of, open_ballots
from streams.elections.files.items import FileBallot, FileLayout, FileRefused, LineAccount
from streams.elections.results import BROKEN_BY
from streams.elections.rounds import DEFAULT_RULES, Count, Inactive, Round, fixed
from streams.elections.rules import PRESETS, read_rules
from streams.elections.seats.contest import count_of
from streams.elections.seats.meek import meek
from streams.elections.seats.scottish import scottish
from streams.errors import SettingsError


class Tabulation(StrEnum):
    """How a file is counted."""

    RUNOFF = "runoff"
    SCOTTISH = "scottish"
    MEEK = "meek"


def command(
    file: Annotated[Path, typer.Argument(help="A ballot file; see `scrutin election ballots`.")],
    *,
    by: Annotated[
        Tabulation, typer.Option(help="Instant run-off, or a single transferable vote.")
    ] = Tabulation.RUNOFF,
    seats: Annotated[
        int | None, typer.Option(min=1, max=999, help="To fill; otherwise as the file says, or 1.")
    ] = None,
    rules: Annotated[
        str, typer.Option(help=f"For the marks of a run-off: {', '.join(PRESETS)}, or JSON.")
    ] = "default",
    lot: Annotated[str, typer.Option(help="Prefix of a candidate's number in the lot.")] = "",
    form: Annotated[
        BallotFormat | None, typer.Option("--format", help="Otherwise by the file's name.")
    ] = None,
    contest: Annotated[
        str | None, typer.Option(help="Id or name of the contest, in a file with several.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Count a ballot file: instant run-off, or the Scottish or Meek's single transferable vote.

    Needs no service. Lines that hold no ballot are counted and named as in
    `scrutin election ballots`.

    Example: `scrutin election tabulate ward5.blt --by scottish`
    """
    reader = open_ballots(file, form, contest)
    layout = reader.layout()
    account, box, known = LineAccount(), Counter[Ranking](), _Numbers(layout)
    for item in reader.items():
        account.add(item)
        if isinstance(item, FileBallot):
            box[known.ranking(item)] += item.number
    if account.refused:
        raise FileRefused(
            f"{account.refused} lines are no ballots",
            where={"file": file},
            todo="`scrutin election ballots ELECTION FILE --dry-run` names them",
        )
    names, standing = known.names, known.standing()
    places = seats or layout.seats or 1
    document: dict[str, Any] = {
        "file": str(file),
        "sha256": digest_of(file),
        "by": str(by),
        "seats": places,
        "ballots": account.ballots,
        "withdrawn": [layout.names[label] for label in sorted(layout.withdrawn)],
    }
    if by == Tabulation.RUNOFF:
        if places > 1:
            raise SettingsError("A run-off fills one seat", todo="Use --by scottish or --by meek")
        count = _runoff(standing, box, rules, lot)
    else:
        method = scottish if by == Tabulation.SCOTTISH else meek
        count = count_of(method(standing, box, places, lot=lot))
    document |= described(count, names)
    document["valid"] = account.ballots - document["blank"] - document["invalid"]
    answer(document, lambda: _show(document), as_json=as_json)


class _Numbers:
    """Candidates of a file by number, in the order of the file, as rankings name them."""

    def __init__(self, layout: FileLayout) -> None:
        self._layout = layout
        self._numbers = {label: str(n) for n, label in enumerate(layout.names, 1)}

    @property
    def names(self) -> dict[str, str]:
        """Number -> name."""
        known = self._layout.names
        return {number: known.get(label, label) for label, number in self._numbers.items()}

    def standing(self) -> list[str]:
        """Numbers of those who did not withdraw."""
        gone = self._layout.withdrawn
        return [number for label, number in self._numbers.items() if label not in gone]

    def ranking(self, ballot: FileBallot) -> Ranking:
        """The ranks of a ballot; a rank of withdrawn candidates only is no gap."""
        ranks: list[list[str]] = []
        for marked in ballot.marks:
            kept = [self._number(each) for each in marked if each not in self._layout.withdrawn]
            if kept or not marked:
                ranks.append(kept)
        return from_text(to_text(ranks))

    def _number(self, label: str) -> str:
        if label == OVERVOTE:
            return label
        return self._numbers.setdefault(label, str(len(self._numbers) + 1))


def _runoff(standing: list[str], box: Counter[Ranking], rules: str, lot: str) -> Count:
    try:
        read, _ = read_rules(rules, ranked=True)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    return instant_runoff(standing, box, rules=read or DEFAULT_RULES, lot=lot)


def described(count: Count, names: dict[str, str]) -> dict[str, Any]:
    """A count with the names of candidates."""
    invalid = dict(count.rounds[0].inactive).get(Inactive.INFORMAL, 0) if count.rounds else 0
    return {
        "elected": [names[name] for name in count.winners],
        "tied": [names[name] for name in count.tied],
        "blank": count.blank,
        "invalid": invalid // 10**count.places,
        "stages": [_stage(count, one, names) for one in count.rounds],
    }


def _stage(count: Count, one: Round, names: dict[str, str]) -> dict[str, Any]:
    def text(number: int) -> str:
        return fixed(number, count.places)

    transfer, tie = one.transfer, one.tie
    # Papers that are invalid were never part of a transferable vote.
    without = one.exhausted if transfer is None else dict(one.inactive)[Inactive.CHOICES]
    winners = one.winners or tuple(filter(None, [one.elected]))
    stage: dict[str, Any] = {
        "stage": one.number,
        "votes": {names[name]: text(votes) for name, votes in one.votes},
        "non_transferable": text(without),
        "elected": [names[name] for name in winners],
        "excluded": [names[name] for name in one.eliminated],
        "tied": [] if tie is None else [names[name] for name in tie.candidates],
        "broken_by": None if tie is None else BROKEN_BY.get(tie.round, f"stage {tie.round}"),
    }
    if transfer is not None:
        giver = transfer.surplus_of
        stage |= {
            "quota": text(transfer.quota),
            "surplus_of": None if giver is None else names[giver],
            "keep_factors": {names[name]: text(kept) for name, kept in transfer.keep_factors},
        }
    return stage


def _show(document: dict[str, Any]) -> None:
    stages = document["stages"]
    heads = [f"Stage {one['stage']}" for one in stages]
    table = grid("Candidate", *heads, right=tuple(heads))
    for name in stages[0]["votes"] if stages else ():
        table.add_row(plain(name), *(one["votes"].get(name, "") for one in stages))
    table.add_row("not transferable", *(one["non_transferable"] for one in stages), style="dim")
    console().print(table)
    for one in stages:
        events = [f"{', '.join(one['elected'])} elected"] if one["elected"] else []
        if one.get("surplus_of"):
            events.append(f"surplus of {one['surplus_of']} goes on")
        events += [f"{name} excluded" for name in one["excluded"]]
        if one["tied"]:
            events.append(f"tied: {', '.join(one['tied'])}")
        console().print(plain(f"stage {one['stage']}: {'; '.join(events) or 'nobody'}"))
    console().print(plain(f"elected: {', '.join(document['elected']) or 'nobody'}"))
