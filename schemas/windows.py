"""State of the tumbling windows, as the compacted topic `votes.windows` holds it."""

from __future__ import annotations

import msgspec


class WindowKey(msgspec.Struct, array_like=True, frozen=True, tag="window-key/1"):
    """Kafka key: one choice of one contest in one window."""

    contest: str
    choice: str
    window_start_ms: int
    """Unix time in milliseconds; `BATCH_TIMEOUT_SECONDS` is the window's width."""


class WindowState(msgspec.Struct, array_like=True, frozen=True, tag="window/1"):
    """Kafka value: the window's total so far."""

    votes: int
