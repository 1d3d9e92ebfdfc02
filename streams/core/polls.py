"""Signatures of poll votes: made by a gateway, checked by the bridge; pure.

A queue password is not enough to stuff a poll: a poll vote counts only with a signature by
`SCRUTIN_SECRET`.
"""

from __future__ import annotations

import hmac
import unicodedata
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

POLL_PREFIX: Final = "poll:"
MAX_NAME_CHARACTERS: Final = 100
"""Of a voter's name."""

SIGNED_FIELDS: Final = ("poll_id", "option_id", "voter_hash", "vote_timestamp", "who", "voter_name")
"""In signing order. All are text; `voter_name` may be absent."""

_APOSTROPHES: Final = dict.fromkeys(
    map(ord, "\u2018\u2019\u201b\u02b9\u02bb\u02bc\u2032\u00b4`"), "'"
)
_MINUS: Final = "\u2212\u02d7\u2043"
_PURPOSE: Final = b"scrutin poll vote/1"


class Who(StrEnum):
    """Who may vote in a poll, each once."""

    NAME = "name"
    """Any name that a voter enters."""
    COOKIE = "cookie"
    """Any browser, by a signed cookie."""
    KEY = "key"
    """Holders of an API key."""
    ROLL = "roll"
    """Hashes on the roll."""


def derived_key(secret: str, purpose: bytes) -> bytes:
    """A key of one purpose; empty without a secret."""
    if not secret:
        return b""
    return hmac.digest(secret.encode(), purpose, "sha256")


def poll_key(secret: str) -> bytes:
    """Key that signs poll votes; empty without a secret."""
    return derived_key(secret, _PURPOSE)


def is_number(text: str) -> bool:
    """Whether a text is the number of a poll or of an option, as PostgreSQL can hold it."""
    return text.isascii() and text.isdigit() and len(text) <= 18


def name_hash(key: bytes, contest: str, name: str) -> str:
    """Hash of a voter's name; names that look the same are the same (:func:`folded_name`)."""
    return keyed_hash(key, Who.NAME, contest, folded_name(name))


def folded_name(name: str) -> str:
    """A name without what a reader does not see or may type in several ways.

    Case, the width of blanks, invisible characters, and the forms of apostrophes and hyphens make
    no difference. Accents do.
    """
    # First, because the compatibility form of an acute accent alone begins with a blank.
    plain = unicodedata.normalize("NFKC", name.translate(_APOSTROPHES))
    shown = "".join(
        "-" if unicodedata.category(c) == "Pd" or c in _MINUS else c
        for c in plain.translate(_APOSTROPHES)
        if unicodedata.category(c) != "Cf"
    )
    # Again: folding may take a letter and its accents apart.
    return " ".join(unicodedata.normalize("NFKC", shown.casefold()).split())


def keyed_hash(key: bytes, kind: str, contest: str, text: str) -> str:
    """64 hexadecimal digits (HMAC-SHA-256) that reveal the text only to holders of the key.

    Args:
        key: :func:`poll_key`.
        kind: the type of the text.
        contest: its id; hashes differ between contests.
        text: to hash.
    """
    message = f"{kind}\0{contest}\0".encode() + text.encode("utf-8", "surrogatepass")
    return hmac.digest(key, message, "sha256").hex()


def sign(key: bytes, fields: Mapping[str, str]) -> str:
    """Signature of a vote, 64 hexadecimal digits (HMAC-SHA-256)."""
    parts = [fields.get(name, "").encode() for name in SIGNED_FIELDS]
    # With their lengths, so that no two votes have the same signed message.
    message = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return hmac.digest(key, message, "sha256").hex()


def is_signed(key: bytes, fields: Mapping[str, str], signature: str) -> bool:
    """Whether a vote was signed with the key; False if the key is empty."""
    return bool(key) and hmac.compare_digest(sign(key, fields).encode(), signature.encode())
