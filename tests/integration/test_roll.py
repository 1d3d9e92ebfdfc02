"""The roll: in the log on the whole chain, and the Redis set that others change."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.votes import Flag, Vote
from streams.cli.issuing import issuing
from streams.control import roll_loader
from streams.control.roll_loader import Load
from streams.devstack import Stack
from streams.load.programs import worker
from streams.settings.load import load_settings
from tests.harness import database, until
from tests.integration.bridge_harness import PARTITIONS, BridgeHarness, law_vote, scrutin, voter

RECORD_KEYS = 50
CHUNK = RECORD_KEYS * PARTITIONS
VOTERS = 400


async def run(world: BridgeHarness, *arguments: str) -> Any:
    """Run a `scrutin roll` command that must succeed; returns its JSON."""
    done = await asyncio.to_thread(scrutin, world.env, "roll", *arguments, "--json")
    found = json.loads(done.stdout)
    assert done.returncode == (found.get("on_roll") is False), done.stderr
    return found


@pytest.mark.timeout(400)
async def test_the_roll_in_the_log(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roll_loader, "RECORD_KEYS", RECORD_KEYS)
    async with BridgeHarness(stack, tmp_path) as world:
        world.env |= {"SCRUTIN_ROLL": "table"}
        counter = worker(world.env, tmp_path, "worker")
        db = await database(load_settings(stack.env()))

        async def judged(counted: int, not_on_roll: int) -> None:
            async def look() -> tuple[int, int] | bool:
                found = await db.fetchrow(
                    "SELECT (SELECT count(*) FROM vote_audit), (SELECT count(*)"
                    " FROM rejected_votes WHERE reason = 'not_on_roll')"
                )
                return (found[0], found[1]) == (counted, not_on_roll)

            await until(look, f"{counted} counted, {not_on_roll} not on the roll")

        try:
            async with world.bridge() as bridge, counter:
                # Without a roll votes wait; nobody is called invalid.
                world.publish(law_vote(n) for n in range(VOTERS))
                await counter.ready()

                async def waits() -> bool:
                    return "roll is unavailable" in (await world.fetch(bridge, "ready"))[1]

                await until(waits, "the bridge waits for a roll")
                assert await world.log() == []
                await _load(world, tmp_path)
                await bridge.ready()
                await judged(VOTERS, 0)
                await _live_changes(world, judged)
                await _elections(world, judged)
                await _weights(world, tmp_path)
                # What follows knows the roll from the changelog alone.
                await counter.terminate()
                counter.start()
                await counter.ready()
                world.publish([law_vote(VOTERS + 2), law_vote(VOTERS + 3), law_vote(10**6)])
                await judged(VOTERS + 4, 6)
        finally:
            await db.close()


async def _load(world: BridgeHarness, directory: Path) -> None:
    """Interrupted after its first part, then given again."""
    roll = directory / "roll.txt"
    hashes = [voter(n) for n in range(VOTERS + 4)] + [voter(-n) for n in range(1, CHUNK)]
    # The voters come last, so that they are in what the second run brings.
    hashes.reverse()
    roll.write_text("\n".join(hashes) + "\n")
    settings = load_settings(world.env)

    def breaking_off() -> Iterator[str]:
        yield from hashes[: CHUNK + 100]
        raise KeyboardInterrupt

    async with issuing(settings) as issuer:
        task = Load(
            connection=issuer.connection,
            writer=issuer.writer,
            partitions=PARTITIONS,
            log_id=issuer.log_id,
            source=b"d" * 16,
            name="roll.txt",
        )
        assert await task.begin() == 0
        with pytest.raises(KeyboardInterrupt):
            await task.run(breaking_off(), [], 0, lambda _: None)
        assert await task.begin() == CHUNK
    done = await run(world, "load", str(roll))
    assert done == {
        "roll": "log",
        "read": len(hashes),
        "resumed_at": 0,
        "contests": [],
        "repeated": 0,
    }
    found = await run(world, "stats")
    assert found["entries"] == len(hashes)
    assert set(found["partitions"]) == {str(p) for p in range(PARTITIONS)}
    exported = directory / "roll.csv"
    written = scrutin(world.env, "roll", "export", "-o", str(exported))
    assert written.returncode == 0, written.stderr
    assert set(exported.read_text().split()[1:]) == set(hashes)


async def _live_changes(world: BridgeHarness, judged: Any) -> None:
    assert (await run(world, "check", voter(0)))["on_roll"] is True
    assert await run(world, "withdraw", voter(0), voter(VOTERS)) == {"withdrawn": 2}
    assert (await run(world, "check", voter(0).upper()))["on_roll"] is False
    # The cast vote of the first stays; neither can vote any more.
    world.publish([law_vote(0, n=1), law_vote(VOTERS)])
    await judged(VOTERS, 2)
    world.publish([law_vote(VOTERS + 1)])
    await judged(VOTERS + 1, 2)
    assert await run(world, "add", voter(VOTERS), voter(VOTERS).upper()) == {"added": 1}
    world.publish([law_vote(VOTERS, n=2)])
    await judged(VOTERS + 2, 2)


async def _elections(world: BridgeHarness, judged: Any) -> None:
    """A voter on the roll of laws is on none of an election."""

    def vote(election: int) -> dict[str, object]:
        return {"voter_hash": "nas1CODE", "candidate_id": 3, "election_id": election}

    world.publish([vote(1)])
    await judged(VOTERS + 2, 3)
    await run(world, "add", "nas1CODE", "--kind", "text", "--contest", "election:2")
    found = await run(world, "check", "nas1CODE", "--contest", "election:1")
    assert found["by_contest"] == {"election:1": False}
    world.publish([vote(2), vote(3)])
    await judged(VOTERS + 3, 4)
    await run(world, "withdraw", voter(VOTERS + 3))


async def _weights(world: BridgeHarness, directory: Path) -> None:
    """Weights are in the log, and in what is restored from the table's changelog."""
    before = await run(world, "stats")
    shares = directory / "shares.csv"
    shares.write_text(f"hash,shares\n{voter(1)},40\n{voter(2)},1\n{voter(3)},2\n")
    await run(world, "load", str(shares), "--contest", "election:1", "--weights", "shares")
    found = await run(world, "stats")
    added = found["entries"] - before["entries"], found["weight"] - before["weight"]
    assert added == (3, 43)


async def test_the_set_in_redis_is_asked_for_every_vote(stack: Stack, tmp_path: Path) -> None:
    """Whatever others do to it holds for the votes that come after."""
    async with BridgeHarness(stack, tmp_path) as world:
        await world.load_roll(range(10))
        async with world.bridge() as bridge:
            await bridge.ready()

            async def on_roll(number: int, count: int) -> bool:
                world.publish([law_vote(99, n=number)])
                placed = await world.logged(count)
                (vote,) = [
                    p.item
                    for p in placed
                    if isinstance(p.item, Vote) and p.item.metadata == f'{{"n":{number}}}'
                ]
                return bool(vote.flags & Flag.ON_ROLL)

            assert not await on_roll(1, 1)
            await world.redis.sadd("valid_hashes", voter(99))
            assert await on_roll(2, 2)
            await world.redis.srem("valid_hashes", voter(99))
            assert not await on_roll(3, 3)
        env = {**world.env, "SCRUTIN_ROLL": "redis"}
        for command, answer in [
            (["add", voter(50)], {"added": 1, "size": 11}),
            (["withdraw", voter(50), voter(51)], {"withdrawn": 1}),
            (["stats"], {"roll": "redis", "set": "valid_hashes", "entries": 10}),
        ]:
            done = await asyncio.to_thread(scrutin, env, "roll", *command, "--json")
            assert json.loads(done.stdout) == answer
        checked = await asyncio.to_thread(scrutin, env, "roll", "check", voter(1), "--json")
        assert json.loads(checked.stdout)["on_roll"] is True
        exported = await asyncio.to_thread(scrutin, env, "roll", "export")
        assert set(exported.stdout.split()[1:]) == {voter(n) for n in range(10)}
