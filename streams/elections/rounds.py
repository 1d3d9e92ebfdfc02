"""Values of a count: its rounds, what broke ties, and what it says about the seat."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Final

from schemas.control import RankedRules

BY_LOT: Final = 0
"""Instead of a round number: no earlier round broke the tie."""
BY_LIST: Final = -1
"""Instead of a round number: the order of the list broke the tie."""
BY_HAND: Final = -2
"""Instead of a round number: officials drew the lot."""

ALONE: Final = "candidate:"
"""Before a candidate's id: the list of a candidate without a party."""

DEFAULT_RULES: Final = RankedRules()


class Outcome(StrEnum):
    """What a count says about a seat."""

    ELECTED = "elected"
    LEADING = "leading"
    """Would be elected, but the result is not final."""
    NOBODY = "nobody"
    """No ballot counts for anybody who can be elected."""
    TIED = "tied"
    """Several have the most votes, and no rule decides between them."""
    VACANT = "seat_vacant"
    """A candidate who withdrew or died would be elected."""
    LOT_NEEDED = "lot_needed"
    """Officials have not entered the lot that the count needs."""
    SEED_NEEDED = "seed_needed"
    """The count needs a lot, and its seed is not revealed."""
    NO_QUORUM = "quorum_not_reached"
    """Who would be elected, or the whole election, has too few votes."""
    ELIGIBLE_NEEDED = "eligible_voters_needed"
    """The quorum is a share of the eligible voters, whose number is not known."""
    HIDDEN = "hidden"
    """Until the closing is final."""


class Inactive(StrEnum):
    """Why a ballot counts for no candidate."""

    BLANK = "blank"
    """It has no mark."""
    INFORMAL = "informal"
    """It does not rank all candidates, where the rules ask for that."""
    OVERVOTE = "overvote"
    """Several candidates at the rank that would count."""
    SKIPPED = "skipped_ranks"
    """Too many ranks without a mark before the next one."""
    REPEATED = "repeated"
    """A candidate at a second rank, where that exhausts a ballot."""
    CHOICES = "exhausted_choices"
    """All candidates on it are eliminated, or withdrew."""
    WITHDRAWN = "withdrawn"
    """Its only choice is a candidate who withdrew or died."""


@dataclass(frozen=True)
class Tie:
    """Candidates tied for the fewest votes, and what broke the tie."""

    candidates: tuple[str, ...]
    round: int
    """The earlier round whose votes decided; :data:`BY_LOT`, :data:`BY_HAND` or :data:`BY_LIST` if
    none did."""


@dataclass(frozen=True)
class Transfer:
    """What a stage of a transferable vote has beside a round of one seat."""

    quota: int
    surplus_of: str | None
    """Whose surplus goes on at the end of the stage."""
    keep_factors: tuple[tuple[str, int], ...] = ()
    """Meek's method: the share of each paper that an elected candidate keeps."""


@dataclass(frozen=True)
class Round:
    """One round of a count. Numbers are units of the count, see :attr:`Count.places`."""

    number: int
    """From 1."""
    votes: tuple[tuple[str, int], ...]
    """(candidate, votes) of the remaining candidates: most votes first, then in ballot order."""
    inactive: tuple[tuple[Inactive, int], ...] = ()
    """Ballots that count for nobody in this round, by reason."""
    eliminated: tuple[str, ...] = ()
    elected: str | None = None
    tie: Tie | None = None
    transfers: tuple[tuple[str | None, int], ...] = ()
    """(next candidate, ballots) of the eliminated candidates' ballots; None: inactive."""
    winners: tuple[str, ...] = ()
    """Of several seats: who is deemed elected in this round, most votes first."""
    transfer: Transfer | None = None
    """Of a transferable vote."""

    @property
    def active(self) -> int:
        """Ballots that count for a candidate."""
        return sum(votes for _, votes in self.votes)

    @property
    def exhausted(self) -> int:
        """Ballots with a mark that count for nobody. With the others they are all ballots."""
        return sum(n for reason, n in self.inactive if reason is not Inactive.BLANK)

    @property
    def blank(self) -> int:
        """Ballots without a mark."""
        return dict(self.inactive).get(Inactive.BLANK, 0)


@dataclass(frozen=True)
class PartyList:
    """What a party's list has in a count."""

    name: str
    """The party's id, or :data:`ALONE` and a candidate's id."""
    votes: int
    seats: int
    """Without those for which it ties."""
    elected: tuple[str, ...]
    """Candidates; fewer than seats if the list is shorter, or candidates tie."""
    below: bool = False
    """Whether it has too few votes for the threshold, or none."""
    tied: bool = False
    """Whether it has an equal claim to the last seats with others."""


@dataclass(frozen=True)
class SeatAward:
    """A seat of a party's list, in the order of award."""

    name: str
    """Of the list."""
    by: Fraction
    """The average, the remainder, or the quota that earned it."""


def fixed(value: int, places: int) -> str:
    """Text of `value` units of 10 ** -places; a whole number has no point without places."""
    if not places:
        return str(value)
    whole, part = divmod(abs(value), 10**places)
    return f"{'-' if value < 0 else ''}{whole}.{part:0{places}}"


@dataclass(frozen=True)
class Count:
    """The count of a region's seat or seats."""

    rounds: tuple[Round, ...]
    """One for a plurality; empty without ballots."""
    elected: str | None
    tied: tuple[str, ...] = ()
    """Without a winner by plurality: the candidates with the most votes."""
    uncountable: int = 0
    """Ballots that mark candidates, but none of the seat."""
    blank: int = 0
    """Ballots without a mark."""
    outcome: Outcome = Outcome.ELECTED
    """Why somebody is elected, or nobody."""
    awaits: tuple[str, ...] = ()
    """Candidates between whom a lot must be drawn before the count can go on."""
    missed: str | None = None
    """Who would be elected, if the outcome is that the seat is vacant or the quorum not reached."""
    seats: int = 1
    """To fill."""
    places: int = 0
    """Decimal places of votes: numbers of rounds are units of 10 ** -places."""
    of_several: tuple[str, ...] = ()
    """Of several seats: who is elected, in the order of election."""
    lists: tuple[PartyList, ...] = ()
    """Of party lists, in ballot order."""
    awards: tuple[SeatAward, ...] = ()
    tied_seats: int = 0
    """Last seats for which lists have an equal claim."""

    @property
    def winners(self) -> tuple[str, ...]:
        """Who is elected, to one seat or to several."""
        return self.of_several if self.elected is None else (self.elected,)

    def number(self, value: int) -> int | str:
        """A number of the rounds for JSON: decimal text if votes have places."""
        return fixed(value, self.places) if self.places else value

    def text(self, value: int) -> str:
        """A number of the rounds for people."""
        whole, point, part = fixed(value, self.places).partition(".")
        return f"{int(whole):,}{point}{part}" if whole != "-0" else whole + point + part
