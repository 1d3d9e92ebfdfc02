"""Every field of a document, each with one digit changed."""

from __future__ import annotations

import base64
import json
import string
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

_SHORTEST_BYTES: Final = 16
"""Base64 of fewer is taken for a name."""
BY_NAME = {"contests", "selections", "recovered_parts", "coefficients", "counts", "spoiled"}
"""Fields whose members have ids for names."""


@dataclass(frozen=True)
class Field:
    """A place in a document."""

    name: str
    """Names from the top, with `*` for members of lists and of fields :data:`BY_NAME`."""
    path: tuple[str | int, ...]

    @property
    def label(self) -> str:
        """The last of the names."""
        return next(each for each in reversed(self.name.split(".")) if each != "*")

    def changed(self, document: Any) -> Any:
        """The document with one digit of this field changed."""
        copy: Any = json.loads(json.dumps(document))
        place = copy
        for step in self.path[:-1]:
            place = place[step]
        place[self.path[-1]] = _changed(place[self.path[-1]])
        return copy


def fields(document: Any) -> Iterator[Field]:
    """All fields that hold something; of those with one name only the first."""
    seen = set()
    for path, name in _leaves(document, (), ()):
        if name not in seen:
            seen.add(name)
            yield Field(".".join(name), path)


def _leaves(
    value: Any, path: tuple[str | int, ...], name: tuple[str, ...]
) -> Iterator[tuple[tuple[str | int, ...], tuple[str, ...]]]:
    if isinstance(value, dict):
        for key, each in value.items():
            member = "*" if name[-1:] and name[-1] in BY_NAME else key
            yield from _leaves(each, (*path, key), (*name, member))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _leaves(each, (*path, index), (*name, "*"))
    elif value is not None:
        yield path, name


def _changed(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    try:
        data = bytearray(base64.b64decode(value, validate=True))
    except ValueError:
        data = bytearray()
    if not set(value) - set(string.hexdigits):
        return value[:-1] + ("1" if value[-1:] != "1" else "2")
    if len(data) >= _SHORTEST_BYTES:
        data[-1] ^= 1
        return base64.b64encode(data).decode()
    return value[:-1] + ("a" if value[-1:] != "a" else "b")
