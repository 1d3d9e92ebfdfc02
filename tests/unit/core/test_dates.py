"""Dates and times of contests: one meaning at every door."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.dates import described, parse_begin, parse_end
from streams.runtime.zones import zone_of

TORONTO = zone_of("America/Toronto")
HAVANA = zone_of("America/Havana")
DAYS = st.dates(date(1990, 1, 1), date(2100, 1, 1))
ZONES = st.sampled_from(
    [
        zone_of(name)
        for name in ("UTC", "America/Toronto", "America/Havana", "Asia/Beirut", "Pacific/Apia")
    ]
)


def utc(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp() * 1000)  # type: ignore[misc,arg-type]


@pytest.mark.parametrize(
    ("text", "begins", "ends"),
    [
        ("2026-12-05", utc(2026, 12, 5, 5), utc(2026, 12, 6, 5)),
        ("20261205", utc(2026, 12, 5, 5), utc(2026, 12, 6, 5)),
        (" 2026-12-05 ", utc(2026, 12, 5, 5), utc(2026, 12, 6, 5)),
        ("2026-W49-6", utc(2026, 12, 5, 5), utc(2026, 12, 6, 5)),
        ("2026-12-05T20:00", utc(2026, 12, 6, 1), utc(2026, 12, 6, 1)),
        ("20261205T2000", utc(2026, 12, 6, 1), utc(2026, 12, 6, 1)),
        ("2026-12-05T00:00", utc(2026, 12, 5, 5), utc(2026, 12, 5, 5)),
        ("2026-12-05 24:00", utc(2026, 12, 6, 5), utc(2026, 12, 6, 5)),
        ("2026-12-05T24:00:00Z", utc(2026, 12, 6), utc(2026, 12, 6)),
        ("2026-12-05T20:00:00Z", utc(2026, 12, 5, 20), utc(2026, 12, 5, 20)),
        ("2026-12-05T20:00:00+02:00", utc(2026, 12, 5, 18), utc(2026, 12, 5, 18)),
        # The day on which clocks go forward has 23 hours.
        ("2026-03-08", utc(2026, 3, 8, 5), utc(2026, 3, 9, 4)),
    ],
)
def test_a_date_alone_is_a_whole_day(text: str, begins: int, ends: int) -> None:
    assert (parse_begin(text, TORONTO), parse_end(text, TORONTO)) == (begins, ends)


def test_dates_and_times_of_tables_mean_the_same() -> None:
    day = date(2026, 12, 5)
    assert parse_end(day, TORONTO) == parse_end("2026-12-05", TORONTO)
    assert parse_end(datetime.fromisoformat("2026-12-05T00:00"), TORONTO) == utc(2026, 12, 5, 5)
    assert parse_end(None) is parse_end("") is parse_begin("  ") is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("2026-03-08T02:30", "does not exist"),
        ("2026-11-01T01:30", "comes twice.*-04:00 or .*-05:00"),
        ("soon", "is no time"),
        ("2026-13-05", "is no time"),
        ("2026-12-05T25:00", "is no time"),
        ("9999-12-31", "out of range"),
    ],
)
def test_a_time_that_is_none_or_two_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_end(text, TORONTO)


def test_an_offset_says_which_of_two_is_meant() -> None:
    assert parse_end("2026-11-01T01:30-04:00", TORONTO) == utc(2026, 11, 1, 5, 30)
    assert parse_end("2026-11-01T01:30-05:00", TORONTO) == utc(2026, 11, 1, 6, 30)


def test_a_day_begins_once_where_clocks_change_at_midnight() -> None:
    # Midnight does not exist on 8 March 2026 in Havana, and comes twice on 1 November.
    assert parse_begin("2026-03-08", HAVANA) == parse_end("2026-03-07", HAVANA)
    assert parse_begin("2026-03-08", HAVANA) == utc(2026, 3, 8, 5)
    assert parse_begin("2026-11-01", HAVANA) == utc(2026, 11, 1, 4)


def test_an_unknown_zone_is_refused() -> None:
    for name in ("Atlantis/Main", "", "../etc/passwd", "/etc/localtime"):
        with pytest.raises(ValueError, match="no time zone"):
            zone_of(name)


def test_it_is_said_as_it_is_written() -> None:
    end = parse_end("2026-12-05", TORONTO)
    assert end is not None
    assert described(end, TORONTO, end=True) == "2026-12-05 24:00 America/Toronto"
    assert described(end, TORONTO, end=False) == "2026-12-06 00:00 America/Toronto"
    assert described(utc(2026, 12, 5, 20), end=True) == "2026-12-05 20:00 UTC"
    assert described(utc(2026, 12, 5, 20, 0, 7), end=True) == "2026-12-05 20:00:07 UTC"
    twice = described(utc(2026, 11, 1, 5, 30), TORONTO, end=True)
    assert twice == "2026-11-01 01:30 America/Toronto (UTC-0400)"


@given(DAYS, ZONES)
def test_days_follow_each_other_without_a_gap(day: date, zone: object) -> None:
    following = (day + timedelta(days=1)).isoformat()
    assert parse_end(day.isoformat(), zone) == parse_begin(following, zone)  # type: ignore[arg-type]
    assert parse_end(day, zone) == parse_end(f"{day:%Y%m%d}", zone)  # type: ignore[arg-type]
