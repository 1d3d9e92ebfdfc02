"""The short form of the fault scenarios; `make chaos` has the long one, and all the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.devstack import Stack
from tests.faults.registry import Scenario, scenarios
from tests.faults.running import play

SHORT = [one for one in scenarios() if one.short]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("scenario", SHORT, ids=lambda one: one.name)
async def test_the_count_is_exact(stack: Stack, tmp_path: Path, scenario: Scenario) -> None:
    result = await play(stack, tmp_path, scenario, seed=1, votes=scenario.short_votes, short=True)
    print(result.to_json())
    if result.outcome == "skipped":
        pytest.skip(result.findings[0])
    assert result.good, "\n".join(result.findings)
