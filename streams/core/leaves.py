"""The leaves of the proof: one for each verdict, in the order of the input log. Pure.

`proof/SPECIFICATION.md` describes the encoding.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from schemas.verdicts import UNREPORTED, Status, VerdictBatch, acceptances_of
from schemas.votes import Malformed, Vote, VoteBatch
from streams.core.rules import epoch_of

ACCEPTED: Final = "accepted"

STATUS_CODES: Final = {
    ACCEPTED: 1,
    str(Status.INVALID): 2,
    str(Status.DUPLICATE): 3,
    str(Status.MALFORMED): 4,
}

PAD_BYTES: Final = 16
IDENTITY_BYTES: Final = 16
SALT_BYTES: Final = PAD_BYTES + IDENTITY_BYTES
SECRET_BYTES: Final = 32

_PAD_PURPOSE: Final = b"scrutin pad/1"
_VERSION: Final = 1
_MAX_NAME_BYTES: Final = 0xFFFF
_PLACE: Final = struct.Struct(">IQ")
_HEAD: Final = struct.Struct(">BBI")
_PADS: Final = struct.Struct(f"{PAD_BYTES}s")

_ACCEPTED: Final = (ACCEPTED, "")

_sha256 = hashlib.sha256


@dataclass(frozen=True, slots=True)
class Leaf:
    """What anybody may see of a verdict."""

    status: str
    """`accepted`, or a :class:`Status`."""
    epoch: int
    contest: str
    """Empty for a malformed message."""
    reason: str
    """Empty for an accepted vote."""
    commitment: bytes

    def encoded(self) -> bytes:
        """The bytes that are hashed."""
        return _prefix(self.status, self.epoch, self.contest, self.reason)[1:] + self.commitment

    def hash(self) -> bytes:
        """The hash of the leaf in its tree."""
        return _hash(self.status, self.epoch, self.contest, self.reason, self.commitment)


def secret_of(text: str) -> bytes:
    """The 32 bytes that pads are derived from, from a setting of any length."""
    return _sha256(b"scrutin pad secret/1\0" + text.encode()).digest()


def id_of_secret(secret: bytes) -> bytes:
    """8 bytes that tell one secret from another."""
    return _sha256(b"scrutin pad secret id/1\0" + secret).digest()[:8]


def pads_of(secret: bytes, log_id: bytes, partition: int, offset: int, count: int) -> bytes:
    """The first halves of the salts of one input record, joined."""
    seed = hashlib.shake_256(_PAD_PURPOSE + secret + log_id + _PLACE.pack(partition, offset))
    return seed.digest(PAD_BYTES * count)


def salt_of(pads: bytes, index: int, identity: bytes) -> bytes:
    """The salt of one item of a record."""
    return pads[PAD_BYTES * index : PAD_BYTES * (index + 1)] + _whole(identity)


def commit(salt: bytes, opening: bytes) -> bytes:
    """The commitment to an opening."""
    return _sha256(salt + opening).digest()


def opening_of(item: Vote | Malformed, weight: int = 1) -> bytes:
    """What a leaf commits to: choice and weight, or the digest of a malformed message."""
    if not isinstance(item, Vote):
        return item.sha256
    return encode_opening(item.choice, weight)


def encode_opening(choice: str, weight: int) -> bytes:
    """The opening of a vote."""
    return choice.encode() + (b"" if weight == 1 else b"\0weight=%d" % weight)


def leaf_hashes(secret: bytes, verdicts: VerdictBatch, batch: VoteBatch) -> list[bytes]:
    """The hashes of the leaves of one input record, in order.

    Replays and items of an earlier epoch have none.
    """
    votes = batch.votes
    count = len(votes) + len(batch.malformed)
    pads = pads_of(secret, verdicts.log_id, verdicts.partition, verdicts.offset, count)
    epoch = epoch_of(batch)
    rejected = {r.index: (str(r.status), str(r.reason)) for r in verdicts.rejections}
    weights = {accepted.index: accepted.weight for accepted in acceptances_of(verdicts)}
    special = rejected.keys() | weights.keys()
    hashes = []
    # What :func:`opened_leaves` does, without an object for each vote. Names are few.
    accepted: dict[str, bytes] = {}
    openings: dict[str, bytes] = {}
    numbered = enumerate(zip(votes, _PADS.iter_unpack(pads), strict=False))
    for index, (vote, (pad,)) in numbered:
        contest, choice, identity = vote.contest, vote.choice, vote.identity
        if (opening := openings.get(choice)) is None:
            opening = openings[choice] = choice.encode()
        if index in special:
            status, reason = rejected.get(index, _ACCEPTED)
            if status in UNREPORTED:
                continue
            prefix = _prefix(status, epoch, contest, reason)
            opening = encode_opening(choice, weights.get(index, 1))
        elif (known := accepted.get(contest)) is not None:
            prefix = known
        else:
            prefix = accepted[contest] = _prefix(ACCEPTED, epoch, contest, "")
        if len(identity) != IDENTITY_BYTES:
            identity = _whole(identity)
        hashes.append(_sha256(prefix + _sha256(pad + identity + opening).digest()).digest())
    for index, item in enumerate(batch.malformed, len(votes)):
        status, reason = rejected.get(index, _ACCEPTED)
        commitment = commit(salt_of(pads, index, item.identity), item.sha256)
        hashes.append(_hash(status, epoch, "", reason, commitment))
    return hashes


@dataclass(frozen=True, slots=True)
class OpenedLeaf:
    """A leaf with what opens its commitment."""

    number: int
    """Of the item in its input record."""
    leaf: Leaf
    salt: bytes
    opening: bytes


def leaves_of(
    secret: bytes, verdicts: VerdictBatch, batch: VoteBatch
) -> Iterator[tuple[int, Leaf]]:
    """The leaves of one input record with the number of their item, in order."""
    return ((one.number, one.leaf) for one in opened_leaves(secret, verdicts, batch))


def opened_leaves(secret: bytes, verdicts: VerdictBatch, batch: VoteBatch) -> Iterator[OpenedLeaf]:
    """The leaves of one input record and their openings, in order."""
    votes, malformed = batch.votes, batch.malformed
    items: list[Vote | Malformed] = [*votes, *malformed]
    pads = pads_of(secret, verdicts.log_id, verdicts.partition, verdicts.offset, len(items))
    epoch = epoch_of(batch)
    rejections = {rejection.index: rejection for rejection in verdicts.rejections}
    weights = {accepted.index: accepted.weight for accepted in acceptances_of(verdicts)}
    for index, item in enumerate(items):
        rejection = rejections.get(index)
        status, reason = (rejection.status, rejection.reason) if rejection else (ACCEPTED, "")
        if status in UNREPORTED:
            continue
        contest = item.contest if isinstance(item, Vote) else ""
        salt = salt_of(pads, index, item.identity)
        opening = opening_of(item, weights.get(index, 1))
        leaf = Leaf(status, epoch, contest, reason, commit(salt, opening))
        yield OpenedLeaf(index, leaf, salt, opening)


def _hash(status: str, epoch: int, contest: str, reason: str, commitment: bytes) -> bytes:
    return _sha256(_prefix(status, epoch, contest, reason) + commitment).digest()


@lru_cache(maxsize=4096)
def _prefix(status: str, epoch: int, contest: str, reason: str) -> bytes:
    """What comes before the commitment, after the byte that marks a leaf."""
    # Only a forged record has longer names; it must not stop the partition.
    named, why = contest.encode()[:_MAX_NAME_BYTES], reason.encode()[:_MAX_NAME_BYTES]
    head = _HEAD.pack(_VERSION, STATUS_CODES.get(status, 0), epoch)
    sizes = len(named).to_bytes(2, "big"), len(why).to_bytes(2, "big")
    return b"\0" + head + sizes[0] + named + sizes[1] + why


def _whole(identity: bytes) -> bytes:
    # No bridge writes one of another length; a forged record must not stop the partition.
    return identity[:IDENTITY_BYTES].ljust(IDENTITY_BYTES, b"\0")
