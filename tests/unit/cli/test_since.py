"""Times as people type them."""

from __future__ import annotations

import pytest
import typer

from streams.cli.since import parse_since
from streams.runtime.zones import zone_of

NOW = 1_800_000_000_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", NOW - 90_000),
        ("10m", NOW - 600_000),
        ("1.5h", NOW - 5_400_000),
        (" 3d ", NOW - 259_200_000),
        ("2026-11-22T10:30:00Z", 1_795_343_400_000),
        ("2026-11-22T10:30:00", 1_795_343_400_000),
        ("2026-11-22T12:30:00+02:00", 1_795_343_400_000),
        ("2026-11-22", 1_795_305_600_000),
    ],
)
def test_times(text: str, expected: int) -> None:
    assert parse_since(text, now_ms=NOW) == expected


def test_a_time_without_offset_is_in_the_zone_of_the_deployment() -> None:
    zone = zone_of("America/Toronto")
    assert parse_since("2026-11-22T10:30:00", zone) == 1_795_343_400_000 + 5 * 3_600_000
    assert parse_since("2026-11-22T10:30:00Z", zone) == 1_795_343_400_000


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "10", "10w", "-5m", "m", f"{'9' * 400}d", "9999999999d", "2026-11-22\0"],
)
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is not a time"):
        parse_since(text, now_ms=NOW)
