"""The short form of the fault scenarios in which services fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.devstack import Stack
from tests.faults.registry import Scenario
from tests.faults.short import OF_SERVICES, SHORT, count_is_exact


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "scenario", [one for one in SHORT if one.name in OF_SERVICES], ids=lambda one: one.name
)
async def test_the_count_is_exact(stack: Stack, tmp_path: Path, scenario: Scenario) -> None:
    await count_is_exact(stack, tmp_path, scenario)
