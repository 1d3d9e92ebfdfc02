"""Render an election's result for a terminal: seats, rounds, ties, parties."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from streams.cli.show import grid, plain
from streams.elections.definitions import CandidateDefinition
from streams.elections.results import BROKEN_BY, ElectionResult, Seat
from streams.elections.rounds import ALONE, Count, Inactive, Round


def render_result(result: ElectionResult) -> RenderableType:
    """A table for each seat, by round if there are several, and a table of parties."""
    head = plain(f"{result.election.contest}  {result.election.name}")
    head.stylize("bold")
    head.append(f"  {result.ballots:,} ballots", style="not bold")
    if result.blanks:
        head.append(f", {result.blanks:,} blank", style="not bold")
    if result.uncountable:
        head.append(f", {result.uncountable:,} for no candidate", style="not bold yellow")
    eligible = result.election.conduct.eligible
    if eligible:
        head.append(
            f", {_percent(result.ballots, eligible):.2f} % of {eligible:,} voters", style="not bold"
        )
    if result.hidden is not None:
        head.append("  hidden until the closing is final", style="not bold yellow")
        return head
    if result.final:
        head.append("  final", style="not bold green")
    else:
        head.append("  not final: nobody is elected yet", style="not bold yellow")
    parts: list[RenderableType] = [head]
    for seat in result.seats:
        parts += [Text(), *_seat(result, seat)]
    if len(result.seats) > 1 or any(seat.count.seats > 1 for seat in result.seats):
        parts += [Text(), _parties(result)]
    if (commitment := result.election.conduct.seed_commitment) is not None:
        seed = result.election.conduct.seed or "not revealed yet"
        parts += [Text(), _whole(f"seed of the lots: {seed}"), _whole(f"SHA-256: {commitment}")]
    return Group(*parts)


def _percent(votes: int, total: int) -> float:
    """Percentage; 0 if the total is 0."""
    return 100 * votes / total if total else 0.0


def _whole(line: str) -> Text:
    """A line that is copied, and so is not folded."""
    text = plain(line)
    text.no_wrap, text.overflow = True, "ignore"
    return text


def _seat(result: ElectionResult, seat: Seat) -> list[RenderableType]:
    names = {str(c.id): c for c in seat.candidates}
    count, outcome = seat.count, result.outcome(seat)
    title = plain(seat.region.name if seat.region else "all regions")
    title.stylize("bold")
    title.append(f"  {seat.ballots:,} ballots", style="not bold")
    if result.election.conduct.seats is not None:
        title.append(f", {count.seats} {'seat' if count.seats == 1 else 'seats'}", style="not bold")
    # Whom the outcome is about.
    missed = () if count.missed is None else (count.missed,)
    about = count.awaits or count.tied or count.winners or missed
    if count.rounds:
        text = f"  {outcome.replace('_', ' ')}"
        if about:
            text += f": {', '.join(plain(names[name].name).plain for name in about)}"
        title.append(text, style=f"not bold {'green' if outcome == 'elected' else 'yellow'}")
    gone = [
        plain(f"{names[name].name}: {reason}")
        for name, reason in result.withdrawn().items()
        if name in names
    ]
    title = Text("\n").join([title, *gone])
    if not seat.count.rounds:
        return [title]
    notes = [note for one in seat.count.rounds for note in _notes(count, one, names)]
    lists = [_lists(result, seat)] if count.lists else []
    return [title, *lists, _rounds(seat, names), *notes]


def _lists(result: ElectionResult, seat: Seat) -> Table:
    table = grid("List", "Votes", "Seats", "Elected", right=("Votes", "Seats"))
    names = {str(c.id): c.name for c in seat.candidates}
    for each in seat.count.lists:
        alone = names.get(each.name.removeprefix(ALONE), "")
        said = [names[name] for name in each.elected]
        said += ["below the threshold"] if each.below else []
        said += [f"tied for {seat.count.tied_seats}"] if each.tied else []
        table.add_row(
            plain(result.party_of(each) or alone or each.name),
            f"{each.votes:,}",
            str(each.seats),
            plain(", ".join(said)),
        )
    return table


def _rounds(seat: Seat, names: dict[str, CandidateDefinition]) -> Table:
    count, rounds = seat.count, seat.count.rounds
    single = len(rounds) == 1
    heads = ["Votes", "Share"] if single else [f"Round {one.number}" for one in rounds]
    table = grid("Candidate", *heads, right=tuple(heads))
    for name, first in rounds[0].votes:
        cells = []
        for number, one in enumerate(rounds):
            votes = dict(one.votes).get(name)
            gained = dict(rounds[number - 1].transfers).get(name, 0) if number else 0
            more = f" (+{count.text(gained)})" if gained else ""
            cells.append("" if votes is None else f"{count.text(votes)}{more}")
        if single:
            cells.append(f"{_percent(first, rounds[0].active):.2f} %")
        table.add_row(plain(names[name].name), *cells)
    for reason in Inactive:
        counted = [dict(one.inactive).get(reason, 0) for one in rounds]
        if any(counted):
            cells = [count.text(number) for number in counted]
            # The first count of a single choice has a column for shares.
            table.add_row(reason.replace("_", " "), *cells, *[""][:single], style="dim")
    return table


def _notes(count: Count, one: Round, names: dict[str, CandidateDefinition]) -> list[Text]:
    """What happened in a round, a line for each."""

    def named(about: Iterable[str]) -> str:
        return ", ".join(names[name].name for name in about)

    found = []
    tie = one.tie
    how = ""
    if tie is not None:
        by = BROKEN_BY.get(tie.round, f"the votes of round {tie.round}")
        how = f", tied with others ({named(tie.candidates)}), by {by}"
    if one.transfer is not None and one.winners:
        quota = count.text(one.transfer.quota)
        found.append(f"{named(one.winners)} reached a seat; the quota is {quota}")
    if one.transfer is not None and one.transfer.surplus_of is not None:
        found.append(f"the surplus of {named([one.transfer.surplus_of])} goes on{how}")
    if one.eliminated:
        is_or_are = "is" if len(one.eliminated) == 1 else "are"
        found.append(f"{named(one.eliminated)} {is_or_are} eliminated{how}")
    notes = [plain(f"round {one.number}: {text}") for text in found]
    for note in notes:
        note.stylize("dim")
    return notes


def _parties(result: ElectionResult) -> Table:
    seats_head = "Seats" if result.final else "Leads in"
    table = grid("Party", seats_head, "Votes", right=(seats_head, "Votes"))
    for code, votes, seats in result.parties():
        table.add_row(plain(code or "none"), str(seats), f"{votes:,}")
    return table
