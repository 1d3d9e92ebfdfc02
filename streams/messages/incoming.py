"""Full parser of message bodies: accepts every alias of every field and names every fault."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import msgspec

from streams.core.keys import ELECTION_PREFIX
from streams.core.polls import (
    MAX_NAME_CHARACTERS,
    POLL_PREFIX,
    SIGNED_FIELDS,
    Who,
    is_number,
    is_signed,
    name_hash,
)
from streams.messages.fields import (
    MalformedReason,
    NotAVote,
    choice_of,
    hash_of,
    id_of,
    text_of,
    timestamp_of,
)
from streams.messages.json_fields import metadata_of, read_object
from streams.messages.ranked_ballots import read_ranked

_T = TypeVar("_T")

_UPDATE_FIELDS: Final = {
    "voter_name": MalformedReason.MISSING_HASH,
    "poll_id": MalformedReason.MISSING_CONTEST,
    "option_id": MalformedReason.MISSING_CHOICE,
}
"""Of a vote by name, with the reason for which a message without it is malformed."""


class ParsedVote(msgspec.Struct, frozen=True, gc=False):
    """The fields of a vote, independent of the names used in the message."""

    hash: str
    """As sent, 1 to 128 bytes."""
    contest: str
    """The law's id, or the election's id, which may be empty."""
    candidate_id: str | None
    """None for a law; for a ranked ballot the ranking as :mod:`streams.core.ranking` writes it."""
    choice: str
    """`oui`, `non` or another word for a law; empty for a candidate."""
    timestamp_us: int | None
    """Unix time in microseconds; None if the message has none."""
    citizen_id: str | None
    metadata: str | None
    """Unknown fields as one JSON object, without the voter's secrets."""
    poll: bool = False
    """A poll vote: `contest` has the full id, and :attr:`ask_roll` says whether to ask the roll."""
    ask_roll: bool = True


def read_body(body: bytes, *, max_metadata_bytes: int, poll_key: bytes = b"") -> ParsedVote:
    """Parse a body.

    Args:
        body: of bounded length.
        max_metadata_bytes: longer JSON of the unknown fields is `bad_metadata`.
        poll_key: key that signs poll votes; without it, poll votes are malformed.

    Raises:
        NotAVote: it is malformed.
    """
    fields = read_object(body)
    # Next to a law or a candidate, `poll_id` is an unknown field.
    if "poll_id" in fields and not fields.keys() & {"law_id", "candidate_id"}:
        return _poll_vote(fields, poll_key)
    vote_hash = _take(fields, "vote_hash", "voter_hash", "hash", read=hash_of)
    law = _take(fields, "law_id", read=id_of)
    candidate = _take(fields, "candidate_id", read=id_of)
    if law is None:
        candidate = read_ranked(fields, candidate)
    choice = _take(fields, "choice", "vote", read=choice_of)
    timestamp = _take(fields, "timestamp", "vote_timestamp", read=timestamp_of)
    citizen = _take(fields, "citizen_id", read=id_of)
    # Next to a law, `election_id` is an unknown field.
    election = _take(fields, "election_id", read=id_of) if law is None else None
    if vote_hash is None:
        raise NotAVote(MalformedReason.MISSING_HASH)
    if law is not None and candidate is not None:
        raise NotAVote(MalformedReason.CONFLICTING_FIELDS)
    metadata = metadata_of(fields, max_metadata_bytes)
    if candidate is not None:
        if not candidate:
            raise NotAVote(MalformedReason.MISSING_CHOICE)
        # Messages for readers of both dialects repeat the candidate as choice.
        if choice is not None and choice != candidate:
            raise NotAVote(MalformedReason.CONFLICTING_FIELDS)
        return ParsedVote(vote_hash, election or "", candidate, "", timestamp, citizen, metadata)
    if not law:
        raise NotAVote(MalformedReason.MISSING_CONTEST)
    if law.startswith((ELECTION_PREFIX, POLL_PREFIX)):
        raise NotAVote(MalformedReason.RESERVED_LAW_ID)
    if not choice:
        raise NotAVote(MalformedReason.MISSING_CHOICE)
    return ParsedVote(vote_hash, law, None, choice, timestamp, citizen, metadata)


def _poll_vote(fields: dict[str, Any], poll_key: bytes) -> ParsedVote:
    """A poll vote; gateways write each field under one name only."""
    signature = text_of(fields.pop("signature", ""))
    if fields.keys() - set(SIGNED_FIELDS):
        raise NotAVote(MalformedReason.BAD_SIGNATURE)
    return _signed_vote(fields, signature, poll_key)


class _Signed(msgspec.Struct, gc=False):
    """The fields of a poll vote, in the types that a gateway writes."""

    poll_id: str
    option_id: str
    voter_hash: str
    vote_timestamp: str
    who: str
    signature: str
    voter_name: str | None = None


_signed: Final = msgspec.json.Decoder(_Signed)


def read_poll_vote(body: bytes, poll_key: bytes) -> ParsedVote | None:
    """Parse a signed poll vote in which each field occurs once, as a string without escapes.

    Each field takes four quotation marks: if the body has exactly those, no field occurs twice and
    none is unknown.

    Returns:
        None for every other body, well-formed or not.
    """
    if b"\\" in body:
        return None
    try:
        read = _signed.decode(body)
        fields = {name: text for name in SIGNED_FIELDS if (text := getattr(read, name)) is not None}
        # The signature is one more field.
        if body.count(b'"') != 4 * (len(fields) + 1):
            return None
        return _signed_vote(fields, read.signature, poll_key)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, NotAVote):
        return None


def _signed_vote(fields: Mapping[str, Any], signature: str, poll_key: bytes) -> ParsedVote:
    signed = {name: id_of(value) for name, value in fields.items()}
    if not is_signed(poll_key, signed, signature):
        raise NotAVote(MalformedReason.BAD_SIGNATURE)
    try:
        name = signed.get("voter_name")
        return ParsedVote(
            hash_of(signed["voter_hash"]),
            POLL_PREFIX + signed["poll_id"],
            signed["option_id"],
            "",
            timestamp_of(signed["vote_timestamp"]),
            None,
            None if name is None else json.dumps({"voter_name": name}, ensure_ascii=False),
            poll=True,
            ask_roll=signed["who"] == Who.ROLL,
        )
    except KeyError:
        raise NotAVote(MalformedReason.BAD_SIGNATURE) from None


def read_update(body: bytes, poll_key: bytes) -> ParsedVote:
    """Parse a vote by name, as the replaced poll services tell each other of it, into a vote.

    It is the vote that the gateway would create for that name. Write permission on the exchange
    is its only proof.

    Args:
        body: of bounded length.
        poll_key: key of the voters' hashes.

    Raises:
        NotAVote: it is malformed.
    """
    fields = read_object(body)
    for needed, missing in _UPDATE_FIELDS.items():
        if needed not in fields:
            raise NotAVote(missing)
    delta = fields.get("delta", 1)
    if type(delta) is not int or delta != 1:
        raise NotAVote(MalformedReason.BAD_DELTA)
    name = text_of(fields["voter_name"]).strip()
    if not 1 <= len(name) <= MAX_NAME_CHARACTERS:
        raise NotAVote(MalformedReason.BAD_HASH)
    contest = POLL_PREFIX + _number("poll_id", fields)
    return ParsedVote(
        name_hash(poll_key, contest, name),
        contest,
        _number("option_id", fields),
        "",
        None,
        None,
        json.dumps({"voter_name": name}, ensure_ascii=False),
        poll=True,
        # In a poll restricted to the roll, a vote by name is refused: no name is on the roll.
        ask_roll=True,
    )


def _number(name: str, fields: dict[str, object]) -> str:
    text = id_of(fields[name])
    if not is_number(text):
        raise NotAVote(MalformedReason.WRONG_TYPE)
    return str(int(text))


def _take(fields: dict[str, Any], *names: str, read: Callable[[Any], _T]) -> _T | None:
    """Remove a value from `fields` under any of its names; None if it is absent."""
    found = [read(fields.pop(name)) for name in names if name in fields]
    if not found:
        return None
    if any(other != found[0] for other in found):
        raise NotAVote(MalformedReason.CONFLICTING_FIELDS)
    return found[0]
