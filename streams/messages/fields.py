"""The values of a message's fields, and why a message is no vote. Pure."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Any, Final

from streams.core.kept_body import ballot_names_secret, is_secret, masked, names_secret
from streams.core.keys import ENCRYPTED_BALLOT, normalise_hash
from streams.messages.timestamps import parse_epoch, parse_iso

MAX_HASH_BYTES: Final = 128
MAX_ID_BYTES: Final = 255
"""Longest id of a law, election, candidate or citizen, and longest choice, in UTF-8."""
MAX_DEPTH: Final = 32
"""Deepest nesting of objects and lists in unknown fields."""
CHOICES: Final = {
    variant: word for word in ("oui", "non") for variant in (word, word.upper(), word.capitalize())
}
"""Usual letter cases of a law's choices."""


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


class NotAVote(Exception):
    """A body is malformed."""

    def __init__(self, reason: MalformedReason) -> None:
        super().__init__(reason.value)
        self.reason = reason


def text_of(value: Any) -> str:
    """A string that PostgreSQL can store; raises NotAVote for anything else."""
    if not isinstance(value, str):
        raise NotAVote(MalformedReason.WRONG_TYPE)
    check_text(value)
    return value


def check_text(text: str) -> None:
    if "\0" in text:
        raise NotAVote(MalformedReason.NUL_IN_STRING)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise NotAVote(MalformedReason.LONE_SURROGATE) from None


def hash_of(value: Any) -> str:
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


def choice_of(value: Any) -> str:
    text = id_of(text_of(value))
    return CHOICES.get(text.strip().lower(), text)


def timestamp_of(value: Any) -> int:
    if isinstance(value, str):
        micros = parse_iso(text_of(value))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        micros = parse_epoch(value)
    else:
        raise NotAVote(MalformedReason.WRONG_TYPE)
    if micros is None:
        raise NotAVote(MalformedReason.BAD_TIMESTAMP)
    return micros


def clean(value: Any, depth: int) -> Any:
    """Copy without secrets; refuse values that PostgreSQL's `jsonb` would refuse."""
    if isinstance(value, str):
        check_text(value)
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
        check_text(name)
    return {
        name: _clean_ballot(item)
        if name == ENCRYPTED_BALLOT and isinstance(item, str)
        else clean(item, depth - 1)
        for name, item in value.items()
        if not is_secret(name)
    }


def _clean_ballot(text: str) -> str:
    check_text(text)
    if names_secret(text) and ballot_names_secret(text):
        return masked(text.encode()).decode()
    return text
