"""Forms and answers of the polls, and the checks of forms."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from typing import Final

import msgspec

from streams.core.dates import parse_begin, parse_end
from streams.core.polls import MAX_NAME_CHARACTERS, Who, is_number
from streams.core.texts import is_plain
from streams.gateway.poll_store import Proof, Wanted
from streams.gateway.problems import Problem

MAX_TITLE: Final = 50
MAX_DESCRIPTION: Final = 500
MAX_OPTION: Final = 255


class OptionForm(msgspec.Struct):
    """An option of a new poll."""

    text: str


class PollForm(msgspec.Struct):
    """A new poll."""

    title: str = ""
    creator_name: str = ""
    end_time: str = ""
    """When it closes: ISO 8601; a date alone is the end of that day, and a time without an offset
    is local to `SCRUTIN_TIME_ZONE`."""
    options: list[OptionForm] = []
    description: str = ""
    opens_at: str | None = None
    """When it opens. If absent, a new poll opens at once, and an edited one keeps its time."""
    who: str | None = None
    """Who may vote: `name`, `cookie`, `key` or `roll`. If absent, a new poll has `name`, and an
    edited one keeps what it has."""


class BallotForm(msgspec.Struct):
    """A vote in a poll."""

    poll_id: int | str
    option_id: int | str
    voter_name: str | None = None
    """In polls by name."""
    voter_hash: str | None = None
    """In polls for voters on the roll."""


class Option(msgspec.Struct):
    """An option with its votes."""

    id: int
    text: str
    vote_count: int
    voted: bool


class Poll(msgspec.Struct, omit_defaults=True):
    """A poll with its votes."""

    id: int
    title: str
    created_at: datetime
    creator_name: str
    end_time: datetime | None
    opens_at: datetime | None
    options: list[Option]
    has_voted: bool
    state: str
    is_active: bool
    who: str
    total_votes: int
    description: str | None = None
    voted_option_id: int | msgspec.UnsetType | None = msgspec.UNSET
    final: Proof | msgspec.UnsetType | None = msgspec.UNSET
    """Once it is closed: where each partition of the log closed."""
    edit_token: str | msgspec.UnsetType = msgspec.UNSET
    """Only in the answer to its creator: needed to edit or archive it."""


class PollPage(msgspec.Struct):
    """One page of the list."""

    count: int
    next: str | None
    previous: str | None
    results: list[Poll]


class PollMessage(msgspec.Struct):
    """The answer to a voter."""

    message: str
    receipt: str


def checked(form: PollForm, zone: tzinfo = UTC) -> Wanted:
    """The poll that a form asks for.

    Args:
        form: as it came.
        zone: of times without an offset.

    Raises:
        Problem: 400, with the faults of every field.
    """
    faults: dict[str, list[str]] = {}

    def check(name: str, text: str, longest: int, least: int = 1, *, lines: bool = False) -> str:
        try:
            return bounded(name, text.strip(), longest, least, lines=lines)
        except Problem as problem:
            faults.update(problem.faults)
            return ""

    title = check("title", form.title, MAX_TITLE)
    description = check("description", form.description, MAX_DESCRIPTION, 0, lines=True)
    creator = check("creator_name", form.creator_name, MAX_NAME_CHARACTERS)
    options = [check("options", option.text, MAX_OPTION) for option in form.options]
    if not 2 <= len(options) <= 10:
        faults["options"] = ["A poll has 2 to 10 options."]
    elif len(set(options)) < len(options):
        faults.setdefault("options", ["Two options are the same."])
    now_ms = time.time() * 1000
    closes_ms = _time(faults, "end_time", lambda: parse_end(form.end_time, zone))
    opens_ms = None
    if form.opens_at is not None:
        opens_ms = _time(faults, "opens_at", lambda: parse_begin(form.opens_at, zone))
    if closes_ms is not None and closes_ms <= max(now_ms, opens_ms or 0):
        faults["end_time"] = ["The end must be in the future, and after the opening."]
    who = Who.NAME if form.who is None else form.who
    if who not in set(Who):
        faults["who"] = ["Use name, cookie, key or roll."]
    if faults or closes_ms is None:
        raise Problem(400, "The form has faults", faults=faults)
    return Wanted(title, description, creator, options, Who(who), opens_ms, closes_ms)


def _time(faults: dict[str, list[str]], name: str, parse: Callable[[], int | None]) -> int | None:
    why = "A time such as 2026-06-01T20:00:00Z is needed."
    try:
        at_ms = parse()
    except (ValueError, OverflowError) as error:
        at_ms, why = None, f"{why} ({error})"
    if at_ms is None or not 0 < at_ms < 253_402_300_800_000:
        faults[name] = [why]
        return None
    return at_ms


def bounded(name: str, text: str, longest: int, least: int = 1, *, lines: bool = False) -> str:
    if not least <= len(text) <= longest:
        raise fault_of(name, f"must have {least} to {longest} characters")
    if not is_plain(text, joiners=True, lines=lines):
        raise fault_of(name, "must hold no control characters and none without width")
    return text


def storable(text: str | None) -> None:
    if text is not None:
        bounded("query", text, 10_000, 0)


def fault_of(name: str, fault: str) -> Problem:
    return Problem(400, f"{name} {fault}", faults={name: [fault]})


def number_of(given: int | str) -> int | None:
    text = str(given)
    return int(text) if is_number(text) else None
