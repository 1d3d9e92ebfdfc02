"""Poll votes on the queue: made and signed by a gateway, believed by the bridge; pure.

A password of the queue is not enough to stuff a poll: only a vote that carries the signature of
`SCRUTIN_SECRET` is one.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

POLL_PREFIX: Final = "poll:"

SIGNED_FIELDS: Final = ("poll_id", "option_id", "voter_hash", "vote_timestamp", "who", "voter_name")
"""In the order in which they are signed; all are text, `voter_name` may be absent."""

_PURPOSE: Final = b"scrutin poll vote/1"


class Who(StrEnum):
    """Who may vote in a poll, once each."""

    NAME = "name"
    """Any name that a voter gives."""
    COOKIE = "cookie"
    """Any browser, by a signed cookie."""
    KEY = "key"
    """Holders of an API key."""
    ROLL = "roll"
    """Hashes on the roll."""


def poll_key(secret: str) -> bytes:
    """The key that signs poll votes; empty without a secret."""
    if not secret:
        return b""
    return hmac.digest(secret.encode(), _PURPOSE, "sha256")


def sign(key: bytes, fields: Mapping[str, str]) -> str:
    """Signature of a vote, 64 hexadecimal digits (HMAC-SHA-256)."""
    parts = [fields.get(name, "").encode() for name in SIGNED_FIELDS]
    # With their lengths, so that no two votes are signed alike.
    message = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return hmac.new(key, message, hashlib.sha256).hexdigest()


def is_signed(key: bytes, fields: Mapping[str, str], signature: str) -> bool:
    """Whether a vote was signed with the key; never without one."""
    return bool(key) and hmac.compare_digest(sign(key, fields).encode(), signature.encode())
