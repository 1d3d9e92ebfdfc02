"""Control records: commands in the partitions of the input log, among the votes.

What a control record changes holds for the votes behind it in its partition and for none before.
A command that concerns every voter is written to every partition, in each at an offset of its own.
`number` orders commands: it grows from command to command, whoever issues them, and a record that
comes again, or late from a writer that was thought dead, has no effect.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

KEY_BYTES: Final = 32
"""Length of a voter key."""


class ContestKind(StrEnum):
    """What is decided in a contest."""

    LAW = "law"
    ELECTION = "election"
    POLL = "poll"


class ContestState(StrEnum):
    """Where a contest is in its life; it only moves forward."""

    DRAFT = "draft"
    """Announced; votes do not count yet."""
    OPEN = "open"
    CLOSED = "closed"
    """Ended, for good: its result is final once every partition has passed the closing."""
    ARCHIVED = "archived"
    """Closed, and no longer listed unless asked for."""


class ContestRoll(StrEnum):
    """Who may vote in a contest."""

    DEFAULT = "default"
    """As `SCRUTIN_ROLL` says for the deployment."""
    TABLE = "table"
    """Voter keys that the log put on the roll."""
    OPEN = "open"
    """Everybody, once."""


class ContestMethod(StrEnum):
    """What a ballot says in a contest."""

    SINGLE = "single"
    """One choice."""
    RANKED = "ranked"
    """Choices in order of preference, as :mod:`streams.core.ranking` writes them."""


class Contest(msgspec.Struct, array_like=True, frozen=True):
    """A contest as a command leaves it, whole."""

    id: str
    """As votes name it: a law's id, `election:` and an election's, `poll:` and a poll's."""
    kind: str
    """A :class:`ContestKind`."""
    title: str
    state: str
    """A :class:`ContestState`."""
    choices: list[str] | None
    """What may be chosen; None: anything."""
    roll: str
    """A :class:`ContestRoll`."""
    opens_ms: int | None
    """When a draft opens by itself: Unix time in milliseconds."""
    closes_ms: int | None
    """When it closes by itself: Unix time in milliseconds."""


class ElectionContest(Contest, array_like=True, frozen=True):
    """A contest with rankings or regions."""

    method: str = ContestMethod.SINGLE
    """A :class:`ContestMethod`."""
    regions: list[str] | None = None
    """Region of each of the choices, in their order; None: they stand in all regions."""


class ContestsChanged(msgspec.Struct, array_like=True, frozen=True, tag="contests/1"):
    """Contests are from here on as this record says. Goes to every partition."""

    number: int
    command_id: bytes
    """16 random bytes, the same in every partition."""
    issued_ms: int
    """Unix time in milliseconds."""
    enforced: bool
    """Whether the issuer's deployment judges votes by contests: else a closing closes nothing."""
    contests: list[Contest]


class ElectionsChanged(ContestsChanged, array_like=True, frozen=True, tag="contests/2"):
    """The same, where one is an :class:`ElectionContest`: who does not know that must not judge."""

    contests: list[ElectionContest]  # type: ignore[assignment]


def changes_of(
    number: int, command_id: bytes, issued_ms: int, *, enforced: bool, contests: list[Contest]
) -> ContestsChanged:
    """The record for a change, of the oldest version that can say it."""
    if not any(isinstance(contest, ElectionContest) for contest in contests):
        return ContestsChanged(number, command_id, issued_ms, enforced, contests)
    # As they will be read.
    elections = [
        c if isinstance(c, ElectionContest) else ElectionContest(*msgspec.structs.astuple(c))
        for c in contests
    ]
    return ElectionsChanged(number, command_id, issued_ms, enforced, elections)


class RollChanged(msgspec.Struct, array_like=True, frozen=True, tag="roll/1"):
    """Voter keys come onto the roll, or leave it. Holds keys of its own partition only.

    Of two records about a key the later one in the log holds, whatever their numbers.
    """

    number: int
    """The same for all records of one command."""
    command_id: bytes
    """16 random bytes."""
    sequence: int
    """Numbers the command's records in this partition, from 0; one that comes again is ignored."""
    last: bool
    """No more follow in this partition."""
    issued_ms: int
    """Unix time in milliseconds."""
    added: bytes
    """Voter keys of 32 bytes each, one after the other."""
    withdrawn: bytes
    """The same, taken off the roll after the others came on."""


class EpochOpened(msgspec.Struct, array_like=True, frozen=True, tag="epoch/1"):
    """Everything before it in the partition is void: a rehearsal is over. Goes to every one."""

    number: int
    command_id: bytes
    """16 random bytes, the same in every partition."""
    issued_ms: int
    """Unix time in milliseconds."""
    epoch: int
    """Counts from 1; before the first such record it is epoch 0."""


Control = ContestsChanged | ElectionsChanged | RollChanged | EpochOpened
"""What a control record may be."""
