"""Control records: commands in the partitions of the input log, among the votes.

A control record affects the votes after it in its partition and none before it. A command that
concerns every voter is written to every partition, at a different offset in each. `number` orders
commands: it grows with each command of any issuer. A record that arrives again, or late from a
writer that was thought dead, has no effect.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, TypeVar

import msgspec

KEY_BYTES: Final = 32
"""Length of a voter key."""
MAX_WEIGHT: Final = 10**9
"""Of a vote: the weights of nine thousand million voters add up to a number that is stored."""


class ContestKind(StrEnum):
    """The subject of a contest."""

    LAW = "law"
    ELECTION = "election"
    POLL = "poll"


class ContestState(StrEnum):
    """State of a contest's life cycle; it only moves forward."""

    DRAFT = "draft"
    """Announced; votes do not count yet."""
    OPEN = "open"
    CLOSED = "closed"
    """Ended permanently; the result is final once every partition has passed the closing record."""
    ARCHIVED = "archived"
    """Closed, and no longer listed unless asked for."""


class ContestRoll(StrEnum):
    """Who may vote in a contest."""

    DEFAULT = "default"
    """As `SCRUTIN_ROLL` says for the deployment."""
    TABLE = "table"
    """Voter keys on the roll in the log."""
    OPEN = "open"
    """Everybody, once each."""


class ContestMethod(StrEnum):
    """What a ballot holds."""

    SINGLE = "single"
    """One choice."""
    RANKED = "ranked"
    """Choices in order of preference, see :mod:`streams.core.ranking`."""


class Overvote(StrEnum):
    """What happens to a ballot at a rank with several candidates."""

    SKIP = "always_skip_to_next_rank"
    EXHAUST = "exhaust_immediately"
    EXHAUST_IF_MULTIPLE_CONTINUING = "exhaust_if_multiple_continuing"
    """One continuing candidate among them gets the ballot; none: the next rank."""


class MajorityOf(StrEnum):
    """More than half of these ballots elect."""

    CONTINUING = "continuing"
    """Those that count for a candidate in the round."""
    FIRST_ROUND = "first_round"
    """Those that counted for a candidate in round 1: the threshold stays as it was then."""
    CAST = "cast"
    """All that were cast, blank ones too."""


class TieBreak(StrEnum):
    """Which of the candidates tied for the fewest votes is eliminated."""

    LATEST_ROUND = "previous_rounds_then_lot"
    """The one with the fewest votes in the round before, or the one before that, and so on."""
    EARLIEST_ROUND = "first_rounds_then_lot"
    """The one with the fewest votes in round 1, or in round 2, and so on."""
    LOT = "lot"
    LIST_ORDER = "list_order"
    """The last of them on the ballot."""


class RankedRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the marks of a ranked ballot count. The defaults forgive every mark.

    The names are those of RCTab, an open counting program, where it has them.
    """

    overvote: str = Overvote.SKIP
    """An :class:`Overvote`."""
    max_skipped_ranks: int | None = None
    """More ranks without a mark in a row exhaust the ballot; None: any number is allowed."""
    exhaust_on_duplicate: bool = False
    """Whether a candidate marked at a second rank exhausts the ballot there."""
    max_ranks: int | None = None
    """Ranks after this one do not count."""
    full_ranking: bool = False
    """Whether a ballot is informal unless it ranks all candidates; the last may be left out."""
    until_two_remain: bool = False
    """Whether the count goes on after a majority until two candidates remain."""
    max_rounds: int | None = None
    """After this round the candidate with the most votes is elected."""
    batch_elimination: bool = False
    """Whether all candidates who together have fewer votes than the next one go at once."""
    min_votes: int = 0
    """Candidates with fewer votes in round 1 are eliminated in it."""
    majority_of: str = MajorityOf.CONTINUING
    """A :class:`MajorityOf`."""
    tie_break: str = TieBreak.LATEST_ROUND
    """A :class:`TieBreak`."""
    lot_seed: str | None = None
    """Text in place of the contest's id in the lot."""
    undeclared_write_in: str | None = None
    """A choice that stands for candidates nobody declared: eliminated first, never elected."""


class WithdrawnVotes(StrEnum):
    """What happens to the votes of a candidate who withdrew or died after the opening."""

    NEXT_PREFERENCE = "next_preference"
    """They count as if the candidate did not stand: for the next preference, or for nobody."""
    CANNOT_BE_ELECTED = "cannot_be_elected"
    """They count, but only another candidate can be elected."""
    VACANT = "seat_vacant_if_elected"
    """They count, and if they would elect the candidate, the seat stays vacant."""


class Withdrawal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A candidate who withdrew or died after the opening."""

    choice: str
    reason: str
    """For people, such as `withdrawn` or `dead`."""


class Lot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A lot that officials drew between candidates who tie."""

    tied: tuple[str, ...]
    drawn: str
    """One of them."""
    elects: bool = False
    """Whether the drawn candidate is elected; otherwise it is eliminated."""


class SeatMethod(StrEnum):
    """How several seats are filled."""

    STV_SCOTTISH = "stv_scottish"
    """Single transferable vote: weighted inclusive Gregory, five decimal places."""
    STV_MEEK = "stv_meek"
    """Single transferable vote: Meek's method, nine decimal places."""
    DHONDT = "dhondt"
    """Party lists: votes divided by 1, 2, 3 and so on; the highest averages have the seats."""
    SAINTE_LAGUE = "sainte_lague"
    """Party lists: votes divided by 1, 3, 5 and so on."""
    MODIFIED_SAINTE_LAGUE = "modified_sainte_lague"
    """The same, but first by another number, such as 1.4."""
    HARE = "hare"
    """Party lists: a seat for each whole quota, then by the largest remainders."""


class ListOrder(StrEnum):
    """Who of a party's list is elected."""

    LIST = "list"
    """The first on the ballot."""
    VOTES = "votes"
    """Those with the most votes of their own."""


class SeatRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How several seats are filled."""

    method: str
    """A :class:`SeatMethod`."""
    seats: int | dict[str, int]
    """Of every region, or of each by its id."""
    threshold: str | None = None
    """Share of the votes of a region that a list needs, such as `1/20`."""
    first_divisor: str = "7/5"
    """Of the modified Sainte-Laguë."""
    list_order: str = ListOrder.LIST
    """A :class:`ListOrder`."""
    lists: dict[str, str] = {}
    """List of each choice. A choice without one is a list of its own."""


class Conduct(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How an election is held. Settings are fixed by its opening; facts are added later.

    A reader that does not know a field must stop, so it cannot decode the record.
    """

    revote: bool = False
    """Whether a voter may vote again, and the last vote counts."""
    weighted: bool = False
    """Whether votes have the weights that the roll in the log gives to voters."""
    blank_ballots: bool = False
    """Whether a single-choice ballot may name nobody."""
    hidden: bool = False
    """Whether no count is shown before the closing is final."""
    withdrawn_votes: str = WithdrawnVotes.NEXT_PREFERENCE
    """A :class:`WithdrawnVotes`."""
    lots_by_hand: bool = False
    """Whether officials draw the lots; the count waits for them."""
    turnout_quorum: str | None = None
    """Share of the eligible voters whose ballots make the election valid, such as `1/4`."""
    winner_quorum: str | None = None
    """Share of all ballots that an elected candidate needs in the last round."""
    undeclared_write_in: str | None = None
    """A choice of a single-choice contest that stands for candidates nobody declared: it counts,
    and cannot be elected."""
    seats: SeatRules | None = None
    """How several seats are filled; None: each region has one."""
    eligible: int | None = None
    """A fact: the number of voters on the roll."""
    seed_commitment: str | None = None
    """A fact: SHA-256 in hexadecimal of the seed of the lots."""
    seed: str | None = None
    """A fact: that seed, revealed after the closing."""
    withdrawn: tuple[Withdrawal, ...] = ()
    """Facts, in the order in which they became known."""
    lots: tuple[Lot, ...] = ()
    """Facts, in the order in which they were drawn."""


CONDUCT_FACTS: Final = ("eligible", "seed_commitment", "seed", "withdrawn", "lots")
"""Fields of :class:`Conduct` that are entered after the opening, and never change then."""


class Contest(msgspec.Struct, array_like=True, frozen=True):
    """The complete state of a contest after a command."""

    id: str
    """As in votes: a law's id, `election:` and an election's id, or `poll:` and a poll's id."""
    kind: str
    """A :class:`ContestKind`."""
    title: str
    state: str
    """A :class:`ContestState`."""
    choices: list[str] | None
    """Allowed choices; None: anything."""
    roll: str
    """A :class:`ContestRoll`."""
    opens_ms: int | None
    """When a draft opens automatically: Unix time in milliseconds."""
    closes_ms: int | None
    """When it closes automatically: Unix time in milliseconds."""


class ElectionContest(Contest, array_like=True, frozen=True):
    """A contest with rankings or regions."""

    method: str = ContestMethod.SINGLE
    """A :class:`ContestMethod`."""
    regions: list[str] | None = None
    """Region of each choice, in order; None: choices stand in all regions."""


class RankedContest(ElectionContest, array_like=True, frozen=True):
    """A contest whose ballots travel as they were marked."""

    rules: RankedRules | None = None
    """None: no repeated, skipped or shared ranks, as before rules were part of a contest."""


class ConductedContest(RankedContest, array_like=True, frozen=True):
    """A contest with settings of how it is held, or facts that became known after its opening."""

    conduct: Conduct = Conduct()


_Version = TypeVar("_Version", bound=ElectionContest)


class ContestsChanged(msgspec.Struct, array_like=True, frozen=True, tag="contests/1"):
    """New states of contests, from here on. Goes to every partition."""

    number: int
    command_id: bytes
    """16 random bytes, the same in every partition."""
    issued_ms: int
    """Unix time in milliseconds."""
    enforced: bool
    """Whether the issuer's deployment validates votes by contests."""
    contests: list[Contest]


class ElectionsChanged(ContestsChanged, array_like=True, frozen=True, tag="contests/2"):
    """The same with an :class:`ElectionContest`; readers that do not know this type must stop."""

    contests: list[ElectionContest]  # type: ignore[assignment]


class ContestsEnforced(ElectionsChanged, array_like=True, frozen=True, tag="contests/3"):
    """New states of contests whose rules apply to every vote after it, whatever its batch says.

    `enforced` is true. In earlier versions the rules of a contest applied to batches with
    :attr:`schemas.votes.Rule.CONTESTS` only.
    """


class RankedChanged(ElectionsChanged, array_like=True, frozen=True, tag="contests/4"):
    """New states of contests some of which have rules for ranked ballots.

    If `enforced`, their rules apply to every vote after it, as with :class:`ContestsEnforced`.
    """

    contests: list[RankedContest]  # type: ignore[assignment]


class ConductChanged(RankedChanged, array_like=True, frozen=True, tag="contests/5"):
    """The same with contests some of which have a :class:`Conduct`."""

    contests: list[ConductedContest]  # type: ignore[assignment]


def changes_of(
    number: int, command_id: bytes, issued_ms: int, *, enforced: bool, contests: list[Contest]
) -> ContestsChanged:
    """The record for a change, in the oldest version that can express it."""
    ranked = any(isinstance(contest, ElectionContest) for contest in contests)
    if not enforced and not ranked:
        return ContestsChanged(number, command_id, issued_ms, enforced, contests)
    if any(isinstance(contest, ConductedContest) for contest in contests):
        return ConductChanged(
            number, command_id, issued_ms, enforced, [_as(ConductedContest, c) for c in contests]
        )
    if any(isinstance(contest, RankedContest) for contest in contests):
        return RankedChanged(
            number, command_id, issued_ms, enforced, [_as(RankedContest, c) for c in contests]
        )
    elections = [_as(ElectionContest, c) for c in contests]
    version = ContestsEnforced if enforced else ElectionsChanged
    return version(number, command_id, issued_ms, enforced, elections)


def _as(version: type[_Version], contest: Contest) -> _Version:
    """A contest in the form in which it will be decoded."""
    if isinstance(contest, version):
        return contest
    return version(*msgspec.structs.astuple(contest))


class RollChanged(msgspec.Struct, array_like=True, frozen=True, tag="roll/1"):
    """Adds voter keys to the roll or removes them. Holds keys of its own partition only.

    Of two records about a key, the later one in the log wins, regardless of their numbers.
    """

    number: int
    """The same for all records of one command."""
    command_id: bytes
    """16 random bytes."""
    sequence: int
    """Number of the record in this command and partition, from 0; repetitions are ignored."""
    last: bool
    """Whether this is the command's last record in this partition."""
    issued_ms: int
    """Unix time in milliseconds."""
    added: bytes
    """Voter keys of 32 bytes each, concatenated."""
    withdrawn: bytes
    """Voter keys in the same form, removed after the others were added."""


class WeighedRollChanged(RollChanged, array_like=True, frozen=True, tag="roll/2"):
    """The same with a weight for each added key."""

    weights: list[int]
    """In the order of `added`, each from 1 to :data:`MAX_WEIGHT`."""


class EpochOpened(msgspec.Struct, array_like=True, frozen=True, tag="epoch/1"):
    """Voids everything before it in the partition: a rehearsal is over. Goes to every partition.

    Has an effect only in a log that begins with :class:`schemas.genesis.RehearsalGenesis`.
    """

    number: int
    command_id: bytes
    """16 random bytes, the same in every partition."""
    issued_ms: int
    """Unix time in milliseconds."""
    epoch: int
    """Counts from 1; epoch 0 is before the first such record."""


Control = (
    ContestsChanged
    | ElectionsChanged
    | ContestsEnforced
    | RankedChanged
    | ConductChanged
    | RollChanged
    | WeighedRollChanged
    | EpochOpened
)
"""Types of control records."""
