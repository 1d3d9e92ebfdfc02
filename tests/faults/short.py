"""One scenario in its short form, for the test modules."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.devstack import Stack
from tests.faults.registry import Scenario, scenarios
from tests.faults.running import play

SHORT = [one for one in scenarios() if one.short]
OF_SERVICES = ("services-in-turn", "quorum-limit")
"""In a module of their own: two processes share the scenarios."""


async def count_is_exact(stack: Stack, folder: Path, scenario: Scenario) -> None:
    """Play it, and fail on anything that it finds."""
    result = await play(stack, folder, scenario, seed=1, votes=scenario.short_votes, short=True)
    print(result.to_json())
    if result.outcome == "skipped":
        pytest.skip(result.findings[0])
    assert result.good, "\n".join(result.findings)
