"""Parse times from the command line."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Final

import typer

_AGO: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def parse_since(text: str, now_ms: int | None = None) -> int:
    """`90s`, `10m`, `2h`, `3d` ago, or ISO 8601 (UTC without an offset).

    Args:
        text: of the option.
        now_ms: Unix time in milliseconds; None for the present.

    Returns:
        Unix time in milliseconds.

    Raises:
        typer.BadParameter: the text is neither.
    """
    now = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    if ago := _AGO.fullmatch(text.strip()):
        return now - round(float(ago[1]) * _SECONDS[ago[2]] * 1000)
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r} is not a time; write 90s, 10m, 2h, 3d or 2026-11-22T10:30:00Z"
        ) from error
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
