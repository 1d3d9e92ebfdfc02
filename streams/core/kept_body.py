"""What is kept of a malformed message's body: never `nas` or `code`. Pure, and total.

Both together are a person's credentials. A malformed body can hold them anywhere and under any
name. So the text is kept as it came only where it can't hold them:

- a JSON object loses every field whose name resembles theirs, at any depth, and every value that
  looks like a number of nine digits or holds further fields is masked, as a poll voter's name is,
- another short text is kept if it names neither field and has no long run of digits,
- of all other bodies a mask is kept: letters become `a`, digits `9`, other bytes `?`. Punctuation
  and the documented field names stay, so that a reviewer still sees what was wrong.
"""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any, Final

from streams.core.nesting import too_deep

HEAD_BYTES: Final = 4096
"""How much of a malformed body is kept."""

SECRETS: Final = frozenset({"nas", "code"})
"""The inputs of the voter's hash. Deployed clients send them along; they are never kept."""

_MAX_PLAIN: Final = 256
"""Longest text, not an object, that is kept as it came."""

_MAX_DEPTH: Final = 32

_FIELDS: Final = frozenset(
    b"vote_hash voter_hash hash law_id candidate_id election_id poll_id option_id choice vote"
    b" timestamp vote_timestamp citizen_id nas code submitted_at status processed_timestamp"
    b" metadata voter_name delta ranked_choices voting_method".split()
)
"""Words that a mask leaves: the documented field names."""

_WORD: Final = re.compile(rb"[A-Za-z_]+")
_LETTER: Final = re.compile(rb"[A-Za-z]")
_DIGIT: Final = re.compile(rb"[0-9]")
_STRANGE: Final = re.compile(rb"[^\t\n\r -~]")

_LONG_NUMBER: Final = re.compile(r"[0-9](?:[ ._/-]*[0-9]){6}")
_NINE_DIGITS: Final = re.compile(r"(?<![0-9A-Za-z])[0-9](?:[\W_]?[0-9]){8}(?![0-9A-Za-z])")
_BLOB: Final = re.compile(r"[A-Za-z0-9+/=_%-]{24}")
"""Too long for a word; perhaps something encoded."""
_HASH: Final = re.compile(r"[0-9A-Fa-f]{32,128}")
_NAMED: Final = re.compile(
    r"(?<![a-z])(?:nas|code)[^a-z0-9]{0,4}[=:|,>](?![^a-z0-9]{0,4}[0-9a-f]{64}(?![a-z0-9]))"
    r"|%(?:22|3a|3d)"
)
"""A field with its value. A digest is no credential: encrypted ballots have one called `code`."""
_BALLOT_CODE: Final = re.compile(r"[0-9A-Fa-f]{48,64}")
"""A digest as a number, without its leading zeros: one of 2^64 is shorter."""
_FIELD_NAME: Final = re.compile(r"[A-Za-z][A-Za-z_.-]{0,63}")


def is_secret(name: str) -> bool:
    """Whether a field is `nas` or `code`, however it is spelled: ` NAS`, `n.a.s.`, full width."""
    return name in SECRETS or _letters(name) in SECRETS


def names_secret(text: str) -> bool:
    """Whether a text holds such a field itself: JSON, a form or a query inside a string."""
    return _NAMED.search(_plain(text)) is not None


def ballot_names_secret(text: str) -> bool:
    """Whether the JSON of an encrypted ballot holds credentials, or the text is no such JSON.

    Its fields are judged one by one: its own `code` is a digest, and an id may end in `code`.
    """
    body = text.encode()
    ballot = None if too_deep(body) else _parsed(body)
    return not isinstance(ballot, _Object) or _names_secret(ballot)


def _names_secret(value: Any) -> bool:
    if isinstance(value, str):
        return names_secret(value)
    if not isinstance(value, list):
        return False
    if not isinstance(value, _Object):
        return any(map(_names_secret, value))
    return any(
        not (isinstance(one, str) and _BALLOT_CODE.fullmatch(one))
        if name == "code"
        else is_secret(name) or names_secret(name) or _names_secret(one)
        for name, one in value
    )


def masked(text: bytes) -> bytes:
    """A text of the same length without its letters, digits and strange bytes."""

    def word(found: re.Match[bytes]) -> bytes:
        one = found[0]
        return one if one in _FIELDS else _LETTER.sub(b"a", one)

    return _STRANGE.sub(b"?", _DIGIT.sub(b"9", _WORD.sub(word, text)))


def kept_head(body: bytes) -> bytes:
    """At most 4,096 bytes that show what was wrong with a body and hold no credentials."""
    if len(body) <= HEAD_BYTES:
        deep = too_deep(body)
        parsed = None if deep else _parsed(body)
        if isinstance(parsed, _Object):
            stripped = _stripped(parsed, _MAX_DEPTH)
            if stripped == parsed:
                return body
            head = json.dumps(_plain_object(stripped), separators=(",", ":")).encode()
            return head if len(head) <= HEAD_BYTES else masked(body)
        if not deep and _is_harmless(body):
            return body
    return masked(body[:HEAD_BYTES])


class _Object(list[tuple[str, Any]]):
    """The fields of a JSON object in their order, with those that occur twice."""


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body.decode(), object_pairs_hook=_Object)
    except ValueError:
        return None


def _stripped(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return masked(value.encode(errors="replace")).decode() if _is_risky(value) else value
    if isinstance(value, int | float) and not isinstance(value, bool):
        text = str(value) if isinstance(value, int) else f"{value:.0f}"
        return "9" * 9 if _NINE_DIGITS.fullmatch(text) else value
    if not isinstance(value, list) or depth == 0:
        return None if isinstance(value, list) else value
    if isinstance(value, _Object):
        return _Object(
            (name if _FIELD_NAME.fullmatch(name) else "?", _stripped_field(name, one, depth - 1))
            for name, one in value
            if not any(secret in _letters(name) for secret in SECRETS)
        )
    return [_stripped(one, depth - 1) for one in value]


def _stripped_field(name: str, value: Any, depth: int) -> Any:
    if isinstance(value, str) and _letters(name) == "votername":
        return masked(value.encode(errors="replace")).decode()
    return _stripped(value, depth)


def _plain_object(value: Any) -> Any:
    if isinstance(value, _Object):
        return {name: _plain_object(one) for name, one in value}
    if isinstance(value, list):
        return [_plain_object(one) for one in value]
    return value


def _is_risky(text: str) -> bool:
    """Whether a value of another field may hold a secret."""
    plain = _plain(text)
    if _NINE_DIGITS.search(plain) or _NAMED.search(plain):
        return True
    return _BLOB.search(plain) is not None and not _HASH.fullmatch(text)


def _is_harmless(body: bytes) -> bool:
    if len(body) > _MAX_PLAIN or _STRANGE.search(body) or b"\\" in body or b"%" in body:
        return False
    text = body.decode("ascii")
    letters = _letters(text)
    return not (
        any(secret in letters for secret in SECRETS)
        or _LONG_NUMBER.search(text)
        or _BLOB.search(text)
    )


def _plain(text: str) -> str:
    """Lower-case characters without accents, invisible signs and full-width forms."""
    if text.isascii():
        return text.lower()
    folded = unicodedata.normalize("NFKD", text).casefold()
    return "".join(
        str(unicodedata.decimal(c, c))
        for c in folded
        if unicodedata.category(c) not in {"Mn", "Cf"}
    )


def _letters(text: str) -> str:
    return "".join(c for c in _plain(text) if c.isalnum())
