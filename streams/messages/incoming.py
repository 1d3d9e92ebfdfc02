"""Full parser of message bodies: accepts every alias of every field and names every fault."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final, NoReturn, TypeVar

import msgspec

from streams.core import ranking
from streams.core.kept_body import is_secret, masked, names_secret
from streams.core.keys import ELECTION_PREFIX, normalise_hash
from streams.core.nesting import too_deep
from streams.core.polls import (
    MAX_NAME_CHARACTERS,
    POLL_PREFIX,
    SIGNED_FIELDS,
    Who,
    is_number,
    is_signed,
    name_hash,
)
from streams.messages.timestamps import parse_epoch, parse_iso

T = TypeVar("T")

MAX_HASH_BYTES: Final = 128
MAX_ID_BYTES: Final = 255
"""Longest id of a law, election, candidate or citizen, and longest choice, in UTF-8."""
MAX_DEPTH: Final = 32
"""Deepest nesting of objects and lists in unknown fields."""

CHOICES: Final = {
    variant: word for word in ("oui", "non") for variant in (word, word.upper(), word.capitalize())
}
"""Usual letter cases of a law's choices."""

_RANK: Final = re.compile(r"[0-9]{1,4}", re.ASCII)

RANKED_METHODS: Final = frozenset({"ranked_choice", "ranked", "instant_runoff"})
"""Values of `voting_method` with which `ranked_choices` is the ballot."""


class MalformedReason(StrEnum):
    """Why a message is not a valid vote."""

    TOO_LARGE = "too_large"
    """Longer than `SCRUTIN_MAX_BODY_BYTES`."""
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    """`NaN` and `Infinity` are not JSON either."""
    NOT_AN_OBJECT = "not_an_object"
    MISSING_HASH = "missing_hash"
    MISSING_CONTEST = "missing_contest"
    """Neither `law_id` nor `candidate_id`."""
    MISSING_CHOICE = "missing_choice"
    WRONG_TYPE = "wrong_type"
    """A known field has the wrong JSON type, e.g. a list instead of a string."""
    BAD_HASH = "bad_hash"
    """Empty, or longer than 128 bytes."""
    BAD_TIMESTAMP = "bad_timestamp"
    """Neither ISO 8601 nor epoch seconds, or outside the years 1970 to 9999."""
    TOO_LONG = "too_long"
    """An id or a choice has more than 255 bytes."""
    NUL_IN_STRING = "nul_in_string"
    """PostgreSQL cannot store the character U+0000."""
    LONE_SURROGATE = "lone_surrogate"
    """Half of a `\\u` pair, which is not a character."""
    CONFLICTING_FIELDS = "conflicting_fields"
    """Two aliases of one field, or one field twice, have different values."""
    RESERVED_LAW_ID = "reserved_law_id"
    """A law id of the form `election:…` or `poll:…` could be mistaken for an election or poll."""
    BAD_RANKING = "bad_ranking"
    """A candidate is ranked twice, two share a rank, or a ranking cannot hold an id."""
    BAD_SIGNATURE = "bad_signature"
    """A poll vote that no gateway signed."""
    BAD_DELTA = "bad_delta"
    """A poll update that is not exactly one more vote."""
    BAD_METADATA = "bad_metadata"
    """Unknown fields are nested too deeply, hold numbers out of range, or are too long together."""


_UPDATE_FIELDS: Final = {
    "voter_name": MalformedReason.MISSING_HASH,
    "poll_id": MalformedReason.MISSING_CONTEST,
    "option_id": MalformedReason.MISSING_CHOICE,
}
"""Of a vote by name, with the reason for which a message without it is malformed."""


class NotAVote(Exception):
    """A body is malformed."""

    def __init__(self, reason: MalformedReason) -> None:
        super().__init__(reason.value)
        self.reason = reason


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
    fields = parse(body)
    # Next to a law or a candidate, `poll_id` is an unknown field.
    if "poll_id" in fields and not fields.keys() & {"law_id", "candidate_id"}:
        return _poll_vote(fields, poll_key)
    vote_hash = _take(fields, "vote_hash", "voter_hash", "hash", read=_hash)
    law = _take(fields, "law_id", read=id_of)
    candidate = _take(fields, "candidate_id", read=id_of)
    if law is None:
        candidate = _ranked(fields, candidate)
    choice = _take(fields, "choice", "vote", read=_choice)
    timestamp = _take(fields, "timestamp", "vote_timestamp", read=_timestamp)
    citizen = _take(fields, "citizen_id", read=id_of)
    # Next to a law, `election_id` is an unknown field.
    election = _take(fields, "election_id", read=id_of) if law is None else None
    if vote_hash is None:
        raise NotAVote(MalformedReason.MISSING_HASH)
    if law is not None and candidate is not None:
        raise NotAVote(MalformedReason.CONFLICTING_FIELDS)
    metadata = _metadata(fields, max_metadata_bytes)
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


def _ranked(fields: dict[str, Any], candidate: str | None) -> str | None:
    """The marks of a ranked ballot, otherwise its candidate.

    Deployed clients send `ranked_choices` with every vote, empty or not; `voting_method` says
    whether it applies. If it does, an empty list without a candidate is a blank ballot.
    """
    method = fields.get("voting_method")
    ranks = fields.get("ranked_choices")
    stated = isinstance(method, str) and method in RANKED_METHODS
    applies = stated or method is None
    named = stated or fields.get("election_id") is not None
    blank = applies and named and ranks == [] and candidate is None
    if not blank and (not ranks or not applies):
        return candidate
    if not isinstance(ranks, list):
        raise NotAVote(MalformedReason.WRONG_TYPE)
    del fields["ranked_choices"]
    try:
        choice = ranking.to_text(_as_marked(ranks))
    except ValueError:
        raise NotAVote(MalformedReason.BAD_RANKING) from None
    first = ranking.marked_at(ranking.first_choice(choice))
    if candidate is not None and candidate not in {*first, choice}:
        raise NotAVote(MalformedReason.CONFLICTING_FIELDS)
    return choice


def _as_marked(ranks: list[Any]) -> list[list[str]]:
    """Candidates at each rank, most preferred first.

    A list has an id for each rank, several in a list of their own, or null for a rank without a
    mark; or it has objects with `candidate_id` and `rank` in any order. Ranks begin with 1, or with
    0 if one of them is 0.
    """
    if not any(isinstance(each, dict) for each in ranks):
        return [_marked(each) for each in ranks]
    placed: dict[int, list[str]] = {}
    for each in ranks:
        if not isinstance(each, dict):
            raise NotAVote(MalformedReason.WRONG_TYPE)
        placed.setdefault(_rank(each.get("rank")), []).extend(_marked(each.get("candidate_id")))
    return [placed.get(rank, []) for rank in range(min(1, *placed), max(placed) + 1)]


def _marked(candidates: Any) -> list[str]:
    if candidates is None:
        return []
    return [id_of(each) for each in (candidates if isinstance(candidates, list) else [candidates])]


def _rank(value: Any) -> int:
    """A rank, which may be sent as text."""
    if isinstance(value, str) and _RANK.fullmatch(value):
        value = int(value)
    if type(value) is not int:
        raise NotAVote(MalformedReason.WRONG_TYPE)
    if not 0 <= value <= ranking.MAX_RANKING_BYTES:
        raise NotAVote(MalformedReason.BAD_RANKING)
    return value


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
            _hash(signed["voter_hash"]),
            POLL_PREFIX + signed["poll_id"],
            signed["option_id"],
            "",
            _timestamp(signed["vote_timestamp"]),
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
    fields = parse(body)
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


def parse(body: bytes) -> dict[str, Any]:
    """The fields of a JSON object without those that are null.

    Raises:
        NotAVote: the body is not a JSON object.
    """
    try:
        # Some writers put a byte order mark before JSON.
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise NotAVote(MalformedReason.NOT_UTF8) from None
    if too_deep(body):
        raise NotAVote(MalformedReason.BAD_METADATA)
    try:
        parsed = json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)
    except json.JSONDecodeError:
        raise NotAVote(MalformedReason.NOT_JSON) from None
    except ValueError:
        # An integer of thousands of digits.
        raise NotAVote(MalformedReason.BAD_METADATA) from None
    if not isinstance(parsed, dict):
        raise NotAVote(MalformedReason.NOT_AN_OBJECT)
    # An optional field that is null is absent.
    return {name: value for name, value in parsed.items() if value is not None}


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs) and any(found[name] != value for name, value in pairs):
        raise NotAVote(MalformedReason.CONFLICTING_FIELDS)
    return found


def _no_constant(_: str) -> NoReturn:
    raise NotAVote(MalformedReason.NOT_JSON)


def _take(fields: dict[str, Any], *names: str, read: Callable[[Any], T]) -> T | None:
    """Remove a value from `fields` under any of its names; None if it is absent."""
    found = [read(fields.pop(name)) for name in names if name in fields]
    if not found:
        return None
    if any(other != found[0] for other in found):
        raise NotAVote(MalformedReason.CONFLICTING_FIELDS)
    return found[0]


def text_of(value: Any) -> str:
    """A string that PostgreSQL can store; raises NotAVote for anything else."""
    if not isinstance(value, str):
        raise NotAVote(MalformedReason.WRONG_TYPE)
    _check_text(value)
    return value


def _check_text(text: str) -> None:
    if "\0" in text:
        raise NotAVote(MalformedReason.NUL_IN_STRING)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise NotAVote(MalformedReason.LONE_SURROGATE) from None


def _hash(value: Any) -> str:
    text = text_of(value)
    if not 1 <= len(text.encode()) <= MAX_HASH_BYTES:
        raise NotAVote(MalformedReason.BAD_HASH)
    return normalise_hash(text)


def id_of(value: Any) -> str:
    """An id, which may be sent as a number; raises NotAVote for anything else."""
    # In Python bool is an int; in JSON it is not.
    text = str(value) if type(value) is int else text_of(value)
    if len(text.encode()) > MAX_ID_BYTES:
        raise NotAVote(MalformedReason.TOO_LONG)
    return text


def _choice(value: Any) -> str:
    text = id_of(text_of(value))
    return CHOICES.get(text.strip().lower(), text)


def _timestamp(value: Any) -> int:
    if isinstance(value, str):
        micros = parse_iso(text_of(value))
    elif type(value) in {int, float}:
        micros = parse_epoch(value)
    else:
        raise NotAVote(MalformedReason.WRONG_TYPE)
    if micros is None:
        raise NotAVote(MalformedReason.BAD_TIMESTAMP)
    return micros


def _metadata(fields: dict[str, Any], max_bytes: int) -> str | None:
    """The remaining fields as JSON. The entries of an object `metadata` are merged into them."""
    kept = clean(fields, MAX_DEPTH)
    inner = kept.get("metadata")
    if isinstance(inner, dict) and inner.keys().isdisjoint(kept):
        del kept["metadata"]
        kept |= inner
    if not kept:
        return None
    text = json.dumps(kept, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    if len(text.encode()) > max_bytes:
        raise NotAVote(MalformedReason.BAD_METADATA)
    return text


def clean(value: Any, depth: int) -> Any:
    """Copy without secrets; refuse values that PostgreSQL's `jsonb` would refuse."""
    if isinstance(value, str):
        _check_text(value)
        return masked(value.encode()).decode() if names_secret(value) else value
    if isinstance(value, float) and not math.isfinite(value):
        raise NotAVote(MalformedReason.BAD_METADATA)
    if not isinstance(value, dict | list):
        return value
    if depth == 0:
        raise NotAVote(MalformedReason.BAD_METADATA)
    if isinstance(value, list):
        return [clean(item, depth - 1) for item in value]
    for name in value:
        _check_text(name)
    return {name: clean(item, depth - 1) for name, item in value.items() if not is_secret(name)}
