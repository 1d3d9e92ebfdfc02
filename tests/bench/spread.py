"""CPU per vote with 1, 2 and 4 workers, and with one law instead of many.

The machine has as many cores as before however many workers run, so votes a second say little;
what a vote costs does not depend on that.
"""

from __future__ import annotations

from streams.load.election import LoadPlan
from tests.bench import throughput
from tests.bench.figure import Figure, Found, Row, Run
from tests.harness import Chain, database

MANY_LAWS = 100
GOAL_RATIO = 1.10
_PROOF_BYTES = """
SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class
WHERE relname IN ('proof_leaves', 'proof_nodes')
"""


async def full_queue(run: Run, plan: LoadPlan, *, workers: int = 1) -> Found:
    """Count a full queue; votes a second, and CPU a vote of every process."""
    async with Chain(
        run.stack, run.directory, workers=workers, cwd=run.cwd, queue=run.queue
    ) as chain:
        await chain.load_roll(plan)
        await chain.publish(plan)
        await chain.start_workers()
        seconds, cpu_us = await throughput.count(run.stack, chain, plan)
        proof_bytes = await _proof_bytes(chain)
    return {
        "votes_per_s": round(plan.votes / seconds),
        "cpu_us_per_vote": cpu_us,
        "proof_bytes_per_vote": round(proof_bytes / plan.votes, 1),
    }


async def _proof_bytes(chain: Chain) -> int:
    """What the trees take in the database; none in versions without."""
    connection = await database(chain.settings)
    try:
        return int(await connection.fetchval(_PROOF_BYTES))
    finally:
        await connection.close()


def plan_of(votes: int, *, laws: int = 5, mixture: bool = True) -> LoadPlan:
    """Votes that all count."""
    return LoadPlan(
        votes=votes,
        laws=laws,
        duplicates=0,
        repeats=0,
        unknown=0,
        bad_choice=0,
        malformed=0,
        mixture=mixture,
    )


async def measure_workers(run: Run) -> Found:
    """A full queue for 1, 2 and 4 workers."""
    found: Found = {"votes": run.votes // 2, "workers": {}}
    await full_queue(run, plan_of(run.votes // 4))
    for workers in (1, 2, 4):
        run.say(f"{workers} workers")
        plan = plan_of(run.votes // 2)
        found["workers"][str(workers)] = await full_queue(run, plan, workers=workers)
    return found


async def measure_laws(run: Run) -> Found:
    """A full queue of votes on many laws and on one, by turns."""
    found: Found = {"votes": run.votes // 2, "many_laws": [], "one_law": []}
    await full_queue(run, plan_of(run.votes // 4))
    for _ in range(1 if run.quick else 3):
        for name, laws in (("many_laws", MANY_LAWS), ("one_law", 1)):
            run.say(name.replace("_", " "))
            found[name].append(await full_queue(run, plan_of(run.votes // 2, laws=laws)))
    found["ratio"] = round(
        sum(_total(one) for one in found["one_law"])
        / sum(_total(one) for one in found["many_laws"]),
        3,
    )
    return found


def _total(found: Found) -> float:
    return sum(found["cpu_us_per_vote"].values())


def worker_rows(found: Found) -> list[Row]:
    """Lines for people."""
    return [
        Row(
            f"{workers} workers, full queue of {found['votes']:,}",
            f"{one['votes_per_s']:,} votes/s, {_total(one):.1f} µs CPU a vote,"
            f" {one['cpu_us_per_vote']['worker']:.1f} of it in workers",
        )
        for workers, one in found["workers"].items()
    ]


def law_rows(found: Found) -> list[Row]:
    """Lines for people."""
    what = f"CPU per vote, one law for all instead of {MANY_LAWS}"
    return [Row(what, f"{found['ratio']:.2f} times", f"{GOAL_RATIO:.2f}")]


WORKERS = Figure("workers", measure_workers, worker_rows, usual=False)
LAWS = Figure("laws", measure_laws, law_rows, usual=False)
