"""Voter keys: which votes belong to one voter, and to which partition they go."""

from __future__ import annotations

import hashlib
import zlib
from typing import Final

from schemas.votes import Kind

ELECTION_PREFIX: Final = "election:"
"""Prefix of a candidate vote's contest, before the election's id, which may be empty."""

ENCRYPTED_CHOICE: Final = "encrypted"
"""The `candidate_id` of a vote whose choice is an encrypted ballot."""

ENCRYPTED_BALLOT: Final = "encrypted_ballot"
"""The field of a vote message with the ballot: a string, the JSON of a submitted ballot.

Not an object, because the bridge removes fields called `code` and `nas` from unknown fields.
"""

VOTER_KEY_BYTES: Final = 32

# A plain integer: to compare with a member of an enum is a third of the cost of a voter's key.
_LAW: Final = int(Kind.LAW)

MAX_CONTEST_BYTES: Final = len(ELECTION_PREFIX) + 255
"""The longest id of a contest that a vote can have."""


def is_contest_name(text: str) -> bool:
    """Whether a vote, a command or the database can have a contest of this id.

    Checked wherever a contest is named from outside.
    """
    if not 1 <= len(text) <= MAX_CONTEST_BYTES or "\0" in text:
        return False
    try:
        return len(text.encode()) <= MAX_CONTEST_BYTES
    except UnicodeEncodeError:
        return False


def normalise_hash(text: str) -> str:
    """Lower-case a hash of 64 hexadecimal digits; return anything else unchanged."""
    if len(text) == 64 and _hex64(text) is not None:
        return text.lower()
    return text


def voter_key(vote_hash: str, contest: str, kind: int) -> bytes:
    """Key of the voted table, 32 bytes.

    For a law it is the hash itself, because each hash belongs to one law. For an election it is
    the digest of (contest, hash), so that one voter can vote in several.

    Args:
        vote_hash: as :func:`normalise_hash` returns it.
        contest: :attr:`schemas.votes.Vote.contest`.
        kind: a :class:`schemas.votes.Kind`.
    """
    if kind == _LAW:
        if len(vote_hash) == 64:
            key = _hex64(vote_hash)
            if key is not None:
                return key
        return hashlib.sha256(b"hash\0" + vote_hash.encode()).digest()
    return hashlib.sha256(b"contest\0" + contest.encode() + b"\0" + vote_hash.encode()).digest()


def identify(text: str, contest: str, kind: int) -> tuple[str, bytes]:
    """:func:`normalise_hash` and :func:`voter_key` together; the common case takes one step."""
    if kind == _LAW and len(text) == 64:
        key = _hex64(text)
        if key is not None:
            return key.hex(), key
    normalised = normalise_hash(text)
    return normalised, voter_key(normalised, contest, kind)


def stored_hash(vote_hash: str, contest: str, kind: int) -> str:
    """Value of the unique column `vote_audit.vote_hash`: a law's hash, else the key in hex."""
    return vote_hash if kind == _LAW else voter_key(vote_hash, contest, kind).hex()


def stored_key(text: str) -> tuple[bytes | None, str | None]:
    """A hash in `counted_votes`: 32 bytes for 64 lower-case hexadecimal digits, else the text."""
    key = _hex64(text) if len(text) == 64 else None
    return (None, text) if key is None or key.hex() != text else (key, None)


def partition_of(key: bytes, partitions: int) -> int:
    """Partition of a voter key (CRC-32 modulo the number of partitions)."""
    return zlib.crc32(key) % partitions


def _hex64(text: str) -> bytes | None:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        return None
    # fromhex skips blanks, so 64 characters may be fewer digits.
    return key if len(key) == VOTER_KEY_BYTES else None
