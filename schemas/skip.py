"""An operator's decision to skip a record, written to the log that holds the record."""

from __future__ import annotations

import msgspec


class Skip(msgspec.Struct, array_like=True, frozen=True, tag="skip/1"):
    """Lets readers skip the record at `offset` of the same partition, which cannot be decoded.

    It comes after that record, so a reader that stops there looks ahead for it. With it in the log,
    every reader skips the record, now and later. It has no other effect.
    """

    offset: int
    """Offset of the record to skip."""
    length: int
    """Its length in bytes."""
    sha256: bytes
    """SHA-256 of its value; the decision applies to these bytes only."""
    decided_ms: int
    """Unix time in milliseconds."""
    reason: str
    """In the operator's words."""
