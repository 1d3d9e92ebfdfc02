"""Recordings: what a client of a replaced system sends, and what it must get. Pure.

A recording is a JSON file. `${name}` stands for a variable of the recording, of the caller or of an
earlier step; a variable `sha256:TEXT` is that text's digest. In an expectation `"$text"`,
`"$integer"`, `"$number"` and `"$time"` stand for any value of that kind, `"$any"` for any value at
all. An object may have more members than expected; a list may not, unless it is
`{"$contains": ...}`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Final

import msgspec

from streams.errors import SettingsError

SYSTEMS: Final = ("vote_counting", "polls", "tally")

_VARIABLE: Final = re.compile(r"\$\{(\w+)\}")
_DIGEST: Final = "sha256:"
_CONTAINS: Final = "$contains"
_KINDS: Final = ("http", "message", "redis", "query", "watch", "receive", "queue")


class Call(msgspec.Struct, forbid_unknown_fields=True):
    """An HTTP request."""

    method: str
    path: str
    body: Any = None
    """Sent as JSON."""
    raw: str | None = None
    """Sent as it is."""


class Message(msgspec.Struct, forbid_unknown_fields=True):
    """A message to a queue, by its documented name."""

    queue: str
    body: Any


class Members(msgspec.Struct, forbid_unknown_fields=True):
    """Members to add to a set in Redis."""

    key: str
    members: list[str]


class Query(msgspec.Struct, forbid_unknown_fields=True):
    """A query of a client's own, as that client reads the tables."""

    sql: str
    values: list[Any] = []
    schema: str = "public"
    """First in the search path."""


class Watch(msgspec.Struct, forbid_unknown_fields=True):
    """Something to listen to from here on: exactly one of `socket`, `events` and `channel`."""

    name: str
    """For steps that receive from it."""
    socket: str | None = None
    """Path of a WebSocket."""
    events: str | None = None
    """Path of a stream of Server-Sent Events."""
    channel: str | None = None
    """Of Redis."""

    def __post_init__(self) -> None:
        if sum(kind is not None for kind in (self.socket, self.events, self.channel)) != 1:
            raise ValueError("a watch is one of socket, events and channel")


class Received(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What must come back; None: not compared."""

    status: int | None = None
    headers: dict[str, str] = {}
    body: Any = None
    rows: Any = None


class Step(msgspec.Struct, forbid_unknown_fields=True):
    """One exchange: exactly one of those up to `queue`."""

    says: str
    http: Call | None = None
    message: Message | None = None
    redis: Members | None = None
    query: Query | None = None
    watch: Watch | None = None
    receive: str | None = None
    """Name of a watch; its messages are read until one is the expected body."""
    queue: str | None = None
    """A queue by its documented name; `rows` are the messages that wait in it, and stay there."""
    expect: Received = msgspec.field(default_factory=Received)
    keep: dict[str, str] = {}
    """Variable -> where it is in the answer's body, such as `options.0.id`."""
    within_s: float = 0.0
    """Repeat the step for so long, until the answer is the expected one."""

    def __post_init__(self) -> None:
        kinds = {name: getattr(self, name) for name in _KINDS}
        if sum(kind is not None for kind in kinds.values()) != 1:
            raise ValueError(f"a step is one of {', '.join(kinds)}")

    @property
    def over_http(self) -> bool:
        """Whether it needs nothing but the API."""
        if self.watch is not None:
            return self.watch.channel is None
        return self.http is not None or self.receive is not None


class Recording(msgspec.Struct, forbid_unknown_fields=True):
    """A conversation."""

    title: str
    steps: list[Step]
    needs: list[str] = []
    """Variables that the caller must give."""
    variables: dict[str, str] = {}
    """In order; a later one may use those before it."""


def recordings(system: str) -> dict[str, Recording]:
    """File name -> recording, of one of :data:`SYSTEMS`."""
    found: dict[str, Recording] = {}
    for file in sorted((files(__package__) / system).iterdir(), key=lambda one: one.name):
        if file.name.endswith(".json"):
            found[f"{system}/{file.name.removesuffix('.json')}"] = read_recording(file)
    return found


def read_recording(file: Traversable) -> Recording:
    """Read a recording.

    Raises:
        SettingsError: it is not one.
    """
    try:
        return msgspec.json.decode(file.read_bytes(), type=Recording)
    except msgspec.DecodeError as error:
        raise SettingsError(
            f"This is not a recording: {error}", where={"file": file.name}
        ) from error


def variables_of(recording: Recording, given: Mapping[str, str]) -> dict[str, str]:
    """The values of all variables before the first step."""
    values = dict(given)
    for name, text in recording.variables.items():
        if name in given:
            continue
        value = str(filled(text, values))
        if value.startswith(_DIGEST):
            value = hashlib.sha256(value.removeprefix(_DIGEST).encode()).hexdigest()
        values[name] = value
    return values


def filled(value: Any, variables: Mapping[str, Any]) -> Any:
    """A value with its variables replaced; one that is nothing but a variable keeps its type."""
    if isinstance(value, str):
        whole = _VARIABLE.fullmatch(value)
        if whole:
            return variables[whole[1]]
        return _VARIABLE.sub(lambda found: str(variables[found[1]]), value)
    if isinstance(value, dict):
        return {
            str(filled(name, variables)): filled(inner, variables) for name, inner in value.items()
        }
    if isinstance(value, list):
        return [filled(inner, variables) for inner in value]
    return value


def found_at(place: str, body: Any) -> Any:
    """The value at a place such as `options.0.id`.

    Raises:
        LookupError: there is none.
    """
    for part in place.split("."):
        if not isinstance(body, dict | list):
            raise LookupError(place)
        body = body[int(part)] if isinstance(body, list) else body[part]
    return body


def differences(expected: Any, found: Any, place: str = "body") -> Iterator[str]:
    """How a value differs from the expected one, each with its place."""
    if isinstance(expected, str) and expected.startswith("$"):
        if not _is_kind(expected, found):
            yield f"{place}: {found!r} is not {expected.removeprefix('$')}"
    elif isinstance(expected, dict) and _CONTAINS in expected:
        wanted = expected[_CONTAINS]
        if not isinstance(found, list):
            yield f"{place}: {found!r} is not a list"
        elif not any(not list(differences(wanted, each)) for each in found):
            yield f"{place}: none of {len(found)} is {wanted!r}"
    elif isinstance(expected, dict):
        yield from _of_object(expected, found, place)
    elif isinstance(expected, list):
        yield from _of_list(expected, found, place)
    elif type(expected) is not type(found) or expected != found:
        yield f"{place}: {found!r} instead of {expected!r}"


def _of_object(expected: dict[str, Any], found: Any, place: str) -> Iterator[str]:
    if not isinstance(found, dict):
        yield f"{place}: {found!r} is not an object"
        return
    for name, inner in expected.items():
        if name not in found:
            yield f"{place}.{name} is missing"
        else:
            yield from differences(inner, found[name], f"{place}.{name}")


def _of_list(expected: list[Any], found: Any, place: str) -> Iterator[str]:
    if not isinstance(found, list) or len(found) != len(expected):
        yield f"{place}: {found!r} is not a list of {len(expected)}"
        return
    for number, (one, other) in enumerate(zip(expected, found, strict=True)):
        yield from differences(one, other, f"{place}.{number}")


def _is_kind(kind: str, found: Any) -> bool:
    match kind:
        case "$text":
            return isinstance(found, str) and found != ""
        case "$integer":
            return isinstance(found, int) and not isinstance(found, bool)
        case "$number":
            return isinstance(found, int | float) and not isinstance(found, bool)
        case "$time":
            return isinstance(found, datetime) or _is_time(found)
        case "$any":
            return True
    raise SettingsError(f"A recording expects {kind!r}, which is no kind of value")


def _is_time(found: Any) -> bool:
    try:
        datetime.fromisoformat(found)
    except (TypeError, ValueError):
        return False
    return True
