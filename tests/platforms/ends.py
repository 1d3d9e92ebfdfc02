"""`python -m tests.platforms.ends`: 300 votes, 21 ends of a bridge while the roll is missing.

On the RabbitMQ that the local stack finds. From 4.0 on a quorum queue removes a message after 20
returns: doctor must say so until the limit is off, and no vote may be lost before or after that.
Cases may be named: `python -m tests.platforms.ends kill dead-letters`.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pika
import uvloop

from streams.devstack import Stack
from streams.load.programs import Program
from tests.faults.services import Rabbit
from tests.harness import until
from tests.integration.bridge_harness import (
    VALIDATION,
    BridgeHarness,
    json_body,
    law_vote,
    scrutin,
    soon,
)

VOTES: Final = 300
ENDS: Final = 21
DEAD: Final = "votes.dead"
_OWN_LIMIT_SINCE: Final = (4, 0)
_ACCEPTED: Final = {"SCRUTIN_ACCEPT_QUEUE_LOSS": VALIDATION}
_QUORUM: Final = {"x-queue-type": "quorum"}
_DEAD_LETTERS: Final = {"dead-letter-exchange": "", "dead-letter-routing-key": DEAD}


@dataclass(frozen=True)
class Case:
    """How a bridge ends, and the queue it reads.

    Args:
        end: the signal.
        arguments: of the queue.
        default_type: of queues in the virtual host.
        policy: of the queue, beside the one that cures it.
    """

    end: signal.Signals
    arguments: Mapping[str, Any]
    default_type: str = "classic"
    policy: Mapping[str, Any] | None = None


CASES: Final[Mapping[str, Case]] = {
    "kill": Case(signal.SIGKILL, _QUORUM),
    "term": Case(signal.SIGTERM, _QUORUM),
    "default-type": Case(signal.SIGKILL, {}, default_type="quorum"),
    "dead-letters": Case(signal.SIGKILL, _QUORUM, policy=_DEAD_LETTERS),
}


async def play(world: BridgeHarness, rabbit: Rabbit, case: Case) -> str:
    """Run one case; says what was seen. Fails if a vote is lost or doctor says otherwise."""
    await rabbit.default_type(case.default_type)
    await rabbit.declare(DEAD, {})
    async with rabbit.policy("own", VALIDATION, case.policy) if case.policy else nullcontext():
        await rabbit.declare(VALIDATION, case.arguments)
        votes = (json_body(law_vote(number)) for number in range(VOTES))
        await rabbit.publish(
            VALIDATION, [(pika.BasicProperties(delivery_mode=2), vote) for vote in votes]
        )
        before = await _doctor(world, limited=await rabbit.version() >= _OWN_LIMIT_SINCE)
        for _ in range(ENDS):
            bridge = world.bridge(MAX_RETRY_ATTEMPTS="1", SCRUTIN_DRAIN_TIMEOUT_S="4", **_ACCEPTED)
            bridge.start()

            async def waits(bridge: Program = bridge) -> bool:
                return "roll is unavailable" in (await world.fetch(bridge, "ready"))[1]

            await until(waits, "the bridge says that the roll is unavailable", 180)
            bridge.send(case.end)
            await bridge.ended()
        await soon(lambda: world.ready(VALIDATION) == VOTES, "all votes are in the queue")
    async with rabbit.policy("cure", VALIDATION, {**(case.policy or {}), "delivery-limit": -1}):
        await _doctor(world, limited=False)
        await world.load_roll(range(VOTES))
        async with world.bridge():
            await world.logged(VOTES, within_s=300)
        left = world.ready(VALIDATION) + world.ready(DEAD)
        counted = await world.log_count()
    assert (counted, left) == (VOTES, 0)
    return f"{VOTES} of {VOTES} in the log; doctor's line before: {before or 'none'}; after: none"


async def _doctor(world: BridgeHarness, *, limited: bool) -> str:
    """Doctor's line on the limit, when it is there or not as it must be."""
    line = ""

    async def as_it_must_be() -> bool:
        nonlocal line
        shown = (await asyncio.to_thread(scrutin, world.stack.env(), "doctor")).stdout
        lines = shown.splitlines()
        found = (text for text in lines if f"{VALIDATION}  delivery limit" in text)
        line = " ".join(next(found, "").split())
        return bool(line) is limited

    try:
        await until(as_it_must_be, "doctor tells what holds", 300)
    except AssertionError as error:
        raise AssertionError(f"doctor's line on the limit: {line or 'none'}") from error
    return line


async def main(names: Sequence[str]) -> int:
    """Run the cases on a stack of their own; returns the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(Path(folder) / "stack", environ={})
        await asyncio.to_thread(stack.up)
        try:
            rabbit = Rabbit(stack)
            print("RabbitMQ", *await rabbit.version(), flush=True)
            for name in names or CASES:
                begin = time.monotonic()
                async with BridgeHarness(stack, Path(folder)) as world:
                    said = await play(world, rabbit, CASES[name])
                for queue in (VALIDATION, DEAD):
                    await rabbit.delete_queue(queue)
                print(f"{name}: {said}; {time.monotonic() - begin:.0f} s", flush=True)
        finally:
            await asyncio.to_thread(stack.down)
    return 0


if __name__ == "__main__":
    sys.exit(uvloop.run(main(sys.argv[1:])))
