"""What a vote costs after millions: CPU and memory in the first and in the last stretch.

Votes come at a rate that the chain keeps up with. Flat out they would pile up in RabbitMQ, which
takes a different time for a vote then, and in the last stretch nobody would publish any more.
"""

from __future__ import annotations

import time

from tests.bench.cpu import by_process, per_vote_us
from tests.bench.figure import Figure, Found, Row, Run
from tests.bench.publishing import publishing
from tests.bench.restore import resident_bytes
from tests.bench.spread import full_queue, plan_of
from tests.harness import Chain, database, until

STRETCHES = 5
RATE_PER_S = 8000
WARM_UP_VOTES = 50_000
GOAL_RATIO = 1.10
_WITHIN_S = 1800.0


async def measure(run: Run) -> Found:
    """Publish at a rate; look at every fifth of the votes as it is committed."""
    votes = 5_000_000 if run.long else max(run.votes, 20_000)
    plan = plan_of(votes)
    stretch = votes // STRETCHES
    stretches = []
    run.say(f"warming up with {WARM_UP_VOTES:,} votes")
    await full_queue(run, plan_of(WARM_UP_VOTES))
    async with Chain(run.stack, run.directory) as chain:
        await chain.load_roll(plan)
        await chain.start()
        connection = await database(chain.settings)

        async def counted() -> int:
            query = "SELECT coalesce(sum(votes), 0)::bigint FROM contest_results"
            return int(await connection.fetchval(query))

        expected = run.directory / "endurance.json"
        try:
            async with publishing(
                chain, plan, rate_per_s=RATE_PER_S, expected=expected
            ) as publisher:
                done, started = 0, time.perf_counter()
                used = by_process(run.stack, chain)
                for number in range(STRETCHES):
                    goal = (number + 1) * stretch

                    async def reached(goal: int = goal) -> bool:
                        return await counted() >= goal

                    await until(reached, f"{goal:,} votes counted", _WITHIN_S, 0.1)
                    now, now_used, now_done = (
                        time.perf_counter(),
                        by_process(run.stack, chain),
                        goal,
                    )
                    stretches.append(
                        {
                            "votes": now_done,
                            "votes_per_s": round((now_done - done) / (now - started)),
                            "cpu_us_per_vote": per_vote_us(used, now_used, now_done - done),
                            "worker_rss_mib": resident_bytes(chain.workers[0].pid) >> 20,
                            "bridge_rss_mib": resident_bytes(chain.bridges[0].pid) >> 20,
                        }
                    )
                    run.say(f"{goal:,} votes counted")
                    done, started, used = now_done, now, now_used
                await publisher.communicate()
        finally:
            await connection.close()
        if not run.long:
            await chain.verify(expected)
    return {"votes": votes, "rate_per_s": RATE_PER_S, "stretches": stretches}


def rows(found: Found) -> list[Row]:
    """Lines for people."""
    first, last = found["stretches"][0], found["stretches"][-1]
    size = found["votes"] // STRETCHES
    ratio = sum(last["cpu_us_per_vote"].values()) / sum(first["cpu_us_per_vote"].values())
    return [
        Row(
            f"CPU per vote, last {size:,} of {found['votes']:,} beside the first",
            f"{ratio:.2f} times",
            f"{GOAL_RATIO:.2f}",
        ),
        Row(
            "memory of the worker, first and last",
            f"{first['worker_rss_mib']:,} and {last['worker_rss_mib']:,} MiB",
        ),
        Row(
            "memory of the bridge, first and last",
            f"{first['bridge_rss_mib']:,} and {last['bridge_rss_mib']:,} MiB",
        ),
    ]


FIGURE = Figure("endurance", measure, rows, usual=False)
