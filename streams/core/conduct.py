"""How an election is held: its settings, and facts that become known after the opening; pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Final

import msgspec

from schemas.control import (
    CONDUCT_FACTS,
    Conduct,
    ConductedContest,
    Contest,
    ContestMethod,
    ContestState,
    Lot,
    RankedContest,
    Withdrawal,
    WithdrawnVotes,
)
from streams.core.texts import is_plain
from streams.errors import ScrutinError

MAX_REASON_CHARACTERS: Final = 200
MIN_SEED_CHARACTERS: Final = 20
"""A shorter seed could be found from its commitment by trying all."""
MAX_SEED_CHARACTERS: Final = 1000

_COMMITMENT: Final = re.compile(r"[0-9a-f]{64}")
_SHARE: Final = re.compile(r"[0-9]{1,9}/[0-9]{1,9}")
_OVER: Final = frozenset({ContestState.CLOSED, ContestState.ARCHIVED})


class ConductRefused(ScrutinError):
    """A fact cannot be entered for a contest."""


def conduct_of(contest: Contest) -> Conduct:
    """How a contest is held; without settings if nothing is said about it."""
    return contest.conduct if isinstance(contest, ConductedContest) else Conduct()


def with_conduct(contest: Contest, conduct: Conduct) -> Contest:
    """The contest, held so; in the form that can express it."""
    if isinstance(contest, ConductedContest):
        return msgspec.structs.replace(contest, conduct=conduct)
    if conduct == Conduct():
        return contest
    fields: list[Any] = [
        getattr(contest, name, ContestMethod.SINGLE if name == "method" else None)
        for name in RankedContest.__struct_fields__
    ]
    return ConductedContest(*(*fields, conduct))


def with_facts_of(old: Contest, new: Contest) -> Contest:
    """A new announcement of a contest, with the facts that are known about the old one."""
    facts = {name: getattr(conduct_of(old), name) for name in CONDUCT_FACTS}
    return with_conduct(new, msgspec.structs.replace(conduct_of(new), **facts))


def without_facts(contest: Contest) -> Contest:
    """The contest as it was announced."""
    conduct = conduct_of(contest)
    settings = {
        name: getattr(conduct, name)
        for name in Conduct.__struct_fields__
        if name not in CONDUCT_FACTS
    }
    return with_conduct(contest, Conduct(**settings))


def commitment_to(seed: str) -> str:
    """What is published of a seed before it is revealed: `printf '%s' SEED | sha256sum`."""
    return hashlib.sha256(seed.encode()).hexdigest()


def share_of(text: str) -> str:
    """A share in lowest terms, from `1/4`, `25%`, `33.3 %` or `0.25`.

    Raises:
        ValueError: it is none, or not more than nothing and at most the whole.
    """
    number = text.strip().removesuffix("%").strip()
    share = Fraction(number) / (100 if "%" in text else 1)
    if not 0 < share <= 1 or share.denominator >= 10**9:
        raise ValueError(f"{text!r} is no share such as 1/4 or 25%")
    return f"{share.numerator}/{share.denominator}"


def reaches(number: int, share: str, whole: int) -> bool:
    """Whether a number is at least a share of the whole."""
    return number >= Fraction(share) * whole


def conduct_fault(conduct: Conduct, choices: Sequence[str] | None) -> str | None:
    """What is wrong with how a contest is held, for people; None if nothing is."""
    for name in ("turnout_quorum", "winner_quorum"):
        share = getattr(conduct, name)
        if share is not None and is_no_share(share):
            return f"{name} is {share!r}, which is no share such as 1/4"
    if conduct.withdrawn_votes not in set(WithdrawnVotes):
        return f"withdrawn_votes is {conduct.withdrawn_votes!r}; use {', '.join(WithdrawnVotes)}"
    if conduct.eligible is not None and not 0 < conduct.eligible < 2**63:
        return f"eligible is {conduct.eligible}; use the number of voters on the roll"
    return _seed_fault(conduct) or _choices_fault(conduct, frozenset(choices or ()))


def is_no_share(text: str) -> bool:
    """Whether a text is no share in lowest terms, such as `1/4`."""
    if not _SHARE.fullmatch(text):
        return True
    try:
        return share_of(text) != text
    except (ValueError, ZeroDivisionError):
        return True


def _seed_fault(conduct: Conduct) -> str | None:
    commitment, seed = conduct.seed_commitment, conduct.seed
    if commitment is not None and not _COMMITMENT.fullmatch(commitment):
        return "seed_commitment is no SHA-256 in hexadecimal"
    if seed is not None and (commitment is None or commitment_to(seed) != commitment):
        return "the seed is not the one of its commitment"
    return None


def _choices_fault(conduct: Conduct, choices: frozenset[str]) -> str | None:
    write_in = conduct.undeclared_write_in
    if write_in is not None and write_in not in choices:
        return f"undeclared_write_in is {write_in!r}, which is not one of the choices"
    gone = [each.choice for each in conduct.withdrawn]
    if len(set(gone)) < len(gone) or not choices.issuperset(gone):
        return "a withdrawn candidate does not stand, or is withdrawn twice"
    if any(
        len(each.reason) > MAX_REASON_CHARACTERS or not is_plain(each.reason, joiners=True)
        for each in conduct.withdrawn
    ):
        return f"a reason is one line of up to {MAX_REASON_CHARACTERS} characters that are seen"
    kinds = [(frozenset(lot.tied), lot.elects) for lot in conduct.lots]
    if len(set(kinds)) < len(kinds):
        return "a lot is drawn twice"
    for lot in conduct.lots:
        if len(set(lot.tied)) < 2 or not choices.issuperset(lot.tied) or lot.drawn not in lot.tied:
            return "a lot is not between two or more candidates, of whom one is drawn"
    return None


def conduct_may_become(old: Conduct, new: Conduct, state: str) -> bool:
    """Whether a command may change how an open or closed contest is held.

    Settings stay. Of the facts, candidates withdraw and a seed is committed to before the closing;
    the seed is revealed and lots are drawn after it. What is known does not change any more.
    """
    over = state in _OVER
    may_be_added = {"eligible", *(("seed", "lots") if over else ("seed_commitment", "withdrawn"))}
    for name in Conduct.__struct_fields__:
        before, after = getattr(old, name), getattr(new, name)
        if before == after:
            continue
        begins_as_before = isinstance(before, tuple) and after[: len(before)] == before
        if name not in may_be_added or not (before is None or begins_as_before):
            return False
    return True


def withdraw(contest: Contest, choice: str, reason: str) -> Contest:
    """Mark a candidate as withdrawn or dead.

    Raises:
        ConductRefused: the contest is not open, or the candidate does not stand.
    """
    conduct = conduct_of(contest)
    if contest.state != ContestState.OPEN:
        raise _refused(
            contest,
            f"It is {contest.state}",
            "Before the opening import its candidates again; after the closing nothing changes",
        )
    if any(each.choice == choice for each in conduct.withdrawn):
        return contest
    known = (*conduct.withdrawn, Withdrawal(choice, reason))
    return _changed(contest, {"withdrawn": known})


def draw_lot(contest: Contest, tied: Sequence[str], drawn: str, *, elects: bool) -> Contest:
    """Enter a lot that officials drew.

    Raises:
        ConductRefused: the contest is not closed, or has no lots by hand; or the lot is not
            between its candidates, or another one was drawn between them.
    """
    conduct = conduct_of(contest)
    if contest.state not in _OVER:
        raise _refused(contest, f"It is {contest.state}", "Close it first")
    if not conduct.lots_by_hand:
        raise _refused(
            contest, "Its lots are not drawn by hand", "The rule is lots_by_hand, before opening"
        )
    lot = Lot(tuple(sorted(set(tied))), drawn, elects)
    if lot in conduct.lots:
        return contest
    return _changed(contest, {"lots": (*conduct.lots, lot)})


def commit_seed(contest: Contest, commitment: str) -> Contest:
    """Publish the SHA-256 of the seed of the lots.

    Raises:
        ConductRefused: the contest is over, or has another commitment.
    """
    if contest.state in _OVER:
        raise _refused(contest, f"It is {contest.state}", "A seed is committed to before that")
    return _known_once(contest, "seed_commitment", commitment.strip().lower())


def reveal_seed(contest: Contest, seed: str) -> Contest:
    """Reveal the seed of the lots.

    Raises:
        ConductRefused: the contest is not closed, or this is not the seed of its commitment.
    """
    if contest.state not in _OVER:
        raise _refused(contest, f"It is {contest.state}", "Close it first")
    return _known_once(contest, "seed", seed)


def enter_eligible(contest: Contest, number: int) -> Contest:
    """Enter how many voters are on the roll.

    Raises:
        ConductRefused: another number is known.
    """
    return _known_once(contest, "eligible", number)


def _known_once(contest: Contest, name: str, value: Any) -> Contest:
    before = getattr(conduct_of(contest), name)
    if before is not None and before != value:
        raise _refused(contest, f"Another {name} is known", "It does not change any more")
    return _changed(contest, {name: value})


def _changed(contest: Contest, facts: dict[str, Any]) -> Contest:
    conduct = msgspec.structs.replace(conduct_of(contest), **facts)
    if fault := conduct_fault(conduct, contest.choices):
        raise _refused(contest, f"It is not possible: {fault}", "See docs/elections.md")
    return with_conduct(contest, conduct)


def _refused(contest: Contest, what: str, todo: str) -> ConductRefused:
    return ConductRefused(what, where={"contest": contest.id}, todo=todo)
