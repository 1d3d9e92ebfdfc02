"""The whole graph on one page.

    votes.validation ──▶ validate ◀──▶ voted (changelog)
                            │
                            ▼
                     votes.validated ──▶ aggregate ──▶ PostgreSQL ──▶ votes.windows
                            │
                            └──▶ the bridge: votes.review, votes.aggregation, Redis

    votes.control ──▶ every bridge: a roll is loaded, a reset begins and ends

    tally.events ──▶ coordinate ◀──▶ tally_jobs (changelog) ──▶ PostgreSQL: election_jobs
         ▲                │
         │                ▼
        work ◀────── tally.tasks
         │
         └──▶ PostgreSQL: products, shares, results

Run a worker with `faust -A topology worker -l info`. The bridge (`python -m streams.bridge`) writes
`votes.validation` and passes `votes.validated` on. With SCRUTIN_STAGES=tally a worker runs the
encrypted tally's agents instead, in a separate Kafka group.
"""

from __future__ import annotations

import asyncio

import uvloop
from faust.types import StreamT

from streams.adapters.kafka.uvloop_fix import patch_aiokafka_for_uvloop
from streams.core.topics import VALIDATED_TOPIC, VALIDATION_TOPIC, VOTED_TABLE
from streams.engine.codecs import INPUT_CODEC, VERDICTS_CODEC
from streams.runtime.memory import freeze_startup_objects, raise_gc_thresholds
from streams.settings.build import tally_worker_config, worker_config
from streams.settings.entry import entry_settings

asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
patch_aiokafka_for_uvloop()

settings = entry_settings()

# A worker loads only its own stages: a vote worker no cryptography, a tally worker no voted table.
if settings.stages == "votes":
    from streams.worker.process import Worker

    worker = Worker(worker_config(settings))
    app = worker.app

    votes = app.topic(VALIDATION_TOPIC, key_type=bytes, value_serializer=INPUT_CODEC)
    """The input log: a genesis record, then micro-batches of votes by voter key, and commands."""

    validated = app.topic(VALIDATED_TOPIC, key_type=bytes, value_serializer=VERDICTS_CODEC)
    """One verdict batch per record of the input log, in the same partition."""

    voted = worker.voted_table(VOTED_TABLE)
    """Who voted: one changelog record per record of the input log."""

    @app.agent(votes)  # type: ignore[untyped-decorator]
    async def validate(stream: StreamT) -> None:
        """Decide on every vote; write the changelog first, then the verdicts."""
        async for event in stream.noack().events():
            await worker.validate(event)

    if worker.sinks:

        @app.agent(validated)  # type: ignore[untyped-decorator]
        async def aggregate(stream: StreamT) -> None:
            """Add up accepted votes by tumbling window and commit them behind the fence."""
            async for event in stream.noack().events():
                await worker.aggregate(event)

    raise_gc_thresholds()

else:
    from streams.tally.topics import EVENTS_TOPIC, JOBS_TABLE, TASKS_TOPIC
    from streams.tally.worker import EVENTS_CODEC, TASKS_CODEC, TallyWorker

    tally = TallyWorker(tally_worker_config(settings))
    app = tally.app

    tally_events = app.topic(EVENTS_TOPIC, key_type=bytes, value_serializer=EVENTS_CODEC)
    """Commands and outcomes, by election."""

    tally_tasks = app.topic(TASKS_TOPIC, key_type=bytes, value_serializer=TASKS_CODEC)
    """The resulting work, one chunk at a time."""

    tally_jobs = tally.jobs_table(JOBS_TABLE)
    """Progress of every election."""

    @app.agent(tally_events)  # type: ignore[untyped-decorator]
    async def coordinate(stream: StreamT) -> None:
        """Decide on the next work; write tasks first, then changelog and mirror."""
        async for event in stream.noack().events():
            await tally.coordinate(event)

    @app.agent(tally_tasks)  # type: ignore[untyped-decorator]
    async def work(stream: StreamT) -> None:
        """Do a task, store its result, and report it."""
        async for event in stream.noack().events():
            await tally.work(event)

    freeze_startup_objects()
