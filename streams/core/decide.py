"""Validation as a pure function: an input record and the voted table in, verdicts out.

Verdicts depend on the log alone. Nothing here reads a clock, a service or a random number, so two
workers that read the same log reach the same verdicts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from schemas.verdicts import Acceptance, Reason, Rejection, Status
from schemas.voted import (
    FIRST_VOTE,
    MAX_LATER_IDENTITIES,
    Repeat,
    VotedRecord,
    WeighedVotedRecord,
)
from schemas.votes import REFUSED, REPLAYABLE, AdoptedVoteBatch, Kind, Vote, VoteBatch
from streams.core.keys import voter_key
from streams.core.rules import LAW_CHOICES, Rules, by_flags

IDENTITY_BYTES: Final = 8
"""Stored length of an identity; its last bit is the mark of :func:`stored_identity`."""
_LAST: Final = IDENTITY_BYTES - 1


class VoterEntry(msgspec.Struct, frozen=True, gc=False):
    """What the voted table knows about a voter key."""

    offset: int
    """Input offset of the accepted vote; where the last vote counts, of that one."""
    index: int
    """Number of the vote in that record."""
    identity: bytes
    """Of the accepted vote, see :func:`stored_identity`."""
    attempts: int = 0
    """Submissions after the accepted one."""
    later: tuple[bytes, ...] = ()
    """Identities of the latest attempts, oldest first, at most 8."""


# A plain integer: the enum's operators cost more than the rest of a verdict.
_REPLAYABLE: Final = int(REPLAYABLE)

_OTHER_LAST_BIT: Final = [bytes((byte ^ 1,)) for byte in range(256)]

Lookup = Callable[[bytes], VoterEntry | None]


def decide(
    batch: VoteBatch, offset: int, log_id: bytes, lookup: Lookup, rules: Rules | None = None
) -> VotedRecord:
    """Decide on each item of a record.

    Args:
        batch: the record.
        offset: its offset in its partition of the input log.
        log_id: identity of that partition's log.
        lookup: the voted table after the previous record.
        rules: set by earlier control records; None: no control record came before.

    Returns:
        The changelog record: changes of the table, and items that were not accepted.
    """
    if rules is not None and rules.void(batch):
        return _void(batch, log_id)
    if isinstance(batch, AdoptedVoteBatch):
        return _adopt(batch, offset, log_id, lookup)
    validator = by_flags if rules is None else rules.validator(batch)
    first_votes = bytearray()
    contests: dict[str, int] = {}
    rejections: list[Rejection] = []
    touched: dict[bytes, VoterEntry] = {}
    repeated: dict[bytes, None] = {}
    acceptances: list[Acceptance] = []
    revoted, weights = (rules.revoted, rules.weights_by_contest) if rules is not None else ({}, {})

    for index, vote in enumerate(batch.votes):
        key = voter_key(vote.hash, vote.contest, vote.kind)
        identity = stored_identity(vote)
        reason = validator(vote, key)
        if reason is not None:
            # The replay of a counted vote stays a replay, even if the rules have changed since.
            if validator is not by_flags and _is_replay(vote, touched.get(key) or lookup(key)):
                rejections.append(Rejection(index, Status.REPLAY, Reason.REPLAY))
            else:
                rejections.append(Rejection(index, Status.INVALID, reason))
            continue
        entry = touched.get(key) or lookup(key)
        if entry is None:
            touched[key] = VoterEntry(offset, index, identity)
            contest = contests.setdefault(vote.contest, len(contests))
            first_votes += FIRST_VOTE.pack(key, index, contest, identity)
        elif _is_replay(vote, entry):
            rejections.append(Rejection(index, Status.REPLAY, Reason.REPLAY))
            continue
        elif vote.contest in revoted:
            entry = touched[key] = _replaced(entry, offset, index, identity)
            repeated[key] = None
        else:
            entry = _attempted(entry, identity, entry.attempts + 1)
            touched[key] = entry
            repeated[key] = None
            rejections.append(_duplicate(index, entry.attempts))
            continue
        weight = weights[vote.contest].get(key, 1) if vote.contest in weights else 1
        if weight != 1 or entry is not None:
            replaces = 0 if entry is None else entry.attempts
            acceptances.append(Acceptance(index, weight, replaces))

    for index, item in enumerate(batch.malformed, start=len(batch.votes)):
        rejections.append(Rejection(index, Status.MALFORMED, item.reason))

    changes = (
        log_id,
        bytes(first_votes),
        list(contests),
        [_repeat(key, touched[key]) for key in repeated],
        rejections,
    )
    return WeighedVotedRecord(*changes, acceptances) if acceptances else VotedRecord(*changes)


def _adopt(batch: AdoptedVoteBatch, offset: int, log_id: bytes, lookup: Lookup) -> VotedRecord:
    """Adopt the decisions of another system. A record that arrives again changes nothing."""
    first_votes = bytearray()
    contests: dict[str, int] = {}
    rejections: list[Rejection] = []
    touched: dict[bytes, VoterEntry] = {}
    repeated: dict[bytes, None] = {}

    for index, (vote, number) in enumerate(zip(batch.votes, batch.submissions, strict=True)):
        if number == REFUSED:
            rejections.append(Rejection(index, Status.INVALID, Reason.REFUSED_BEFORE))
            continue
        key = voter_key(vote.hash, vote.contest, vote.kind)
        identity = stored_identity(vote)
        entry = touched.get(key) or lookup(key)
        if entry is None:
            touched[key] = VoterEntry(offset, index, identity, attempts=number)
            contest = contests.setdefault(vote.contest, len(contests))
            first_votes += FIRST_VOTE.pack(key, index, contest, identity)
            if number:
                repeated[key] = None
                rejections.append(_duplicate(index, number))
            elif not _countable(vote):
                rejections.append(Rejection(index, Status.INVALID, Reason.VOTE_LOST))
            continue
        known = identity in {entry.identity, *entry.later}
        # 0: the voter had voted here before the adoption arrived.
        attempt = number or entry.attempts + 1
        if known or attempt <= entry.attempts:
            rejections.append(Rejection(index, Status.REPLAY, Reason.REPLAY))
            continue
        touched[key] = _attempted(entry, identity, attempt)
        repeated[key] = None
        rejections.append(_duplicate(index, attempt))

    return VotedRecord(
        log_id=log_id,
        first_votes=bytes(first_votes),
        contests=list(contests),
        repeats=[_repeat(key, touched[key]) for key in repeated],
        rejections=rejections,
    )


def _countable(vote: Vote) -> bool:
    return vote.choice in LAW_CHOICES if vote.kind == Kind.LAW else bool(vote.choice)


def _duplicate(index: int, attempt: int) -> Rejection:
    return Rejection(index, Status.DUPLICATE, Reason.ALREADY_VOTED, attempt)


def _is_replay(vote: Vote, entry: VoterEntry | None) -> bool:
    """Whether a vote is another delivery of one that the entry knows."""
    if entry is None:
        return False
    known = (entry.identity, *entry.later)
    # A bridge that was frozen or cut off from Kafka may write the first delivery after another
    # bridge wrote the second.
    if _marked(vote.identity, 1) in known:
        return True
    return bool(vote.flags & _REPLAYABLE) and _marked(vote.identity, 0) in known


def stored_identity(vote: Vote) -> bytes:
    """A vote's identity as the voted table stores it, 8 bytes.

    63 bits are of the identity. The last bit is set if the delivery was marked as a possible
    repetition.
    """
    return _marked(vote.identity, 1 if vote.flags & _REPLAYABLE else 0)


def _marked(identity: bytes, marked: int) -> bytes:
    try:
        last = identity[_LAST]
    except IndexError:
        # No bridge writes one so short; a forged record must not stop the partition.
        return _marked(identity.ljust(IDENTITY_BYTES, b"\0"), marked)
    if last & 1 == marked:
        return identity[:IDENTITY_BYTES]
    return identity[:_LAST] + _OTHER_LAST_BIT[last]


def _void(batch: VoteBatch, log_id: bytes) -> VotedRecord:
    count = len(batch.votes) + len(batch.malformed)
    rejections = [Rejection(index, Status.VOID, Reason.OLD_EPOCH) for index in range(count)]
    return VotedRecord(log_id, b"", [], [], rejections)


def _attempted(entry: VoterEntry, identity: bytes, attempts: int) -> VoterEntry:
    return msgspec.structs.replace(
        entry,
        attempts=attempts,
        later=(*entry.later, identity)[-MAX_LATER_IDENTITIES:],
    )


def _replaced(entry: VoterEntry, offset: int, index: int, identity: bytes) -> VoterEntry:
    """The entry of a voter whose later vote takes the place of the one before.

    A delivery of an earlier vote that is repeated now must not bring it back.
    """
    later = (*entry.later, entry.identity)[-MAX_LATER_IDENTITIES:]
    return VoterEntry(offset, index, identity, entry.attempts + 1, later)


def _repeat(key: bytes, entry: VoterEntry) -> Repeat:
    return Repeat(
        key=key,
        offset=entry.offset,
        index=entry.index,
        identity=entry.identity,
        attempts=entry.attempts,
        later=list(entry.later),
    )
