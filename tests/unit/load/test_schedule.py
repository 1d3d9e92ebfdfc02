"""When messages are due."""

from __future__ import annotations

import pytest

from streams.load.publisher import Schedule


@pytest.mark.parametrize(
    ("now_us", "due"),
    [(-2_000_000, 0), (-1, 0), (0, 1), (199_999, 1), (200_000, 2), (1_000_000, 6)],
)
def test_messages_are_due_from_the_start_on(now_us: int, due: int) -> None:
    start_us = 1_700_000_000_000_000
    assert Schedule(start_us, 5).due(start_us + now_us) == due
