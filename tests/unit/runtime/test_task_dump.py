"""Where tasks stand is told by functions and lines, never by values."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest

from streams.runtime import task_dump
from streams.runtime.task_dump import dump_tasks_on_signal, place_of

SECRET = "oui, says citizen-7"
NUMBERS = (signal.SIGUSR1, signal.SIGUSR2)


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
    assert outer.startswith("_count (test_task_dump.py:")
    assert inner.startswith("_wait (test_task_dump.py:")
    assert event.startswith("Event.wait (locks.py:")
    assert future == "FutureIter"


async def test_a_task_that_has_ended_stands_nowhere() -> None:
    task = asyncio.create_task(asyncio.sleep(0))
    await task
    assert place_of(task) == "coroutine"


@pytest.fixture
async def told(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[dict[str, dict[str, str]]]:
    """What is told at a signal, by task."""
    told: dict[str, dict[str, str]] = {}
    said = SimpleNamespace(warning=lambda _, **more: told.setdefault(more["task"], more))
    monkeypatch.setattr(task_dump, "log", said)
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in NUMBERS}
    dump_tasks_on_signal(lambda: {"main": loop})
    yield told
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", NUMBERS)
async def test_a_signal_tells_without_values(
    task: asyncio.Task[None], told: dict[str, dict[str, str]], number: signal.Signals
) -> None:
    os.kill(os.getpid(), number)
    async with asyncio.timeout(30):
        while "count" not in told:  # noqa: ASYNC110 - the handler has no event for it
            await asyncio.sleep(0.01)
    assert told["count"]["loop"] == "main"
    assert "_wait (test_task_dump.py:" in told["count"]["at"]
    assert SECRET not in str(told)
    assert not task.done()


@pytest.mark.usefixtures("task")
async def test_a_loop_that_is_blocked_is_told_of_too(told: dict[str, dict[str, str]]) -> None:
    passed = threading.Event()

    def strike() -> None:
        os.kill(os.getpid(), signal.SIGUSR1)
        while "count" not in told:
            time.sleep(0.01)
        passed.set()

    threading.Thread(target=strike, daemon=True).start()
    assert passed.wait(30)
