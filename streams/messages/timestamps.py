"""When a voter voted, as messages say it, and as messages of ours say it."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - subtracted from naive times only

MAX_TIMESTAMP_US: Final = 253_402_300_799_999_999
"""9999-12-31T23:59:59.999999Z, the last that Python's `datetime` holds."""


def parse_iso(text: str) -> int | None:
    """Unix time in microseconds of an ISO 8601 text; a time without offset is UTC.

    Returns:
        None if it is no date and time, or outside 1970 to 9999.
    """
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        if not text.endswith("z"):
            return None
        try:
            parsed = datetime.fromisoformat(text[:-1] + "Z")
        except ValueError:
            return None
    since = parsed - (_NAIVE_EPOCH if parsed.tzinfo is None else EPOCH)
    micros = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    return micros if 0 <= micros <= MAX_TIMESTAMP_US else None


def parse_epoch(seconds: int | float) -> int | None:
    """Unix time in microseconds of epoch seconds.

    Returns:
        None outside 1970 to 9999; so are milliseconds sent by mistake.
    """
    if isinstance(seconds, float) and not math.isfinite(seconds):
        return None
    # Compared before it is multiplied: an integer of any length may stand here.
    if not 0 <= seconds < 253_402_300_800:
        return None
    micros = round(seconds * 1_000_000)
    return micros if micros <= MAX_TIMESTAMP_US else None


def format_us(micros: int) -> str:
    """ISO 8601 in UTC with `Z`, with a fraction only where there is one."""
    return _format(EPOCH + timedelta(microseconds=micros))


def format_ms(millis: int) -> str:
    """As :func:`format_us`, from milliseconds."""
    return _format(EPOCH + timedelta(milliseconds=millis))


def _format(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat() + "Z"
