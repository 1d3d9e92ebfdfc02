"""How long partitions make no progress when their worker is killed.

Most of it is Kafka's session timeout, 10 s: until then the group cannot know. The rest is the
rebalance and reading on from where the dead worker was.
"""

from __future__ import annotations

import asyncio
import time

from tests.bench.figure import Figure, Found, Row, Run
from tests.bench.spread import plan_of
from tests.harness import Chain, database, until

RATE_PER_S = 1000
_PATIENCE_S = 60.0


async def measure(run: Run) -> Found:
    """Seconds from SIGKILL of one of two workers until every partition is counted again."""
    seconds = 30
    plan = plan_of(RATE_PER_S * seconds)
    async with Chain(run.stack, run.directory, workers=2) as chain:
        await chain.load_roll(plan)
        await chain.start()
        playing = asyncio.create_task(chain.publish(plan, rate=RATE_PER_S))
        connection = await database(chain.settings)

        async def offsets() -> dict[int, int]:
            found = await connection.fetch("SELECT partition, source_offset FROM sink_offsets")
            return {row[0]: row[1] for row in found}

        async def all_moving() -> bool:
            now = await offsets()
            return len(now) == chain.settings.partitions and all(
                now[p] > before.get(p, -1) + 2 for p in now
            )

        try:
            before: dict[int, int] = {}
            await until(all_moving, "every partition is counted", _PATIENCE_S)
            run.say("killing a worker")
            killed = time.perf_counter()
            await chain.workers[0].kill()
            before = await offsets()
            await until(all_moving, "every partition is counted again", _PATIENCE_S, 0.02)
            stood_s = time.perf_counter() - killed
            expected = await playing
        finally:
            playing.cancel()
            await connection.close()
        await chain.verify(expected)
    return {"rate_per_s": RATE_PER_S, "stood_s": round(stood_s, 2)}


def rows(found: Found) -> list[Row]:
    """Lines for people."""
    what = f"partitions without progress after a kill, at {found['rate_per_s']:,} votes/s"
    return [Row(what, f"{found['stood_s']:.1f} s")]


FIGURE = Figure("takeover", measure, rows, usual=False)
