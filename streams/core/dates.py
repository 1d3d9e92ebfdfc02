"""Times as people write them, for everything that opens or closes; pure.

One meaning everywhere. A date alone is a whole day: as a beginning the start of that day, as an end
its end. Without an offset a time is local to the zone of the deployment.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final

_END_OF_DAY: Final = re.compile(r"[T ]24(:?00){0,3}(?=$|[+-]|Z)")
"""The clock time 24:00: the end of the date before it."""
_EXAMPLES: Final = "write 2026-12-05, 2026-12-05T20:00 or 2026-12-05T20:00:00-05:00"
_MIDNIGHT: Final = time()


def parse_begin(value: object, zone: tzinfo = UTC) -> int | None:
    """When something begins; a date alone is the start of that day.

    Args:
        value: ISO 8601, or a date or a time; nothing or an empty text is none.
        zone: of times without an offset.

    Returns:
        Unix milliseconds.

    Raises:
        ValueError: it is no time, or one that does not exist or comes twice in the zone.
    """
    return _parse(value, zone, end=False)


def parse_end(value: object, zone: tzinfo = UTC) -> int | None:
    """When something ends; as :func:`parse_begin`, but a date alone is the end of that day."""
    return _parse(value, zone, end=True)


def described(at_ms: int, zone: tzinfo = UTC, *, end: bool) -> str:
    """A time for people, with its zone; the end of a day is 24:00 of that day.

    Args:
        at_ms: Unix milliseconds.
        zone: in which to say it.
        end: whether something ends then.
    """
    at = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(zone)
    name = str(zone)
    day, clock = at.date(), f"{at:%H:%M}"
    if end and at_ms == _start_of(day, zone):
        day, clock = day - timedelta(days=1), "24:00"
    elif at.second:
        clock = f"{at:%H:%M:%S}"
    elif len(_instants(at.replace(tzinfo=None), zone)) > 1:
        # It comes twice on this day.
        name = f"{name} (UTC{at:%z})"
    return f"{day.isoformat()} {clock} {name}"


def _parse(value: object, zone: tzinfo, *, end: bool) -> int | None:
    if value is None:
        return None
    if isinstance(value, datetime):
        return _ms(value, zone)
    if isinstance(value, date):
        return _start_of(value + timedelta(days=end), zone)
    text = str(value).strip()
    if not text:
        return None
    try:
        return _parse_text(text, zone, end=end)
    except OverflowError as error:
        raise ValueError(f"{text!r} is out of range") from error


def _parse_text(text: str, zone: tzinfo, *, end: bool) -> int:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        pass
    else:
        return _start_of(day + timedelta(days=end), zone)
    midnight = _END_OF_DAY.search(text)
    if midnight is not None:
        offset = text[midnight.end() :]
        day = date.fromisoformat(text[: midnight.start()]) + timedelta(days=1)
        if not offset:
            return _start_of(day, zone)
        text = f"{day.isoformat()}T00:00{offset}"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no time; {_EXAMPLES}") from error
    return _ms(moment, zone)


def _ms(moment: datetime, zone: tzinfo) -> int:
    if moment.tzinfo is None:
        found = _instants(moment, zone)
        if not found:
            raise ValueError(f"{moment.isoformat()} does not exist in {zone}: clocks go forward")
        if len(found) > 1:
            choices = " or ".join(at.astimezone(zone).isoformat() for at in found)
            raise ValueError(
                f"{moment.isoformat()} comes twice in {zone}: clocks go back; write {choices}"
            )
        moment = found[0]
    return int(moment.timestamp() * 1000)


def _instants(local: datetime, zone: tzinfo) -> list[datetime]:
    """When a local time is, in UTC: once, never or twice."""
    found = {local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)}
    return sorted(at for at in found if at.astimezone(zone).replace(tzinfo=None, fold=0) == local)


def _start_of(day: date, zone: tzinfo) -> int:
    """The first moment of a day, also where clocks change at midnight."""
    return int(datetime.combine(day, _MIDNIGHT, zone).timestamp() * 1000)
