"""A publisher in a process of its own: what it does besides holds up nobody who measures."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from streams.load.election import LoadPlan
from tests.harness import Chain


@asynccontextmanager
async def publishing(
    chain: Chain, plan: LoadPlan, *, rate_per_s: int, expected: Path, ahead: bool = False
) -> AsyncIterator[asyncio.subprocess.Process]:
    """`scrutin publish` of votes that all count; its standard output is its summary as JSON.

    Args:
        chain: whose queue is published to; has its roll.
        plan: how many votes, and the seed.
        rate_per_s: messages a second.
        expected: file for the expected outcome.
        ahead: make all messages before the first is due; voters make theirs elsewhere, too.
    """
    publisher = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("scrutin")),
        *("publish", "--no-load-roll", "--json", "--rate", str(rate_per_s)),
        *("--votes", str(plan.votes), "--seed", str(plan.seed), "--expected", str(expected)),
        *("--duplicates", "0", "--repeats", "0", "--unknown", "0"),
        *("--invalid-choice", "0", "--malformed", "0"),
        *(("--mixture",) if plan.mixture else ()),
        *(("--ahead",) if ahead else ()),
        env=chain.env,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield publisher
    finally:
        if publisher.returncode is None:
            publisher.kill()
