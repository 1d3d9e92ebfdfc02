"""Control records: commands in the partitions of the input log, among the votes.

A control record affects the votes after it in its partition and none before it. A command that
concerns every voter is written to every partition, at a different offset in each. `number` orders
commands: it grows with each command of any issuer. A record that arrives again, or late from a
writer that was thought dead, has no effect.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

KEY_BYTES: Final = 32
"""Length of a voter key."""


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


def changes_of(
    number: int, command_id: bytes, issued_ms: int, *, enforced: bool, contests: list[Contest]
) -> ContestsChanged:
    """The record for a change, in the oldest version that can express it."""
    ranked = any(isinstance(contest, ElectionContest) for contest in contests)
    if not enforced and not ranked:
        return ContestsChanged(number, command_id, issued_ms, enforced, contests)
    # As they will be decoded.
    elections = [
        c if isinstance(c, ElectionContest) else ElectionContest(*msgspec.structs.astuple(c))
        for c in contests
    ]
    version = ContestsEnforced if enforced else ElectionsChanged
    return version(number, command_id, issued_ms, enforced, elections)


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


Control = ContestsChanged | ElectionsChanged | ContestsEnforced | RollChanged | EpochOpened
"""Types of control records."""
