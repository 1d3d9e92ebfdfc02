"""Reads a JSON object's fields and writes the unknown ones again as text. Pure.

There are two ways. :func:`read_object` and :func:`metadata_of` take every body and name its fault.
:func:`read_each_once` and :func:`metadata_as_it_is` give the same fields and the same text by
msgspec, or None.
"""

from __future__ import annotations

import json
import math
import unicodedata
from typing import Any, Final, NoReturn

import msgspec

from streams.core.nesting import too_deep
from streams.messages.fields import MAX_DEPTH, MalformedReason, NotAVote, clean

_BACKSLASH: Final = ord("\\")
_PERCENT: Final = ord("%")
_LOWER: Final = bytes(range(256)).lower()
_SHALLOW_BYTES: Final = 2 * MAX_DEPTH
"""Too short for deep nesting, and for any limit of a body."""
_SIGNS: Final = bytes(c for c in range(128) if not chr(c).isalnum() and c != ord("%"))


class _Float(float):
    """A number that :data:`_encode` writes as Python does."""

    __slots__ = ()


def _float_text(value: Any) -> msgspec.Raw:
    if type(value) is not _Float or not math.isfinite(value):
        raise TypeError
    return msgspec.Raw(repr(value).encode())


_decode: Final = msgspec.json.Decoder(float_hook=_Float).decode
_encode: Final = msgspec.json.Encoder(enc_hook=_float_text).encode


def read_object(body: bytes) -> dict[str, Any]:
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


def read_each_once(body: bytes) -> dict[str, Any] | None:
    """The fields of an object in which none occurs twice and no string holds a NUL.

    A field that occurs twice, of which msgspec keeps the last, has quotation marks that are gone
    when the fields are written again.

    Returns:
        None for every other body.
    """
    try:
        fields = _decode(body)
        if type(fields) is not dict:
            return None
        again = _encode(fields)
    except (msgspec.MsgspecError, UnicodeError, RecursionError, TypeError, ValueError):
        return None
    outer = again.count(b'"') if _BACKSLASH not in again else _quotes(again.decode())
    if _BACKSLASH not in body:
        return fields if body.count(b'"') == outer else None
    text = body.decode()
    return fields if _quotes(text) == outer and "\\u0000" not in text else None


def _quotes(text: str) -> int:
    """How many quotation marks stand around names and strings."""
    if "\\\\" in text:
        text = text.replace("\\\\", "")
    inside = text.count('\\"') if '\\"' in text else 0
    return text.count('"') - inside


def metadata_of(fields: dict[str, Any], max_bytes: int) -> str | None:
    """The unknown fields as JSON. The entries of an object `metadata` are merged into them.

    Raises:
        NotAVote: they are longer than `max_bytes`, or PostgreSQL's `jsonb` would refuse them.
    """
    kept = _merged(clean(fields, MAX_DEPTH))
    if not kept:
        return None
    text = json.dumps(kept, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    if len(text.encode()) > max_bytes:
        raise NotAVote(MalformedReason.BAD_METADATA)
    return text


def metadata_as_it_is(fields: dict[str, Any], max_bytes: int) -> str | None:
    """The text of :func:`metadata_of` for fields that are kept whole.

    Args:
        fields: from :func:`read_each_once`.
        max_bytes: of the text.

    Returns:
        None if they may be too many or nested too deeply, if a number is out of range, or if a
        name or a string may hold a voter's credentials.
    """
    try:
        encoded = _encode(_merged(fields))
    except TypeError:
        return None
    if len(encoded) > _SHALLOW_BYTES and (
        len(encoded) > max_bytes or encoded.count(b"{") + encoded.count(b"[") >= MAX_DEPTH
    ):
        return None
    text = encoded.decode()
    plain = encoded if encoded.isascii() else _folded(text)
    letters = plain.translate(_LOWER, _SIGNS).decode()
    if "nas" in letters or "code" in letters or "%" in letters:
        return None
    return text


def _merged(fields: dict[str, Any]) -> dict[str, Any]:
    inner = fields.get("metadata")
    if not isinstance(inner, dict) or not inner.keys().isdisjoint(fields):
        return fields
    if len(fields) == 1:
        return inner
    return {name: value for name, value in fields.items() if name != "metadata"} | inner


def _folded(text: str) -> bytes:
    """The ASCII characters that remain of a text without accents and compatibility forms.

    Folding the case besides would add those of a sharp s, which no name of a credential holds.
    """
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore")
