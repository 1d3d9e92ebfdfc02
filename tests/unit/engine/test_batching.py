"""Group commit: when a group starts, what it takes, and what is acknowledged."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from streams.engine import batching
from streams.engine.assignment import Assignment
from streams.engine.batching import BatchProcessor
from streams.errors import ExitCode

NEVER_S = 1e12


@dataclass
class Item:
    name: str
    acked: list[str]
    weight: int = 1
    size_bytes: int = 1
    generation: int = 1

    def ack(self) -> None:
        self.acked.append(self.name)


@dataclass
class Work:
    """A group's work that goes on when the test says so."""

    groups: list[list[str]] = field(default_factory=list)
    started: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, group: list[Item]) -> None:
        self.groups.append([item.name for item in group])
        self.started.set()
        await self.go_on.wait()

    async def next_start(self) -> list[str]:
        async with asyncio.timeout(60):
            await self.started.wait()
        self.started.clear()
        return self.groups[-1]


class Bench:
    """A runner with its assignment, its work and what was acknowledged."""

    def __init__(
        self,
        *,
        start_weight: int = 1,
        pause_s: float = 0.0,
        gather_s: float = 0.0,
        max_weight: int = 100,
        max_events: int = 100,
    ) -> None:
        self.work = Work()
        self.acked: list[str] = []
        self.assignment = Assignment()
        self.assignment.begin(1)
        self.runner: BatchProcessor[Item] = BatchProcessor(
            "test",
            self.work,
            start_weight=start_weight,
            pause_s=pause_s,
            gather_s=gather_s,
            max_weight=max_weight,
            max_events=max_events,
            assignment=self.assignment,
        )

    def item(self, name: str, *, weight: int = 1, size_bytes: int = 1, generation: int = 1) -> Item:
        return Item(name, self.acked, weight, size_bytes, generation)

    async def put(self, *names: str, weight: int = 1, generation: int = 1) -> None:
        for name in names:
            await self.runner.put(self.item(name, weight=weight, generation=generation))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.runner.run())
        try:
            yield
        finally:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    async def begin_a_pause(self) -> None:
        """Let a first group begin."""
        await self.put("first")
        assert await self.work.next_start() == ["first"]

    async def settled(self) -> None:
        async with asyncio.timeout(60):
            await self.runner.drain(timeout_s=60)


async def turns(count: int = 5) -> None:
    """Let tasks that can run do so."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_what_arrives_during_a_group_rides_in_the_next() -> None:
    bench = Bench()
    async with bench.running():
        await bench.put("a")
        assert await bench.work.next_start() == ["a"]
        await bench.put("b", "c", "d")
        bench.work.go_on.set()
        await bench.settled()
    assert bench.work.groups == [["a"], ["b", "c", "d"]]
    assert bench.acked == ["a", "b", "c", "d"]


async def test_nothing_is_acknowledged_before_the_work_is_done() -> None:
    bench = Bench()
    async with bench.running():
        await bench.put("a", "b")
        await bench.work.next_start()
        await turns()
        assert bench.acked == []
        bench.work.go_on.set()
        await bench.settled()
    assert bench.acked == ["a", "b"]


async def test_what_comes_with_the_first_after_an_idle_time_rides_with_it() -> None:
    bench = Bench(gather_s=1.0)
    async with bench.running():
        await turns()
        await bench.put("a")
        await turns()
        assert bench.work.groups == []
        await bench.put("b", "c")
        assert await bench.work.next_start() == ["a", "b", "c"]
        await bench.put("d")
        await turns()
        bench.work.go_on.set()
        await bench.settled()
    assert bench.work.groups == [["a", "b", "c"], ["d"]]


async def test_what_waited_while_a_group_was_worked_on_gathers_no_longer() -> None:
    bench = Bench(gather_s=NEVER_S)
    await bench.put("a")
    async with bench.running():
        assert await bench.work.next_start() == ["a"]
        await bench.put("b")
        bench.work.go_on.set()
        assert await bench.work.next_start() == ["b"]


async def test_what_comes_after_a_pause_is_worked_on_at_once() -> None:
    bench = Bench(start_weight=1000, pause_s=NEVER_S)
    bench.work.go_on.set()
    async with bench.running():
        await bench.put("a")
        assert await bench.work.next_start() == ["a"]


async def test_a_group_starts_once_enough_weight_waits() -> None:
    bench = Bench(start_weight=10, pause_s=NEVER_S)
    bench.work.go_on.set()
    async with bench.running():
        await bench.begin_a_pause()
        await bench.put("a", weight=4)
        await bench.put("b", weight=5)
        await turns()
        assert len(bench.work.groups) == 1
        await bench.put("c", weight=1)
        assert await bench.work.next_start() == ["a", "b", "c"]


async def test_a_small_group_starts_when_the_pause_is_over() -> None:
    bench = Bench(start_weight=1000, pause_s=0.05)
    bench.work.go_on.set()
    async with bench.running():
        before_s = time.monotonic()
        await bench.begin_a_pause()
        await bench.put("a")
        assert await bench.work.next_start() == ["a"]
        assert time.monotonic() - before_s >= 0.05


async def test_the_pause_counts_from_the_start_of_the_group_before() -> None:
    """So a long one is followed at once, by all that has come meanwhile."""
    bench = Bench(start_weight=1000, pause_s=0.05)
    async with bench.running():
        await bench.begin_a_pause()
        await bench.put("a", "b", "c")
        await asyncio.sleep(0.06)
        bench.work.go_on.set()
        await turns(20)
        assert bench.work.groups[1:] == [["a", "b", "c"]]


async def test_a_group_is_no_heavier_than_allowed_but_for_its_last_event() -> None:
    bench = Bench(max_weight=10)
    bench.work.go_on.set()
    await bench.put("a", "b", "c", "d", weight=4)
    async with bench.running():
        await bench.settled()
    assert bench.work.groups == [["a", "b", "c"], ["d"]]


async def test_an_event_heavier_than_a_group_goes_alone() -> None:
    bench = Bench(max_weight=10)
    bench.work.go_on.set()
    await bench.put("a", "b", weight=99)
    async with bench.running():
        await bench.settled()
    assert bench.work.groups == [["a"], ["b"]]


async def test_a_group_holds_no_more_events_than_allowed() -> None:
    """However light they are."""
    bench = Bench(max_events=2)
    bench.work.go_on.set()
    await bench.put("a", "b", "c", "d", "e", weight=0)
    async with bench.running():
        await bench.settled()
    assert bench.work.groups == [["a", "b"], ["c", "d"], ["e"]]
    assert bench.acked == ["a", "b", "c", "d", "e"]


async def test_the_queue_is_bounded_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "QUEUE_BYTES", 100)
    bench = Bench(max_weight=1)
    await bench.runner.put(bench.item("a", size_bytes=60))
    await bench.runner.put(bench.item("b", size_bytes=60))
    waits = asyncio.create_task(bench.runner.put(bench.item("c")))
    await turns()
    assert not waits.done()
    assert bench.runner.waiting == 2
    async with bench.running():
        assert await bench.work.next_start() == ["a"]
        async with asyncio.timeout(60):
            await waits
        bench.work.go_on.set()
        await bench.settled()
    assert bench.acked == ["a", "b", "c"]


async def test_an_event_of_another_assignment_is_not_taken() -> None:
    bench = Bench()
    await bench.put("old", generation=0)
    await bench.put("new", generation=2)
    assert bench.runner.waiting == 0
    bench.assignment.end()
    await bench.put("none", generation=1)
    assert bench.runner.waiting == 0


async def test_what_waits_is_dropped_when_an_assignment_ends() -> None:
    bench = Bench()
    async with bench.running():
        await bench.put("a")
        await bench.work.next_start()
        await bench.put("b", "c")
        settling = asyncio.create_task(bench.runner.settle(timeout_s=60))
        await turns()
        assert not settling.done()
        bench.work.go_on.set()
        await settling
        assert bench.acked == ["a"]
        bench.assignment.end()
        bench.assignment.begin(2)
        await bench.put("b", generation=2)
        await bench.settled()
    assert bench.work.groups == [["a"], ["b"]]


async def test_a_group_that_outlasts_its_assignment_is_not_acknowledged() -> None:
    bench = Bench()
    async with bench.running():
        await bench.put("a")
        await bench.work.next_start()
        # Longer than it may hold up the rebalance.
        await bench.runner.settle(timeout_s=0.01)
        bench.assignment.end()
        bench.assignment.begin(2)
        await bench.put("b", generation=2)
        bench.work.go_on.set()
        await bench.settled()
    assert bench.work.groups == [["a"], ["b"]]
    assert bench.acked == ["b"]


async def test_a_put_that_waits_for_room_gives_up_when_the_assignment_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batching, "QUEUE_BYTES", 1)
    bench = Bench()
    await bench.put("a")
    waits = asyncio.create_task(bench.put("b"))
    await turns()
    bench.assignment.end()
    bench.runner.clear()
    async with asyncio.timeout(60):
        await waits
    assert bench.runner.waiting == 0


async def test_settling_returns_at_once_when_nothing_runs() -> None:
    bench = Bench()
    await bench.put("a")
    async with asyncio.timeout(30):
        await bench.runner.settle(timeout_s=60)
    assert bench.runner.waiting == 0


async def test_draining_does_not_wait_for_the_window() -> None:
    bench = Bench(start_weight=1000, pause_s=NEVER_S)
    bench.work.go_on.set()
    async with bench.running():
        await bench.begin_a_pause()
        await bench.put("a", "b")
        await turns()
        assert len(bench.work.groups) == 1
        await bench.settled()
    assert bench.acked == ["first", "a", "b"]


async def test_draining_gives_up_after_its_time() -> None:
    bench = Bench()
    async with bench.running():
        await bench.put("a")
        await bench.work.next_start()
        async with asyncio.timeout(60):
            await bench.runner.drain(timeout_s=0.01)
        assert bench.acked == []


async def test_clearing_while_a_group_gathers_leaves_nothing_to_work_on() -> None:
    bench = Bench(start_weight=1000, pause_s=0.3)
    bench.work.go_on.set()
    async with bench.running():
        await bench.begin_a_pause()
        await bench.put("a")
        await turns()
        bench.runner.clear()
        await bench.put("b")
        assert await bench.work.next_start() == ["b"]
        await bench.settled()
    assert bench.acked == ["first", "b"]


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        ("ValueError('hidden')", ExitCode.STAGE_FAILED),
        ("PoisonRecord('A record cannot be decoded')", ExitCode.POISON_RECORD),
        ("KeyError()", ExitCode.STAGE_FAILED),
        ("SystemExit(0)", ExitCode.STAGE_FAILED),
    ],
)
def test_an_error_in_the_work_ends_the_process_without_an_ack(raised: str, code: int) -> None:
    script = f"""
    import asyncio, atexit
    from streams.engine.assignment import Assignment
    from streams.errors import PoisonRecord
    from streams.engine.batching import BatchProcessor

    atexit.register(lambda: print("cleaned up"))

    class Item:
        weight = size_bytes = generation = 1
        def ack(self): print("acked")

    async def work(group):
        raise {raised}

    async def main():
        assignment = Assignment()
        assignment.begin(1)
        runner = BatchProcessor("t", work, start_weight=1, max_weight=1, assignment=assignment)
        await runner.put(Item())
        await runner.run()

    asyncio.run(main())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "acked" not in done.stdout
    assert "cleaned up" not in done.stdout
