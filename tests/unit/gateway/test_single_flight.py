"""Costly questions: asked once, answered for all."""

from __future__ import annotations

import asyncio
import time

import pytest

from streams.gateway.single_flight import SingleFlight


async def test_one_question_answers_all_who_wait() -> None:
    asked: list[str] = []
    go = asyncio.Event()

    async def ask(key: str) -> str:
        asked.append(key)
        await go.wait()
        return key.upper()

    flight: SingleFlight[str, str] = SingleFlight(ask)
    waiting = [asyncio.create_task(flight.get(key)) for key in "aabb"]
    left = asyncio.create_task(flight.get("a"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    left.cancel()
    # One at a time.
    assert asked == ["a"]
    go.set()
    assert await asyncio.gather(*waiting) == ["A", "A", "B", "B"]
    assert asked == ["a", "b"]


async def test_an_error_is_for_all_who_wait_and_ends() -> None:
    errors = [ValueError("the first"), None]

    async def ask(_: str) -> str:
        if error := errors.pop(0):
            raise error
        return "well"

    flight: SingleFlight[str, str] = SingleFlight(ask)
    for each in await asyncio.gather(flight.get("a"), flight.get("a"), return_exceptions=True):
        assert isinstance(each, ValueError)

    async def well() -> str:
        while True:
            try:
                return await flight.get("a")
            except ValueError:
                await asyncio.sleep(0)

    assert await well() == "well"
    with pytest.raises(IndexError):
        errors.pop()


async def test_an_answer_is_asked_again_for_who_knows_of_a_change() -> None:
    asked = 0

    async def ask(_: str) -> int:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        return asked

    flight: SingleFlight[str, int] = SingleFlight(ask)
    assert await flight.get("a", time.monotonic()) == 1
    since_s = time.monotonic()
    # Those who wait at the same time have one answer.
    assert await asyncio.gather(*(flight.get("a", since_s) for _ in range(3))) == [2, 2, 2]
    assert await flight.get("a", since_s) == 2
    assert await flight.get("a", time.monotonic()) == 3
