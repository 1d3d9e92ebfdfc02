"""The first record of every partition of the input log."""

from __future__ import annotations

import msgspec


class Genesis(msgspec.Struct, array_like=True, frozen=True, tag="genesis/1"):
    """Identity of the partition's log, which changelog and database store too.

    Only the record at offset 0 counts. When two processes create the topic at the same time, the
    later genesis record has no effect.
    """

    log_id: bytes
    """16 random bytes."""
    created_ms: int
    """Unix time in milliseconds."""


class RehearsalGenesis(Genesis, array_like=True, frozen=True, tag="genesis/2"):
    """Begins a log that is a rehearsal and may be reset; every other log ignores resets."""

    rehearsal: str
    """Name of the rehearsal, as `SCRUTIN_REHEARSAL` had it."""
