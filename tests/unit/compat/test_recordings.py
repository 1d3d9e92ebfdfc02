"""The format of recordings, and how an answer is compared with the expected one."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streams.compat.recordings import (
    SYSTEMS,
    Step,
    differences,
    filled,
    found_at,
    read_recording,
    recordings,
    variables_of,
)
from streams.compat.watching import Watcher
from streams.errors import SettingsError


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_recording_can_be_filled(system: str) -> None:
    found = recordings(system)
    assert found
    for recording in found.values():
        given = {"run": "1", **dict.fromkeys(recording.needs, "7")}
        variables: dict[str, Any] = {**variables_of(recording, given)}
        for step in recording.steps:
            for part in (step.http, step.message, step.query, step.watch, step.expect):
                for value in () if part is None else part.__struct_fields__:
                    filled(getattr(part, value), variables)
            variables |= dict.fromkeys(step.keep, 1)


def test_variables_use_those_before_them() -> None:
    [recording] = [r for n, r in recordings("vote_counting").items() if n.endswith("on-a-law")]
    found = variables_of(recording, {"run": "123456789"})
    text = b"123456789|ABC123|compat-law-123456789"
    assert found["hash"] == hashlib.sha256(text).hexdigest()
    assert variables_of(recording, {"run": "1", "hash": "mine"})["hash"] == "mine"
    assert filled({"a": ["${n}", "x${n}"]}, {"n": 5}) == {"a": [5, "x5"]}


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        (1, 1),
        ({"a": 1}, {"a": 1, "more": 2}),
        ([1, "$integer"], [1, 2]),
        ({"$contains": {"id": 2}}, [{"id": 1}, {"id": 2, "x": 0}]),
        ("$text", "x"),
        ("$number", 1.5),
        ("$time", "2025-11-14T12:00:00Z"),
        ("$any", None),
        (None, None),
    ],
)
def test_the_same(expected: object, found: object) -> None:
    assert list(differences(expected, found)) == []


@pytest.mark.parametrize(
    ("expected", "found", "place"),
    [
        (1, 2, "body:"),
        (1, True, "body:"),
        (1, 1.0, "body:"),
        ({"a": {"b": 1}}, {"a": {}}, "body.a.b is missing"),
        ({"a": 1}, [], "body:"),
        ([1], [1, 2], "body:"),
        ([1, 2], [1, 3], "body.1:"),
        ({"$contains": 3}, [1, 2], "body: none of 2"),
        ({"$contains": 3}, {}, "body:"),
        ("$text", "", "body:"),
        ("$integer", True, "body:"),
        ("$number", "1", "body:"),
        ("$time", "noon", "body:"),
        (None, 0, "body:"),
    ],
)
def test_a_difference_has_its_place(expected: object, found: object, place: str) -> None:
    [said] = differences(expected, found)
    assert said.startswith(place)


def test_values_are_kept_by_their_place() -> None:
    assert found_at("options.1.id", {"options": [{}, {"id": 8}]}) == 8
    for place in ("a", "options.2", "options.0.id.x"):
        with pytest.raises(LookupError):
            found_at(place, {"options": [{"id": 8}]})


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '{"title": "x"}',
        '{"title": "x", "steps": [{"says": "nothing"}]}',
        '{"title": "x", "steps": [], "unknown": 1}',
    ],
)
def test_what_is_no_recording_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "one.json"
    file.write_text(text)
    with pytest.raises(SettingsError, match="not a recording"):
        read_recording(file)


def test_a_step_is_one_thing_and_says_whether_the_api_is_enough() -> None:
    def step(**given: Any) -> Step:
        return msgspec.convert({"says": "x", **given}, Step)

    assert step(watch={"name": "a", "socket": "/ws/global/"}).over_http
    assert step(receive="a").over_http
    assert not step(watch={"name": "a", "channel": "global:votes"}).over_http
    assert not step(queue="votes.review").over_http
    for wrong in ({"receive": "a", "queue": "b"}, {}, {"watch": {"name": "a"}}):
        with pytest.raises(msgspec.ValidationError):
            step(**wrong)


async def test_what_a_watch_sent_is_kept_until_it_is_received() -> None:
    async def messages() -> AsyncIterator[bytes]:
        yield b'{"a":1}'
        yield b"no json"

    watcher = Watcher(messages())
    assert [await watcher.next(30), await watcher.next(30)] == [{"a": 1}, "no json"]
    assert await watcher.next(0) is None
    await watcher.close()
