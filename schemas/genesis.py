"""The first record of every partition of the input log."""

from __future__ import annotations

import msgspec


class Genesis(msgspec.Struct, array_like=True, frozen=True, tag="genesis/1"):
    """Gives the partition an identity that changelog and database remember.

    Only the record at offset 0 counts: when two processes create the topic at the same time, the
    later genesis is a record without effect.
    """

    log_id: bytes
    """16 random bytes."""
    created_ms: int
    """Unix time in milliseconds."""
