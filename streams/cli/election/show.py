"""Render an election's result for a terminal: seats, rounds, ties, parties."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from streams.cli.show import grid, plain
from streams.elections.definitions import CandidateDefinition
from streams.elections.results import BROKEN_BY, ElectionResult, Seat
from streams.elections.rounds import Inactive, Round
from streams.inspect.results import share


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
            f", {share(result.ballots, eligible):.2f} % of {eligible:,} voters", style="not bold"
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
    if len(result.seats) > 1:
        parts += [Text(), _parties(result)]
    if (commitment := result.election.conduct.seed_commitment) is not None:
        seed = result.election.conduct.seed or "not revealed yet"
        parts += [Text(), _whole(f"seed of the lots: {seed}"), _whole(f"SHA-256: {commitment}")]
    return Group(*parts)


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
    # Whom the outcome is about.
    about = count.awaits or count.tied or tuple(filter(None, [count.elected or count.missed]))
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
    notes = [note for one in seat.count.rounds if (note := _note(one, names)) is not None]
    return [title, _rounds(seat, names), *notes]


def _rounds(seat: Seat, names: dict[str, CandidateDefinition]) -> Table:
    rounds = seat.count.rounds
    single = len(rounds) == 1
    heads = ["Votes", "Share"] if single else [f"Round {one.number}" for one in rounds]
    table = grid("Candidate", *heads, right=tuple(heads))
    for name, first in rounds[0].votes:
        cells = []
        for number, one in enumerate(rounds):
            votes = dict(one.votes).get(name)
            gained = dict(rounds[number - 1].transfers).get(name, 0) if number else 0
            more = f" (+{gained:,})" if gained else ""
            cells.append("" if votes is None else f"{votes:,}{more}")
        if single:
            cells.append(f"{share(first, rounds[0].active):.2f} %")
        table.add_row(plain(names[name].name), *cells)
    for reason in Inactive:
        counted = [dict(one.inactive).get(reason, 0) for one in rounds]
        if any(counted):
            cells = [f"{number:,}" for number in counted]
            # The first count of a single choice has a column for shares.
            table.add_row(reason.replace("_", " "), *cells, *[""][:single], style="dim")
    return table


def _note(one: Round, names: dict[str, CandidateDefinition]) -> Text | None:
    if not one.eliminated:
        return None
    gone = ", ".join(names[name].name for name in one.eliminated)
    text = f"round {one.number}: {gone} {'is' if len(one.eliminated) == 1 else 'are'} eliminated"
    if one.tie is not None:
        how = f"by {BROKEN_BY.get(one.tie.round, f'the votes of round {one.tie.round}')}"
        tied = ", ".join(names[name].name for name in one.tie.candidates)
        text += f", tied with others ({tied}), {how}"
    note = plain(text)
    note.stylize("dim")
    return note


def _parties(result: ElectionResult) -> Table:
    seats_head = "Seats" if result.final else "Leads in"
    table = grid("Party", seats_head, "Votes", right=(seats_head, "Votes"))
    for code, votes, seats in result.parties():
        table.add_row(plain(code or "none"), str(seats), f"{votes:,}")
    return table
