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


def _folded(text: str) -> bytes:
    """The ASCII characters that remain of a text without accents and compatibility forms.

    Folding the case besides would add those of a sharp s, which no name of a credential holds.
    """
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore")


_DEEP_SIGNS: Final = 2 * MAX_DEPTH
"""Brackets of the shallowest nesting that is too deep."""
_LETTER_OF: Final = [_folded(chr(point))[:1].lower() for point in range(256)]
"""Of each character of Latin-1; of a fraction a digit."""
_SIGNS: Final = bytes(
    point for point, of in enumerate(_LETTER_OF) if not of.isalnum() and of != b"%"
)
_LOWER: Final = bytes(ord(of or b" ") for of in _LETTER_OF)


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
    # An escaped quotation mark is one in both, unless the body has it as its number: then it would
    # stand in for one of a field that occurs twice.
    if body.count(b'"') != again.count(b'"'):
        return None
    if _BACKSLASH in again:
        text = body.decode()
        if "\\u0000" in text or "\\u0022" in text:
            return None
    return fields


def metadata_of(fields: dict[str, Any], max_bytes: int) -> str | None:
    """The unknown fields as JSON. The entries of an object `metadata` are merged into them.

    Raises:
        NotAVote: they are longer than `max_bytes`, or PostgreSQL's `jsonb` would refuse them.
    """
    kept = clean(fields, MAX_DEPTH)
    kept = _merged(kept, kept.get("metadata"))
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
        inner = fields.get("metadata")
        encoded = _encode(fields if inner is None else _merged(fields, inner))
    except TypeError:
        return None
    if len(encoded) > max_bytes:
        return None
    text = encoded.decode()
    try:
        plain = text.encode("latin-1")
    except UnicodeEncodeError:
        plain = _folded(text)
    letters = plain.translate(_LOWER, _SIGNS).decode()
    if len(plain) - len(letters) >= _DEEP_SIGNS and text.count("{") + text.count("[") >= MAX_DEPTH:
        return None
    if "nas" in letters or "code" in letters or "%" in letters:
        return None
    return text


def _merged(fields: dict[str, Any], inner: Any) -> dict[str, Any]:
    if not isinstance(inner, dict):
        return fields
    if len(fields) == 1:
        return fields if "metadata" in inner else inner
    if not inner.keys().isdisjoint(fields):
        return fields
    return {name: value for name, value in fields.items() if name != "metadata"} | inner
