"""The short form of the hostile harness; `make hostile` has the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.devstack import Stack
from tests.hostile.attacks import ATTACKS
from tests.hostile.running import ground

MEMORY_MIB = 96


@pytest.mark.timeout(400)
async def test_honest_clients_see_nothing_of_hostile_ones(stack: Stack, tmp_path: Path) -> None:
    attacks = [each for each in ATTACKS if each.within_s <= 35]
    async with ground(stack, tmp_path, voters=20_000, watchers=50, votes_per_s=20) as found:
        result = await found.play(attacks, await found.alone(2), clients=5)
    print(result)
    assert not result.honest_errors
    assert not result.told
    assert (result.lost, result.left) == (0, 0)
    assert result.memory_mib <= MEMORY_MIB
