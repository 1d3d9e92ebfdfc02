"""The Redis mirror: what it holds, outages, comparison and rebuild."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from schemas.verdicts import Reason, Rejection, Status
from schemas.votes import Malformed, Vote
from streams.adapters.kafka.view import LogView
from streams.adapters.redis.client import redis_client
from streams.bridge.mirror import REBUILD_LOCK, Change, Patterns, script_calls, write
from streams.core.topics import VALIDATED_TOPIC, mirror_group
from streams.devstack import Stack
from streams.errors import ExitCode
from streams.maintenance.mirror import compare, rebuild
from tests.harness import until
from tests.integration.bridge_harness import APP_ID, BridgeHarness, law_vote, scrutin, voter

APP_ENV = {"SCRUTIN_APP_ID": APP_ID}


@pytest.fixture
async def world(stack: Stack, tmp_path: Path) -> AsyncIterator[BridgeHarness]:
    async with BridgeHarness(stack, tmp_path) as world:
        yield world


def verdict(index: int, item: Vote | Malformed) -> Rejection | None:
    """Voters 0, 10, 20, … tried a fourth time; 1, 11, … are unknown; the others count."""
    assert isinstance(item, Vote)
    number = int((item.citizen_id or "").rpartition("-")[2])
    if number % 10 == 0:
        return Rejection(index, Status.DUPLICATE, Reason.ALREADY_VOTED, 3)
    if number % 10 == 1:
        return Rejection(index, Status.INVALID, Reason.NOT_ON_ROLL)
    return None


async def judged(world: BridgeHarness, count: int) -> None:
    await world.load_roll(range(count))
    world.publish(law_vote(n) for n in range(count))
    async with world.bridge("filler"):
        await world.logged(count)
    await world.validator(verdict)


async def counters(world: BridgeHarness) -> dict[str, str]:
    names = [name async for name in world.redis.scan_iter("duplicate_count:*")]
    return {name: await world.redis.get(name) for name in names}


async def mirrored(world: BridgeHarness, count: int) -> None:
    async def there() -> bool:
        return await world.redis.scard("voted_hashes") == count

    await until(there, f"{count} voters in the mirror")


async def dealt_with(world: BridgeHarness) -> None:
    """Wait until the mirror has committed all verdicts: after writing and counting them."""

    judged = len(await world.records(VALIDATED_TOPIC))

    async def committed() -> bool:
        return await world.committed(mirror_group(APP_ID)) == judged

    await until(committed, "all verdicts are mirrored and committed")


async def test_accepted_votes_and_attempts_arrive(world: BridgeHarness) -> None:
    await judged(world, 200)
    async with world.bridge() as bridge:
        await dealt_with(world)
        assert await world.metric(bridge, "scrutin_mirrored_total") == 160
        assert await world.redis.smembers("voted_hashes") == {
            voter(n) for n in range(200) if n % 10 > 1
        }
        assert await counters(world) == {
            f"duplicate_count:{voter(n)}": "3" for n in range(0, 200, 10)
        }
        assert await world.redis.smembers("error_patterns_seen") == {
            voter(n)[:8] for n in range(200) if n % 10 == 1
        }
        assert await world.redis.get(f"error_pattern:{voter(1)[:8]}") == "1"


async def test_prefixes_of_unknown_hashes_are_counted_once(world: BridgeHarness) -> None:
    log = bytes(16)
    first = Patterns(0, log, 5, {"deadbeef": 3, "cafe": 1})
    for patterns in (
        first,
        first,
        Patterns(0, log, 4, {"deadbeef": 9}),
        Patterns(1, log, 5, {"cafe": 1}),
    ):
        await write(world.redis, Change(patterns=[patterns]))
    assert await world.redis.smembers("error_patterns_seen") == {"deadbeef", "cafe"}
    assert await world.redis.mget("error_pattern:deadbeef", "error_pattern:cafe") == ["3", "2"]
    # Another log begins at its own offsets.
    await write(world.redis, Change(patterns=[Patterns(0, bytes([1]) * 16, 1, {"cafe": 1})]))
    assert await world.redis.get("error_pattern:cafe") == "3"


async def test_junk_does_not_fill_redis(
    world: BridgeHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.bridge.mirror.MAX_PATTERNS", 10)
    counts = {f"{n:08}": 1 for n in range(50)}
    await write(world.redis, Change(patterns=[Patterns(0, bytes(16), 1, counts)]))
    assert await world.redis.scard("error_patterns_seen") == 10
    await write(world.redis, Change(patterns=[Patterns(0, bytes(16), 2, {"00000003": 4})]))
    assert await world.redis.get("error_pattern:00000003") == "5"


async def test_late_replays_lower_no_counter(world: BridgeHarness) -> None:
    for attempts in (2, 5, 3):
        await write(world.redis, Change([], {"a": attempts, "b": 1}))
    assert await counters(world) == {"duplicate_count:a": "5", "duplicate_count:b": "1"}


async def test_a_change_larger_than_a_script_call(world: BridgeHarness) -> None:
    change = Change([f"h{n}" for n in range(9001)], {f"h{n}": n for n in range(1, 5001)})
    assert len(list(script_calls(change))) == 3
    await write(world.redis, change)
    assert await world.redis.scard("voted_hashes") == 9001
    assert len(await counters(world)) == 5000


async def test_redis_away_delays_the_mirror_alone(world: BridgeHarness) -> None:
    await judged(world, 100)
    async with world.bridge(SCRUTIN_ROLL="open") as bridge:
        await bridge.ready()
        await mirrored(world, 80)
        await asyncio.to_thread(world.stack.stop, "redis")
        try:
            await world.validator(verdict)
            world.publish(law_vote(n) for n in range(500, 510))
            await world.logged(110)

            async def says_so() -> bool:
                status, text = await world.fetch(bridge, "ready")
                return status == 503 and "redis is unavailable" in text

            await until(says_so, "not ready")
        finally:
            await asyncio.to_thread(world.stack.start, "redis")
        await bridge.ready()
        await mirrored(world, 80)


async def test_check_and_rebuild_as_a_user(world: BridgeHarness) -> None:
    await judged(world, 100)
    env = world.stack.env() | APP_ENV

    async def cli(*arguments: str) -> tuple[int, dict[str, int]]:
        done = await asyncio.to_thread(scrutin, env, "mirror", *arguments, "--json")
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    code, found = await cli("check", "--wait", "0")
    assert code == ExitCode.DIFFERENT
    assert (found["voters_in_log"], found["voters_missing"]) == (80, 80)
    assert (found["counters_in_log"], found["counters_missing"]) == (10, 10)

    # Damage of every kind, beside keys that are nobody's business here.
    await world.redis.sadd("voted_hashes", "stranger", voter(2))
    await world.redis.set(f"duplicate_count:{voter(0)}", 7)
    await world.redis.set("duplicate_count:stranger", 1)
    await world.redis.set("other", "kept")
    code, found = await cli("check", "--wait", "0")
    assert code == ExitCode.DIFFERENT
    assert (found["voters_missing"], found["voters_surplus"]) == (79, 1)
    assert found["counters_surplus"] == 1
    assert found["counters_different"] == 1

    assert await cli("rebuild") == (0, {"voters": 80, "counters": 10})
    code, found = await cli("check", "--wait", "0")
    assert (code, found["equal"]) == (0, True)
    assert await world.redis.get("other") == "kept"
    assert not await world.redis.keys("scrutin:mirror:*")
    human = await asyncio.to_thread(scrutin, env, "mirror", "check")
    assert "agrees with the log" in human.stdout


async def test_rebuild_keeps_what_the_live_mirror_writes_meanwhile(world: BridgeHarness) -> None:
    """A vote whose verdict comes after the rebuild took its end, written while it reads."""
    await judged(world, 100)
    redis = redis_client(world.settings.redis)

    def live(_: int) -> None:
        writing.append(
            asyncio.ensure_future(write(world.redis, Change(["late"], {"late": 2, voter(0): 9})))
        )

    writing: list[asyncio.Future[None]] = []
    try:
        async with LogView(world.servers) as view:
            await rebuild(view, redis, live)
            await asyncio.gather(*writing)
            assert writing
            assert await world.redis.sismember("voted_hashes", "late")
            assert await world.redis.scard("voted_hashes") == 81
            assert await world.redis.get("duplicate_count:late") == "2"
            assert await world.redis.get(f"duplicate_count:{voter(0)}") == "9"
            found = await compare(view, redis, settle_s=0)
        assert (found.voters_surplus, found.counters_surplus, found.counters_different) == (1, 1, 1)
    finally:
        await redis.aclose()


async def test_check_waits_for_a_mirror_that_is_behind(world: BridgeHarness) -> None:
    await judged(world, 100)
    env = world.stack.env() | APP_ENV
    checking = asyncio.create_task(
        asyncio.to_thread(scrutin, env, "mirror", "check", "--wait", "100", "--json")
    )
    async with world.bridge():
        done = await checking
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout)["equal"] is True


async def test_two_rebuilds_do_not_mix(world: BridgeHarness) -> None:
    await judged(world, 10)
    await world.redis.set(REBUILD_LOCK, "another", ex=60)
    done = await asyncio.to_thread(scrutin, world.stack.env() | APP_ENV, "mirror", "rebuild")
    assert done.returncode == ExitCode.FAILED
    assert "Another rebuild" in done.stderr
    assert await world.redis.get(REBUILD_LOCK) == "another"
    assert await world.redis.scard("voted_hashes") == 0
