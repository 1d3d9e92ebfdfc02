"""An operator's decision, written into the log it is about: a record of it is to be passed."""

from __future__ import annotations

import msgspec


class Skip(msgspec.Struct, array_like=True, frozen=True, tag="skip/1"):
    """Lets readers pass the record at `offset` of the same partition, which cannot be decoded.

    It stands behind that record, so whoever stops there looks ahead for it. Once it is in the log,
    every reader passes, and every later reading of the log does too. Without effect otherwise.
    """

    offset: int
    """Offset of the record to pass."""
    length: int
    """Its length in bytes."""
    sha256: bytes
    """SHA-256 of its value: the decision holds for these bytes only."""
    decided_ms: int
    """Unix time in milliseconds."""
    reason: str
    """In the operator's words."""
