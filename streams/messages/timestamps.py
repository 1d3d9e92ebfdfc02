"""Parses timestamps of incoming messages and formats those of outgoing messages."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import Final

from streams.core.rows import MAX_TIMESTAMP_US

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - subtracted from naive times only

_LEAP_SECOND: Final = re.compile(r"(?<=[T ]\d\d:\d\d:)60(?!\d)", re.IGNORECASE)
"""Clocks may show it at the end of a minute; Unix time has the next second instead."""
_POINT: Final = re.compile(r"(?<=\d\d:\d\d:\d\d)[.,](?!\d)")


def parse_iso(text: str) -> int | None:
    """Convert an ISO 8601 string to Unix microseconds; a time without offset is UTC.

    Returns:
        None if it is not a date and time, or outside 1970 to 9999.
    """
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        if _LEAP_SECOND.search(text):
            before = parse_iso(_LEAP_SECOND.sub("59", text))
            return None if before is None else min(before + 1_000_000, MAX_TIMESTAMP_US)
        # Python 3.14 refuses a point without digits, which earlier versions skip.
        usual = _POINT.sub("", text[:-1] + "Z" if text.endswith("z") else text)
        if usual == text:
            return None
        try:
            parsed = datetime.fromisoformat(usual)
        except ValueError:
            return None
    if parsed.hour == 0 and "24" in text and _is_end_of_day(parsed, text):
        return None
    since = parsed - (_NAIVE_EPOCH if parsed.tzinfo is None else EPOCH)
    micros = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    return micros if 0 <= micros <= MAX_TIMESTAMP_US else None


def _is_end_of_day(parsed: datetime, text: str) -> bool:
    """Whether the text has the hour 24, which Python takes for the next day from 3.14 on.

    The date is in the first 7, 8 or 10 characters: a week, a compact date, or one with hyphens.
    """
    for length in (7, 8, 10):
        with suppress(ValueError):
            if date.fromisoformat(text[:length]) == parsed.date():
                return False
    return True


def parse_epoch(seconds: int | float) -> int | None:
    """Convert epoch seconds to Unix microseconds.

    Returns:
        None outside 1970 to 9999, which includes milliseconds sent by mistake.
    """
    if isinstance(seconds, float) and not math.isfinite(seconds):
        return None
    # Compare before multiplying: this may be an integer of any length.
    if not 0 <= seconds < 253_402_300_800:
        return None
    micros = round(seconds * 1_000_000)
    return micros if micros <= MAX_TIMESTAMP_US else None


def format_us(micros: int) -> str:
    """ISO 8601 in UTC with `Z`, with a fraction only if it is not zero."""
    return _format(EPOCH + timedelta(microseconds=micros))


def format_ms(millis: int) -> str:
    """Like :func:`format_us`, from milliseconds."""
    return _format(EPOCH + timedelta(milliseconds=millis))


def _format(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat() + "Z"
