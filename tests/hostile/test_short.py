"""The short form of the hostile harness; `make hostile` has the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.devstack import Stack
from tests.hostile.attacks import ATTACKS
from tests.hostile.broken import BOUNDS, broken_gateway
from tests.hostile.running import ground
from tests.integration.gateway_harness import GatewayChain

BROKEN = ["message", "guesses"]


@pytest.mark.timeout(400)
async def test_honest_clients_see_nothing_of_hostile_ones(stack: Stack, tmp_path: Path) -> None:
    attacks = [each.name for each in ATTACKS if each.within_s <= 30]
    chain = GatewayChain(stack, tmp_path)
    async with ground(chain, persons=20_000, voters=20, watchers=40, votes_per_s=20) as found:
        await found.alone(2)
        result = await found.play(*attacks, lasts_s=3, clients=3)
        print(result)
        assert not result.findings(slowdown=None)

        # A gateway without two of its bounds is not called bounded.
        async with broken_gateway(BROKEN, chain.env, tmp_path) as program:
            await program.ready()
            broken = await found.play(
                *(BOUNDS[each].attack for each in BROKEN),
                lasts_s=4,
                clients=2,
                gateway=program,
                margin_s=1,
            )
            await program.kill()
    print(broken)
    assert broken.left == 1
    assert broken.told == ["40 guesses for one person were answered"]
    assert broken.findings(slowdown=None)
