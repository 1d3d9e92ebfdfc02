"""Where tasks stand is told by functions and lines, never by values."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest

from streams import standing
from streams.standing import place_of, tell_on_signal

SECRET = "oui, says citizen-7"


async def _wait(choice: str, started: asyncio.Event) -> None:
    started.set()
    await asyncio.Event().wait()
    print(choice)


async def _count(choice: str, started: asyncio.Event) -> None:
    await _wait(choice, started)


@pytest.fixture
async def task() -> AsyncIterator[asyncio.Task[None]]:
    started = asyncio.Event()
    task = asyncio.create_task(_count(SECRET, started), name="count")
    await started.wait()
    yield task
    task.cancel()


async def test_a_place_names_functions_and_lines(task: asyncio.Task[None]) -> None:
    outer, inner, event, future = place_of(task).split(" > ")
    assert outer.startswith("_count (test_standing.py:")
    assert inner.startswith("_wait (test_standing.py:")
    assert event.startswith("Event.wait (locks.py:")
    assert future == "FutureIter"


async def test_a_task_that_has_ended_stands_nowhere() -> None:
    task = asyncio.create_task(asyncio.sleep(0))
    await task
    assert place_of(task) == "coroutine"


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
async def test_a_signal_tells_without_values(
    task: asyncio.Task[None], number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[str, dict[str, str]] = {}
    said = SimpleNamespace(warning=lambda _, **more: told.setdefault(more["task"], more))
    monkeypatch.setattr(standing, "log", said)
    loop = asyncio.get_running_loop()
    tell_on_signal(lambda: {"main": loop})
    os.kill(os.getpid(), number)
    async with asyncio.timeout(30):
        while not told:  # noqa: ASYNC110 - the handler has no event for it
            await asyncio.sleep(0.01)
    loop.remove_signal_handler(signal.SIGUSR1)
    loop.remove_signal_handler(signal.SIGUSR2)
    assert told["count"]["loop"] == "main"
    assert "_wait (test_standing.py:" in told["count"]["at"]
    assert SECRET not in str(told)
    assert not task.done()
