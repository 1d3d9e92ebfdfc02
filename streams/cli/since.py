"""Parse times from the command line."""

from __future__ import annotations

import re
import time
from datetime import UTC, tzinfo
from typing import Final

import typer

from streams.core.dates import parse_begin

_LATEST_MS: Final = 253_402_300_799_999
"""The end of the year 9999."""
_AGO: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def parse_since(text: str, zone: tzinfo = UTC, now_ms: int | None = None) -> int:
    """`90s`, `10m`, `2h`, `3d` ago, or a time as :mod:`streams.core.dates` reads it.

    Args:
        text: of the option.
        zone: of times without an offset.
        now_ms: Unix time in milliseconds; None for the present.

    Returns:
        Unix time in milliseconds.

    Raises:
        typer.BadParameter: the text is neither.
    """
    now = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    why = ""
    try:
        if ago := _AGO.fullmatch(text.strip()):
            at_ms: int | None = now - round(float(ago[1]) * _SECONDS[ago[2]] * 1000)
        else:
            at_ms = parse_begin(text, zone)
    except (ValueError, OverflowError) as error:
        at_ms, why = None, f" ({error})"
    if at_ms is None or not 0 <= at_ms <= _LATEST_MS:
        raise typer.BadParameter(
            f"{text!r} is not a time; write 90s, 10m, 2h, 3d or 2026-11-22T10:30:00Z{why}"
        )
    return at_ms
