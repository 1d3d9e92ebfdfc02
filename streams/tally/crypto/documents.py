"""JSON in the reference's format: numbers mod p and mod q are upper-case hex strings."""

from __future__ import annotations

import base64
from typing import Any, TypeVar

import msgspec
from gmpy2 import mpz

from streams.tally.crypto.group import to_hex
from streams.tally.refusals import RefusalCheck, Refused

T = TypeVar("T")

_MAX_DIGITS = 1024
"""Hex digits of p; longer numbers are invalid, and converting them would cost time."""


def _encode(value: Any) -> str:
    if isinstance(value, mpz):
        return to_hex(value)
    raise NotImplementedError(f"{type(value).__name__} has no JSON form")


def _decode(kind: type, value: Any) -> mpz:
    if kind is not mpz:
        raise NotImplementedError(f"{kind.__name__} cannot be read")
    if not isinstance(value, str):
        raise ValueError("expected a string of hex digits")
    digits = "0" + value if len(value) % 2 else value
    # Several times faster than to look at each character; it skips spaces, which are no digits.
    data = bytes.fromhex(digits) if 0 < len(value) <= _MAX_DIGITS else b""
    if not data or 2 * len(data) != len(digits):
        raise ValueError("expected the hex digits of a number below p")
    return mpz(int.from_bytes(data))


_encoder = msgspec.json.Encoder(enc_hook=_encode)
_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}


def to_json(document: Any) -> bytes:
    """A document as JSON with the reference's field names."""
    return _encoder.encode(document)


def plain_json(data: bytes) -> bytes:
    """A document as JSON, where it is Base64 of MessagePack, as deployed services keep documents.

    Anything else is returned as it is, for :func:`from_json` to say what is wrong with it.
    """
    text = data.strip().strip(b'"')
    if not text or text[:1] in b"{[":
        return data
    try:
        document = msgspec.msgpack.decode(base64.b64decode(text, validate=True))
        return msgspec.json.encode(document) if isinstance(document, dict) else data
    except (ValueError, TypeError, RecursionError, msgspec.MsgspecError):
        return data


def from_json(kind: type[T], data: bytes | str) -> T:
    """Parse a document of Scrutin or of the reference; unknown fields are skipped.

    Raises:
        Refused: `format`, with the kind of document and the place in it, never the content.
    """
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind, dec_hook=_decode)
    try:
        result: T = decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(
            RefusalCheck.FORMAT, f"not a readable {kind.__name__}", where={"reason": _place(error)}
        ) from error
    return result


def _place(error: Exception) -> str:
    """Where the decoder stopped; its text quotes field names but no values."""
    return str(error) if isinstance(error, msgspec.ValidationError) else "not valid JSON"
