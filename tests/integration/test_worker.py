"""`faust -A topology worker` as a process: exact whatever happens to it, and named when it ends."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from schemas.codec import encode
from streams.core.topics import VALIDATED_TOPIC, VALIDATION_TOPIC
from streams.devstack import Stack
from streams.errors import ExitCode
from streams.load.programs import Program
from tests.harness import metrics, until
from tests.integration.kafka_names import admin
from tests.integration.old_systems import SCHEMAS
from tests.integration.worker_harness import APP_ID, PARTITIONS, WorkerHarness, ending
from tests.strategies import make_batch, make_vote

pytestmark = pytest.mark.timeout(300)

BOTH = [(topic, p) for topic in (VALIDATION_TOPIC, VALIDATED_TOPIC) for p in range(PARTITIONS)]


@pytest.fixture
async def world(stack: Stack, tmp_path: Path) -> AsyncIterator[WorkerHarness]:
    async with WorkerHarness(stack, tmp_path) as world:
        yield world


async def get(program: Program, path: str) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{program.port}{path}") as answer,
    ):
        return answer.status, await answer.json()


# The plain way.


async def test_a_count_is_exact_and_ends_cleanly(world: WorkerHarness) -> None:
    await world.write(100)
    worker = await world.started()
    await world.counted()
    await world.write(50)
    await world.counted()
    # Its final windows have little time; the next worker publishes those that are missing.
    await world.windows_agree()
    assert await worker.terminate() == 0
    assert set((await world.committed()).values()) == {151}
    log = worker.log.read_text()
    assert "Traceback" not in log
    assert "voter 0" not in log


async def test_it_tells_where_its_tasks_stand_and_goes_on(world: WorkerHarness) -> None:
    await world.write(100)
    worker = await world.started()
    worker.send(signal.SIGUSR1)

    async def told() -> bool:
        log = worker.log.read_text()
        return '"loop": "main"' in log and '"loop": "consumer"' in log

    await until(told, "both loops in the log")
    await world.counted()
    assert await worker.terminate() == 0
    log = worker.log.read_text()
    assert "Worker.validate" in log or "BatchProcessor.run" in log
    assert "voter 0" not in log


async def test_a_worker_that_starts_again_counts_nothing_again(world: WorkerHarness) -> None:
    await world.write(30)
    worker = await world.started()
    await world.counted()
    assert await worker.terminate() == 0
    worker.start()
    await worker.ready()
    await world.write(30)
    await world.counted()
    sampled = await metrics(worker)
    assert sampled.get("scrutin_surplus_votes_total", 0) == 0
    assert sampled.get('scrutin_gaps_healed_total{stage="validation"}', 0) == 0
    assert sampled.get('scrutin_gaps_healed_total{stage="sink"}', 0) == 0


async def test_health_and_metrics(world: WorkerHarness) -> None:
    worker = await world.started()
    assert await get(worker, "/live") == (200, {"status": "ok", "faults": []})
    assert await get(worker, "/ready") == (200, {"status": "ok", "faults": []})
    await world.write(20)
    await world.counted()
    rejected = world.logs[0].rejected() + world.logs[1].rejected()
    counted = world.logs[0].counted() + world.logs[1].counted()

    async def told() -> dict[str, float]:
        sampled = await metrics(worker)
        done = sampled.get("batch_size_processed_total", 0) == counted.total()
        totals = all(
            sampled.get(f'current_vote_totals{{choice="{choice}",law_id="{law}"}}') == n
            for (law, choice), n in counted.items()
        )
        return sampled if done and totals else {}

    await until(told, "totals in the metrics")
    sampled = await metrics(worker)
    assert sampled["scrutin_recovery_seconds"] > 0
    for (law, choice), n in counted.items():
        assert sampled[f'votes_aggregated_total{{choice="{choice}",law_id="{law}"}}'] == n
    by_status = "validation_votes_processed_total"
    assert sampled[f'{by_status}{{status="valid"}}'] == counted.total()
    assert sampled[f'{by_status}{{status="duplicate"}}'] == rejected["duplicate"]
    for name in (
        "batch_processing_duration_seconds",
        "validation_processing_latency_seconds_count",
        "scrutin_flush_duration_seconds_count",
        "scrutin_end_to_end_latency_seconds_count",
        'database_operations_total{operation="flush",status="success"}',
    ):
        assert sampled[name] > 0, name


# Ends and starts under load.


async def test_sigterm_under_load_ends_with_0(world: WorkerHarness) -> None:
    """A stop that takes longer than the worker's own limit has another code."""
    worker = await world.started()
    async with world.load():
        for _ in range(3):
            await world.moving()
            assert await worker.terminate() == 0
            worker.start()
            await worker.ready()
        await world.moving()
    await world.counted()
    await world.windows_agree()


async def test_sigkill_under_load(world: WorkerHarness) -> None:
    worker = await world.started()
    async with world.load():
        for _ in range(3):
            await world.moving()
            assert await worker.kill() == -9
            worker.start()
            await worker.ready()
        await world.moving()
    await world.counted()
    await world.windows_agree()


async def test_two_workers_and_one_is_killed(world: WorkerHarness) -> None:
    first, second = world.worker("first").start(), world.worker("second").start()
    await first.ready()
    await second.ready()
    async with world.load():
        await world.moving()
        await second.kill()
        await world.moving(100)
        second.start()
        await second.ready()
        await world.moving()
        assert await first.terminate() == 0
        await world.moving(100)
    await world.counted()
    second.check()


async def test_a_worker_frozen_beyond_its_session_and_thawed(world: WorkerHarness) -> None:
    """It goes on as if its partitions were its own; the fence and the table know better."""
    first, second = world.worker("first").start(), world.worker("second").start()
    await first.ready()
    await second.ready()
    async with world.load():
        await world.moving(100)
        second.send(signal.SIGSTOP)
        # Longer than the session's 10 s: until the first has taken over.
        await world.moving(40)
        await world.moving_everywhere()
        second.send(signal.SIGCONT)
        await world.moving(200)
        await second.ready()
        assert await first.terminate() == 0
        await world.moving(100)
    await world.counted()
    await world.windows_agree()
    second.check()


# Offsets that lie.


@pytest.mark.parametrize("ahead", ["both", VALIDATION_TOPIC, VALIDATED_TOPIC])
async def test_committed_offsets_that_ran_ahead_lose_nothing(
    world: WorkerHarness, ahead: str
) -> None:
    worker = await world.started()
    await world.write(20)
    await world.counted()
    assert await worker.terminate() == 0
    await world.write(40)
    await world.commit({tp: 51 for tp in BOTH if ahead in {"both", tp[0]}})
    worker.start()
    await worker.ready()
    await world.counted()
    await world.write(10)
    await world.counted()


async def test_committed_offsets_beyond_the_log_lose_nothing(world: WorkerHarness) -> None:
    worker = await world.started()
    await world.write(20)
    await world.counted()
    assert await worker.terminate() == 0
    await world.commit(dict.fromkeys(BOTH, 10_000))
    worker.start()
    await worker.ready()
    await world.write(20)
    await world.counted()


async def test_offsets_reset_to_the_beginning_count_nothing_twice(world: WorkerHarness) -> None:
    worker = await world.started()
    await world.write(40)
    await world.counted()
    assert await worker.terminate() == 0
    await world.commit(dict.fromkeys(BOTH, 0))
    worker.start()
    await worker.ready()
    await world.write(10)
    await world.counted()
    assert (await metrics(worker)).get("scrutin_surplus_votes_total", 0) == 0


# What ends a worker, by name.


@pytest.mark.parametrize(
    ("topic", "value"), [(VALIDATION_TOPIC, None), (VALIDATED_TOPIC, b"\xff junk")]
)
async def test_a_poison_record_stops_with_its_place(
    world: WorkerHarness, topic: str, value: bytes | None
) -> None:
    worker = await world.started()
    await world.write(10)
    await world.counted()
    sent = await world.producer.send_and_wait(topic, value, key=b"k", partition=1)
    await world.producer.send_and_wait(
        VALIDATION_TOPIC, encode(make_batch(make_vote("after"))), partition=1
    )
    async with asyncio.timeout(120):
        assert await worker.ended() == ExitCode.POISON_RECORD
    said = ending(worker.log.read_text())["error"]
    assert f"topic {topic}, partition 1, offset {sent.offset}" in said
    await world.check()


async def test_a_port_in_use(world: WorkerHarness) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        # The argument goes last, after the harness has chosen one.
        program = world.worker()
        program._env["PROMETHEUS_PORT"] = str(port)
        program.start()
        async with asyncio.timeout(120):
            assert await program.ended() == ExitCode.PORT_TAKEN
    said = ending(program.log.read_text())["error"]
    assert "PROMETHEUS_PORT" in said
    assert str(port) in said


async def test_another_number_of_partitions(world: WorkerHarness) -> None:
    code, log = await world.refused(SCRUTIN_PARTITIONS=str(PARTITIONS + 1))
    assert code == ExitCode.TOPOLOGY_MISMATCH
    assert "SCRUTIN_PARTITIONS" in ending(log)["error"]


async def test_tables_of_a_replaced_service(world: WorkerHarness) -> None:
    await world.db.execute(SCHEMAS["voting"])
    code, log = await world.refused()
    assert code == ExitCode.LOG_MISMATCH
    assert "`scrutin adopt`" in ending(log)["error"]


async def test_an_input_topic_that_was_recreated(world: WorkerHarness) -> None:
    worker = await world.started()
    await world.write(10)
    await world.counted()
    assert await worker.terminate() == 0
    async with admin(world.stack) as client:
        await client.delete_topics([VALIDATION_TOPIC])

        async def gone() -> bool:
            return VALIDATION_TOPIC not in await client.list_topics()

        await until(gone, "topic deleted")
    code, log = await world.refused("again")
    assert code == ExitCode.LOG_MISMATCH
    assert "`scrutin rebuild log`" in ending(log)["error"]
    assert "`scrutin fresh`" in ending(log)["error"]


async def test_an_input_topic_that_was_recreated_without_a_sink(world: WorkerHarness) -> None:
    """No database to compare with: the changelog knows."""
    worker = await world.started(SCRUTIN_SINK="off")
    await world.write(10)

    async def validated() -> bool:
        sampled = await metrics(worker)
        return sampled.get('validation_votes_processed_total{status="valid"}', 0) > 0

    await until(validated, "votes validated")
    assert await worker.terminate() == 0
    async with admin(world.stack) as client:
        await client.delete_topics([VALIDATION_TOPIC])

        async def gone() -> bool:
            return VALIDATION_TOPIC not in await client.list_topics()

        await until(gone, "topic deleted")
    code, log = await world.refused("again", SCRUTIN_SINK="off")
    assert code == ExitCode.LOG_MISMATCH
    assert f"{APP_ID}-voted-changelog" in ending(log)["error"]


async def test_a_database_of_an_older_system(world: WorkerHarness) -> None:
    await world.db.execute("CREATE TABLE vote_audit (id integer, vote_hash text)")
    code, log = await world.refused()
    assert code == ExitCode.LOG_MISMATCH
    assert "Traceback" not in log
    assert '"vote_audit" already exists' in ending(log)["error"]


async def test_a_database_that_is_newer(world: WorkerHarness) -> None:
    await world.db.execute(
        "CREATE TABLE schema_migrations (version integer PRIMARY KEY, name text NOT NULL,"
        " applied_at timestamptz NOT NULL DEFAULT now());"
        "INSERT INTO schema_migrations (version, name) VALUES (9999, 'future')"
    )
    code, log = await world.refused()
    assert code == ExitCode.SCHEMA_NEWER
    assert "9999" in ending(log)["error"]


async def test_bad_settings(world: WorkerHarness) -> None:
    code, log = await world.refused(SCRUTIN_NONSENSE="1", BATCH_SIZE="many")
    assert code == ExitCode.BAD_SETTINGS
    assert "SCRUTIN_NONSENSE" in log
    assert "Traceback" not in log


# Outages.


async def test_postgresql_paused_for_a_few_seconds(world: WorkerHarness) -> None:
    worker = await world.started()
    async with world.load():
        await world.moving()
        await asyncio.to_thread(world.stack.pause, "postgres")
        # The outage itself: time passes without an answer.
        await asyncio.sleep(4)
        await asyncio.to_thread(world.stack.resume, "postgres")
        await world.moving()
    await world.counted()
    worker.check()


async def test_backends_ended_under_load(world: WorkerHarness) -> None:
    worker = await world.started()
    async with world.load():
        for _ in range(10):
            await world.moving(10)
            await world.db.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name LIKE 'scrutin-worker%'"
            )
    await world.counted()
    await world.windows_agree()
    worker.check()
