"""The result of a contest, and votes over time, as pictures (SVG) for reports and previews. Pure.

Every picture has the size that previews of links want. Nothing in it is a style or a script, so it
may be shown as a page too.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from html import escape
from typing import Final

from streams.core.texts import seen_of
from streams.elections.contest_result import ChoiceResult, ContestResult, elects

WIDTH: Final = 1200
HEIGHT: Final = 630
MAX_ROWS: Final = 12
"""Choices that are drawn by name; the others are one bar."""
MAX_LINES: Final = 8
"""Choices that have a line of their own over time; the others are one line."""

_EDGE: Final = 48
_TOP: Final = 170
"""Where bars and lines begin."""
_BOTTOM: Final = 560
_AXIS: Final = 530
"""Where lines end; the times are below."""
_NAMES: Final = 340
"""Width of the names at the left of bars."""
_FIGURES: Final = 300
"""Width of the figures at their right."""
_COLOR: Final = re.compile(r"#[0-9A-Fa-f]{6}")
_COLORS: Final = (
    *("#3366aa", "#d1495b", "#2e8b57", "#b8860b", "#7b52ab", "#008b8b", "#c2571a", "#5a6b2f"),
)
_INK: Final = "#1b1f24"
_PALE: Final = "#5d6670"


@dataclass(frozen=True)
class DrawingWords:
    """What a picture says beside names and figures; files of languages have it as `pictures`."""

    phases: Mapping[str, str]
    leading: str
    elected: str
    most: str
    """First of a law or a poll that is final."""
    tied: str
    withdrawn: str
    votes: str
    one_vote: str
    others: str
    """Has the place of a number."""
    seats: str
    turnout: str
    hidden: str
    no_votes: str
    as_of: str
    signed: str
    unsigned: str
    over_time: str
    thousands: str
    decimal: str
    percent: str


ENGLISH: Final = DrawingWords(
    phases={
        "announced": "Announced",
        "voting": "Voting is open",
        "counting": "Closed, counting",
        "final": "Final result",
        "not_enforced": "Closed, not enforced",
        "unannounced": "Not announced",
    },
    leading="leading",
    elected="elected",
    most="most votes",
    tied="tied",
    withdrawn="withdrawn",
    votes="{} votes",
    one_vote="{} vote",
    others="{} others",
    seats="seats: {}",
    turnout="turnout {}",
    hidden="Counts are hidden until the result is final",
    no_votes="No votes yet",
    as_of="As of {} UTC",
    signed="signed checkpoint {}: {}",
    unsigned="no signed checkpoint",
    over_time="Votes over time",
    thousands=",",
    decimal=".",
    percent=" %",
)


@dataclass(frozen=True)
class Bar:
    """One bar of a picture."""

    name: str
    votes: int
    share: float | None
    color: str
    note: str = ""
    """A word on its state."""
    several: bool = False
    """It adds up several choices, so its length would say nothing beside theirs."""


def drawing_of(result: ContestResult, words: DrawingWords = ENGLISH) -> str:
    """The result as a picture."""
    found = bars(result, words)
    return _picture(result, words, "", _bars(found, words) if found else _nothing(result, words))


def timeline_drawing(
    result: ContestResult,
    steps: Sequence[tuple[datetime, Mapping[str, int]]],
    step_s: int,
    words: DrawingWords = ENGLISH,
) -> str:
    """Votes over time as a picture, added up from the first step.

    Args:
        result: of the contest, for names and state.
        steps: when each step with votes begins, and the votes in it by choice; in order.
        step_s: width of a step in seconds.
        words: of the picture.
    """
    drawn = _lines(result, steps, step_s, words) if steps else _nothing(result, words)
    return _picture(result, words, words.over_time, drawn)


def bars(result: ContestResult, words: DrawingWords) -> list[Bar]:
    """The bars of a result: its choices, or else its parties, or else who leads in each region."""
    if result.choices:
        if not elects(result):
            words = replace(words, elected=words.most)
        return _bounded([_choice_bar(one, words) for one in result.choices], words)
    total = sum(party.votes for party in result.parties)
    parties = [
        Bar(
            party.name or party.code or "-",
            party.votes,
            party.votes / total if total else None,
            _safe(party.color),
            words.seats.format(party.seats) if party.seats else "",
        )
        for party in result.parties
    ]
    if any(party.code for party in result.parties):
        return _bounded(parties, words)
    regions = [(one, next(iter(one.choices), None)) for one in result.seats.values()]
    first = [
        Bar(f"{seat.region or ''}: {one.name}", one.votes, one.share, _safe(one.color), note)
        for seat, one in regions
        if one is not None
        for note in [_note(one, words)]
    ]
    return _bounded(sorted(first, key=lambda bar: (-bar.votes, bar.name)), words)


def _choice_bar(one: ChoiceResult, words: DrawingWords) -> Bar:
    return Bar(one.name, one.votes, one.share, _safe(one.color), _note(one, words))


def _note(one: ChoiceResult, words: DrawingWords) -> str:
    if one.withdrawn is not None:
        return words.withdrawn
    if one.elected or one.leading:
        return words.elected if one.elected else words.leading
    return words.tied if one.tied else ""


def _bounded(found: list[Bar], words: DrawingWords) -> list[Bar]:
    if len(found) <= MAX_ROWS:
        return found
    shown, rest = found[: MAX_ROWS - 1], found[MAX_ROWS - 1 :]
    shares = [bar.share for bar in rest if bar.share is not None]
    others = words.others.format(number(len(rest), words))
    votes = sum(bar.votes for bar in rest)
    return [*shown, Bar(others, votes, sum(shares) if shares else None, "", several=True)]


def _safe(color: str | None) -> str:
    return color if color is not None and _COLOR.fullmatch(color) else _COLORS[0]


def number(value: int, words: DrawingWords) -> str:
    """A whole number with its thousands apart."""
    return f"{value:,}".replace(",", words.thousands)


def percent(share: float, words: DrawingWords) -> str:
    """A share, from 0 to 1, in one decimal place."""
    return f"{100 * share:.1f}".replace(".", words.decimal) + words.percent


def shortened(text: str, places: int) -> str:
    """A text in at most so many places of a line; letters of East Asia take two."""
    line = seen_of(text)
    taken = 0
    for place, letter in enumerate(line):
        wide = unicodedata.east_asian_width(letter) in "WF"
        taken += 0 if unicodedata.combining(letter) else 1 + wide
        if taken > places:
            return f"{line[: place - 1]}…"
    return line


def _text(
    x: float,
    y: float,
    words: str,
    size: float,
    *,
    color: str = _INK,
    anchor: str = "start",
    bold: bool = False,
) -> str:
    # A name of the other direction must not reorder the text beside it (Unicode TR 9, isolates).
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" fill="{color}" text-anchor="{anchor}"'
        f"{weight}>\u2068{escape(words)}\u2069</text>"
    )


def _picture(result: ContestResult, words: DrawingWords, about: str, body: Iterable[str]) -> str:
    total = words.one_vote if result.total_votes == 1 else words.votes
    facts = [
        *([about] if about else []),
        words.phases.get(result.phase, result.phase),
        total.format(number(result.total_votes, words)),
    ]
    if result.turnout.share is not None:
        facts.append(words.turnout.format(percent(result.turnout.share, words)))
    signed = result.checkpoint
    proof = (
        words.unsigned
        if signed is None
        else words.signed.format(number(signed.size, words), signed.head[:16])
    )
    title = result.title or result.id
    state = " · ".join(facts)
    foot = f"{words.as_of.format(f'{result.read_at:%Y-%m-%d %H:%M}')} · {proof}"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}"'
            f' viewBox="0 0 {WIDTH} {HEIGHT}" role="img" font-family="DejaVu Sans, Noto Sans,'
            ' Arial, sans-serif">',
            f"<title>{escape(seen_of(title))}</title>",
            f"<desc>{escape(state)}</desc>",
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
            _text(_EDGE, 78, shortened(title, 48), 40, bold=True),
            _text(_EDGE, 124, shortened(state, 90), 24, color=_PALE),
            *body,
            _text(_EDGE, HEIGHT - 28, foot, 18, color=_PALE),
            _text(WIDTH - _EDGE, HEIGHT - 28, "Scrutin", 18, color=_PALE, anchor="end"),
            "</svg>\n",
        ]
    )


def _nothing(result: ContestResult, words: DrawingWords) -> list[str]:
    text = words.hidden if result.hidden else words.no_votes
    return [_text(WIDTH / 2, (_TOP + _BOTTOM) / 2, text, 32, color=_PALE, anchor="middle")]


def _bars(found: Sequence[Bar], words: DrawingWords) -> list[str]:
    height = min(64.0, (_BOTTOM - _TOP) / len(found))
    size = min(24.0, height * 0.56)
    # Signs have about 0.6 of their size, digits and blanks of other fonts somewhat more.
    places = int(_NAMES / (size * 0.62))
    small = 0.72
    left, longest = _EDGE + _NAMES + 16, WIDTH - 2 * _EDGE - _NAMES - _FIGURES - 32
    most = max(bar.votes for bar in found if not bar.several)
    drawn = []
    for place, bar in enumerate(found):
        top = _TOP + place * height
        line = top + height / 2 + size * 0.36
        width = longest * bar.votes / most if most else 0
        share = "" if bar.share is None else f" · {percent(bar.share, words)}"
        figures = f"{number(bar.votes, words)}{share}"
        name, bold = shortened(bar.name, places), bool(bar.note)
        if name != seen_of(bar.name):
            name = shortened(bar.name, int(places / small))
            drawn.append(_text(_EDGE, line, name, size * small, bold=bold))
        else:
            drawn.append(_text(_EDGE, line, name, size, bold=bold))
        drawn.append(_text(left + longest + 16, line, figures, size))
        if bar.several:
            continue
        drawn += [
            f'<rect x="{left}" y="{top + height * 0.14:g}" width="{longest}"'
            f' height="{height * 0.72:g}" fill="#eef0f2"/>',
            f'<rect x="{left}" y="{top + height * 0.14:g}" width="{width:.1f}"'
            f' height="{height * 0.72:g}" fill="{bar.color}"/>',
        ]
        if bar.note:
            note = _text(WIDTH - _EDGE, line, bar.note, size * 0.8, color=_PALE, anchor="end")
            drawn.append(note)
    return drawn


def _lines(
    result: ContestResult,
    steps: Sequence[tuple[datetime, Mapping[str, int]]],
    step_s: int,
    words: DrawingWords,
) -> list[str]:
    known = [*result.choices, *(one for seat in result.seats.values() for one in seat.choices)]
    names = {one.id: one.name for one in known}
    colors = {one.id: one.color for one in known if one.color is not None}
    sums: dict[str, int] = {}
    for _, votes in steps:
        for choice, n in votes.items():
            sums[choice] = sums.get(choice, 0) + n
    ordered = sorted(sums, key=lambda choice: (-sums[choice], choice))
    own = ordered if len(ordered) <= MAX_LINES else ordered[: MAX_LINES - 1]
    groups = [(names.get(choice, choice) or "·", {choice}, choice) for choice in own]
    if rest := set(ordered[len(own) :]):
        groups.append((words.others.format(number(len(rest), words)), rest, ""))
    left, right = _EDGE + 90, WIDTH - _EDGE - _FIGURES
    first, last = steps[0][0], steps[-1][0] + timedelta(seconds=step_s)
    span_s = (last - first).total_seconds()
    most = max(sum(sums[choice] for choice in each) for _, each, _ in groups)

    def down(votes: float) -> float:
        return _AXIS - (_AXIS - _TOP) * votes / most

    drawn = []
    for part in sorted({0, most // 2, most}):
        y = down(part)
        drawn.append(f'<path d="M{left} {y:.1f}H{right}" stroke="#d6dade" stroke-width="1"/>')
        label = number(part, words)
        drawn.append(_text(left - 10, y + 6, label, 18, color=_PALE, anchor="end"))
    for at, anchor, x in ((first, "start", left), (last, "end", right)):
        label = f"{at:%Y-%m-%d %H:%M}"
        drawn.append(_text(x, _AXIS + 24, label, 18, color=_PALE, anchor=anchor))
    for place, (name, choices, choice) in enumerate(groups):
        color = _safe(colors[choice]) if choice in colors else _COLORS[place % len(_COLORS)]
        running, shape = 0, f"M{left} {_AXIS}"
        for at, votes in steps:
            running += sum(votes.get(each, 0) for each in choices)
            passed_s = (at - first).total_seconds() + step_s
            shape += f"L{left + (right - left) * passed_s / span_s:.1f} {down(running):.1f}"
        drawn.append(f'<path d="{shape}" fill="none" stroke="{color}" stroke-width="3"/>')
        y = _TOP + 16 + place * 44
        drawn.append(f'<rect x="{right + 24}" y="{y - 14}" width="16" height="16" fill="{color}"/>')
        drawn.append(_text(right + 50, y, shortened(name, 22), 18))
        drawn.append(_text(right + 50, y + 20, number(running, words), 16, color=_PALE))
    return drawn
