"""Contests and their state changes; pure.

Each function takes the contests as they are and returns the complete new form of those that a
command changes. A command whose effect already holds changes nothing, so it can be repeated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, tzinfo
from typing import Any, Final

import msgspec

from schemas.control import (
    Conduct,
    ConductedContest,
    Contest,
    ContestKind,
    ContestMethod,
    ContestRoll,
    ContestState,
    ElectionContest,
    MajorityOf,
    Overvote,
    RankedContest,
    RankedRules,
    TieBreak,
)
from streams.core.conduct import (
    conduct_fault,
    conduct_may_become,
    conduct_of,
    with_facts_of,
    without_facts,
)
from streams.core.dates import parse_begin, parse_end
from streams.core.file_rows import place_of
from streams.core.keys import ELECTION_PREFIX, MAX_CONTEST_BYTES, is_contest_name
from streams.core.polls import POLL_PREFIX
from streams.core.ranking import SEPARATOR, TOGETHER
from streams.core.seats import seats_fault
from streams.core.texts import is_plain
from streams.errors import ScrutinError

LAW_CHOICES: Final = ("oui", "non")

MAX_TITLE_CHARACTERS: Final = 1000
_ORDER: Final[Mapping[str, int]] = {state: number for number, state in enumerate(ContestState)}
_MAY_CHANGE_WHILE_OPEN: Final = frozenset({"state", "title", "closes_ms"})

_PREFIXES: Final = {
    ContestKind.LAW: "",
    ContestKind.ELECTION: ELECTION_PREFIX,
    ContestKind.POLL: POLL_PREFIX,
}

Contests = Mapping[str, Contest]
"""By id."""


class ContestRefused(ScrutinError):
    """A contest does not allow the change that a command asks for."""


def contest_id(name: str, kind: ContestKind | None = None) -> str:
    """The id that votes carry, from a name with or without its prefix.

    Args:
        name: `C-42`, `election:1`, or `1` with a kind.
        kind: None: by the name's prefix, a law if it has none.
    """
    prefix = _PREFIXES[kind_of(name) if kind is None else kind]
    return name if name.startswith(prefix) else prefix + name


def kind_of(contest: str) -> ContestKind:
    """The kind of a contest, by its id's prefix."""
    if contest.startswith(ELECTION_PREFIX):
        return ContestKind.ELECTION
    return ContestKind.POLL if contest.startswith(POLL_PREFIX) else ContestKind.LAW


def draft(
    name: str,
    *,
    title: str = "",
    choices: Iterable[str] | None = None,
    roll: str = ContestRoll.DEFAULT,
    opens_ms: int | None = None,
    closes_ms: int | None = None,
    method: str = ContestMethod.SINGLE,
    regions: list[str] | None = None,
    rules: RankedRules | None = None,
    conduct: Conduct | None = None,
) -> Contest:
    """A new contest.

    Args:
        name: its id.
        title: shown to people; the id if empty.
        choices: allowed choices; None: `oui` and `non` for a law, anything otherwise.
        roll: a :class:`schemas.control.ContestRoll`.
        opens_ms: when it opens automatically, Unix milliseconds.
        closes_ms: when it closes automatically, Unix milliseconds.
        method: a :class:`schemas.control.ContestMethod`.
        regions: region of each choice; None: choices stand in all regions.
        rules: of a ranked contest.
        conduct: how it is held; None: without any of its settings.

    Raises:
        ContestRefused: the fields are invalid or contradict each other.
    """
    kind = kind_of(name)
    if not name.removeprefix(_PREFIXES[kind]) and kind is not ContestKind.ELECTION:
        raise _refused(name, "A contest has no id", "Name it")
    if not (is_contest_name(name) and is_plain(name)):
        raise _refused(
            name,
            f"An id has 1 to {MAX_CONTEST_BYTES} bytes of text, all of which is seen",
            "Choose another",
        )
    if len(title) > MAX_TITLE_CHARACTERS or not is_plain(title, joiners=True):
        raise _refused(
            name,
            f"A title is one line of up to {MAX_TITLE_CHARACTERS} characters that are seen",
            "Write another",
        )
    if roll not in set(ContestRoll):
        raise _refused(name, f"There is no roll {roll!r}", f"Use {', '.join(ContestRoll)}")
    if choices is None:
        allowed = list(LAW_CHOICES) if kind is ContestKind.LAW else None
    else:
        allowed = list(dict.fromkeys(choices))
        if kind is ContestKind.LAW and not set(allowed) <= set(LAW_CHOICES):
            raise _refused(name, "A law's choices are oui and non", "Leave them out")
        if not all(is_contest_name(each) and is_plain(each, joiners=True) for each in allowed):
            raise _refused(name, "A choice is empty, too long, or not all seen", "Name it")
        if not allowed:
            raise _refused(name, "A contest has no choices", "Name them, or leave them out")
    if opens_ms is not None and closes_ms is not None and closes_ms <= opens_ms:
        raise _refused(name, "It would close before it opens", "Correct the times")
    fields = (name, kind, title or name, ContestState.DRAFT, allowed, roll, opens_ms, closes_ms)
    if rules is not None and (fault := rules_fault(rules, allowed)):
        raise _refused(name, f"Its rules are not possible: {fault}", "See docs/elections.md")
    contest = contest_of(fields, method, regions, rules, conduct)
    if fault := _held_fault(contest):
        raise _refused(name, f"Its rules are not possible: {fault}", "See docs/elections.md")
    return contest


def contest_of(
    fields: Sequence[Any],
    method: str,
    regions: list[str] | None,
    rules: RankedRules | None = None,
    conduct: Conduct | None = None,
) -> Contest:
    """A contest of the kind that can hold its method, regions, rules and conduct.

    Args:
        fields: those of :class:`schemas.control.Contest`, in order.
        method: a :class:`schemas.control.ContestMethod`.
        regions: region of each choice; None: choices stand in all regions.
        rules: of a ranked contest; None: it was announced before there were rules.
        conduct: how it is held; None: without any of its settings.
    """
    if conduct is not None and conduct != Conduct():
        return ConductedContest(*(*fields, method, regions, rules, conduct))
    if rules is not None:
        return RankedContest(*(*fields, method, regions, rules))
    if method == ContestMethod.SINGLE and regions is None:
        return Contest(*fields)
    return ElectionContest(*(*fields, method, regions))


def create(known: Contests, drafts: Iterable[Contest]) -> list[Contest]:
    """Announce contests; a draft may be announced again with other fields.

    Raises:
        ContestRefused: a contest is open or over, and differs.
    """
    changed = []
    for each in drafts:
        old = known.get(each.id)
        new = each if old is None else with_facts_of(old, each)
        if old is None or (old.state == ContestState.DRAFT and old != new):
            changed.append(new)
        elif differing := _differing(old, new):
            raise _refused(
                new.id,
                f"It is {old.state} already, with another {' and another '.join(differing)}",
                "Say what it has now (`scrutin contest list --json`); `scrutin contest extend`"
                " moves its end, all else needs another id",
            )
    return changed


def _differing(old: Contest, new: Contest) -> list[str]:
    """Fields that differ except the state, by the names shown to people."""
    names = {"opens_ms": "opening", "closes_ms": "end", "choices": "list of choices"}
    return [
        names.get(field, field)
        # One may have more fields than the other: see `ElectionContest`.
        for field in max(old.__struct_fields__, new.__struct_fields__, key=len)
        if field != "state" and getattr(old, field, None) != getattr(new, field, None)
    ]


def rules_fault(rules: RankedRules, choices: Sequence[str] | None) -> str | None:
    """What is wrong with rules, for people; None if nothing is."""
    named = {
        "overvote": (rules.overvote, Overvote),
        "majority_of": (rules.majority_of, MajorityOf),
        "tie_break": (rules.tie_break, TieBreak),
    }
    for field, (value, words) in named.items():
        if value not in set(words):
            return f"{field} is {value!r}; use {', '.join(words)}"
    lowest = {"max_skipped_ranks": 0, "max_ranks": 1, "max_rounds": 1, "min_votes": 0}
    for field, least in lowest.items():
        number = getattr(rules, field)
        if number is not None and not least <= number < 2**63:
            return f"{field} is {number}; use {least} or more"
    if any(sign in each for each in choices or () for sign in (SEPARATOR, TOGETHER)):
        return f"a choice has a {SEPARATOR} or {TOGETHER}, which separate ranks"
    write_in = rules.undeclared_write_in
    if write_in is not None and choices is not None and write_in not in choices:
        return f"undeclared_write_in is {write_in!r}, which is not one of the choices"
    return None


def _held_fault(contest: Contest) -> str | None:
    conduct = conduct_of(contest)
    if conduct.revote and contest.kind != ContestKind.ELECTION:
        # A law's voter key does not name the law; updates of polls can add votes only.
        return "revote is for elections"
    return conduct_fault(conduct, contest.choices) or seats_fault(contest)


def is_sound(contest: Contest) -> bool:
    """Whether a contest from the log makes sense; only a forged record has another."""
    election = contest if isinstance(contest, ElectionContest) else None
    if _held_fault(contest) is not None:
        return False
    rules = contest.rules if isinstance(contest, RankedContest) else None
    return (
        is_contest_name(contest.id)
        and contest.state in _ORDER
        and contest.kind in set(ContestKind)
        and contest.roll in set(ContestRoll)
        and (election is None or election.method in set(ContestMethod))
        and (rules is None or rules_fault(rules, contest.choices) is None)
        and (
            election is None
            or election.regions is None
            or contest.choices is None
            or len(election.regions) == len(contest.choices)
        )
    )


def may_become(old: Contest, new: Contest) -> bool:
    """Whether a command may change a contest so: states only go forward.

    Everything may change in a draft. In an open contest only title and closing time may, and
    nothing but the state in one that is over. Facts may become known in both.
    """
    if _ORDER[new.state] < _ORDER[old.state]:
        return False
    if old.state == ContestState.DRAFT:
        return True
    allowed = _MAY_CHANGE_WHILE_OPEN if old.state == ContestState.OPEN else {"state"}
    # One command either closes a contest or adds facts: which facts may be added depends on it.
    facts = conduct_may_become(conduct_of(old), conduct_of(new), old.state)
    return facts and all(
        _field(old, field) == _field(new, field)
        for field in RankedContest.__struct_fields__
        if field not in allowed
    )


def _field(contest: Contest, name: str) -> object:
    # A contest with one choice and no regions may be stored in either form.
    return getattr(contest, name, ContestMethod.SINGLE if name == "method" else None)


def open_now(known: Contests, name: str, now_ms: int) -> list[Contest]:
    """Open a contest.

    Raises:
        ContestRefused: it is over, or its closing time has passed.
    """
    old = existing(known, name)
    if old.state == ContestState.OPEN:
        return []
    if old.state != ContestState.DRAFT:
        raise _refused(name, f"It is {old.state}, and closing is final", "Create another contest")
    if old.closes_ms is not None and old.closes_ms <= now_ms:
        raise _refused(name, "Its closing time has passed", "`scrutin contest extend` it first")
    return [msgspec.structs.replace(old, state=ContestState.OPEN)]


def close_now(known: Contests, name: str) -> list[Contest]:
    """Close a contest permanently.

    Raises:
        ContestRefused: it was never open.
    """
    old = existing(known, name)
    if old.state in {ContestState.CLOSED, ContestState.ARCHIVED}:
        return []
    if old.state == ContestState.DRAFT:
        raise _refused(name, "It is a draft, so there is nothing to close", "Open it first")
    return [msgspec.structs.replace(old, state=ContestState.CLOSED)]


def extend(known: Contests, name: str, closes_ms: int | None, now_ms: int) -> list[Contest]:
    """Move the closing time; None: it closes by command only.

    Raises:
        ContestRefused: it is over, or the new time has passed.
    """
    old = existing(known, name)
    if old.state not in {ContestState.DRAFT, ContestState.OPEN}:
        raise _refused(name, f"It is {old.state}, and closing is final", "Create another contest")
    if closes_ms is not None and closes_ms <= max(now_ms, old.opens_ms or 0):
        raise _refused(
            name, "The closing time has passed, or is before the opening", "Name another"
        )
    new = msgspec.structs.replace(old, closes_ms=closes_ms)
    return [new] if new != old else []


def archive(known: Contests, name: str) -> list[Contest]:
    """Archive a closed contest.

    Raises:
        ContestRefused: it is not closed.
    """
    old = existing(known, name)
    if old.state == ContestState.ARCHIVED:
        return []
    if old.state != ContestState.CLOSED:
        raise _refused(name, f"It is {old.state}", "Close it first")
    return [msgspec.structs.replace(old, state=ContestState.ARCHIVED)]


def due_changes(known: Contests, now_ms: int) -> list[Contest]:
    """Scheduled changes: drafts to open and open contests to close.

    A draft that missed its opening and its closing opens first and closes at the next call.
    """
    changed = []
    for old in known.values():
        opens = old.state == ContestState.DRAFT and old.opens_ms is not None
        if opens and old.opens_ms is not None and old.opens_ms <= now_ms:
            changed.append(msgspec.structs.replace(old, state=ContestState.OPEN))
        elif (
            old.state == ContestState.OPEN and old.closes_ms is not None and old.closes_ms <= now_ms
        ):
            changed.append(msgspec.structs.replace(old, state=ContestState.CLOSED))
    return changed


def reset_to_drafts(known: Contests) -> list[Contest]:
    """Make drafts of the contests that are over, at the end of a rehearsal.

    Their times are removed, because times that have passed would open and close them at once. So
    are the facts that became known about them, such as a seed that is no secret any more.
    """
    over = {ContestState.CLOSED, ContestState.ARCHIVED}
    return [
        msgspec.structs.replace(
            without_facts(old), state=ContestState.DRAFT, opens_ms=None, closes_ms=None
        )
        for old in known.values()
        if old.state in over
    ]


def from_table(rows: Iterable[Mapping[str, Any]], zone: tzinfo = UTC) -> list[Contest]:
    """Drafts from the rows of an import file.

    Args:
        rows: each with `id`, and any of `kind`, `title`, `choices` (a list, or text separated by
            commas or bars), `roll`, `opens`, `closes` (see :mod:`streams.core.dates`).
        zone: of times without an offset.

    Raises:
        ContestRefused: names the row.
    """
    drafts = []
    for number, row in enumerate(rows, 1):
        known = {"id", "kind", "title", "choices", "roll", "opens", "closes"}
        try:
            if unknown := sorted(str(name) for name in row if name not in known):
                raise ValueError(f"unknown field {', '.join(unknown)}")
            kind = ContestKind(row["kind"]) if row.get("kind") else None
            drafts.append(
                draft(
                    contest_id(str(row["id"]), kind),
                    title=str(row.get("title") or ""),
                    choices=_choices(row.get("choices")),
                    roll=str(row.get("roll") or ContestRoll.DEFAULT),
                    opens_ms=parse_begin(row.get("opens"), zone),
                    closes_ms=parse_end(row.get("closes"), zone),
                )
            )
        except (KeyError, ValueError, TypeError) as error:
            place, where = place_of(row, "the table", number)
            raise ContestRefused(
                f"{place} is no contest: {error}",
                where=where,
                todo="A contest has id, kind, title, choices, roll, opens and closes; id is needed",
            ) from error
    return drafts


def _choices(value: Any) -> list[str] | None:
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return [part.strip() for part in value.replace("|", ",").split(",") if part.strip()]
    if not isinstance(value, list):
        raise TypeError("choices are a list")
    return [str(choice) for choice in value]


def existing(known: Contests, name: str) -> Contest:
    """A contest that is announced.

    Raises:
        ContestRefused: there is no such contest.
    """
    if name not in known:
        raise _refused(name, "There is no such contest", "See `scrutin contest list`")
    return known[name]


def _refused(name: str, what: str, todo: str) -> ContestRefused:
    return ContestRefused(what, where={"contest": name}, todo=todo)
