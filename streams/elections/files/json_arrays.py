"""Reads one long array of a JSON object element by element, in flat memory. Pure but for reading.

A cast-vote record file is one object whose array of records may have gigabytes. The standard
library parses values only as a whole, so this module finds the array and parses its elements.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

from streams.elections.files.items import FileRefused

MAX_ELEMENT_CHARACTERS: Final = 16 << 20
_CHUNK_BYTES: Final = 1 << 16
_WHITE: Final = " \t\r\n"
_decoder: Final = json.JSONDecoder()


class _Broken(ValueError):
    """The text is no JSON here."""


class _Text:
    """A window on the text of a file."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._decode = codecs.getincrementaldecoder("utf-8-sig")()
        self._text = ""
        self._at = 0
        self._ended = False

    def _more(self) -> bool:
        """Read on; returns whether there was more."""
        if self._ended:
            return False
        raw = self._stream.read(_CHUNK_BYTES)
        self._ended = not raw
        self._text = self._text[self._at :] + self._decode.decode(raw, final=not raw)
        self._at = 0
        return True

    def peek(self) -> str:
        """The next character that is not white space."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _WHITE:
                    return self._text[self._at]
                self._at += 1
            if not self._more():
                raise _Broken("the file ends too early")

    def take(self, expected: str) -> str:
        """The next character, which must be one of `expected`."""
        found = self.peek()
        if found not in expected:
            raise _Broken(f"{found!r} instead of {' or '.join(expected)}")
        self._at += 1
        return found

    def value(self) -> Any:
        """The next whole value."""
        self.peek()
        size = 0
        while True:
            try:
                value, end = _decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                # Perhaps the rest was not read yet: wait until the window has doubled.
                size = max(2 * size, len(self._text) - self._at + 1)
                if size > MAX_ELEMENT_CHARACTERS:
                    raise _Broken("a value is too long, or no JSON") from error
                if not self._fill(size):
                    raise _Broken(error.msg) from error
                continue
            except RecursionError as error:
                raise _Broken("a value is nested too deeply") from error
            # A number may go on in the next chunk.
            if end == len(self._text) and self._more():
                continue
            self._at = end
            return value

    def _fill(self, size: int) -> bool:
        before = len(self._text) - self._at
        while len(self._text) - self._at < size and self._more():
            pass
        return len(self._text) - self._at > before


def _parts(path: Path, key: str) -> Iterator[tuple[str, Any]]:
    """(key, value) of the object; (`key`, element) for each element of the array."""
    row = 0
    try:
        with path.open("rb") as stream:
            text = _Text(stream)
            text.take("{")
            while text.peek() != "}":
                name = text.value()
                text.take(":")
                if name != key or text.peek() != "[":
                    yield name, text.value()
                else:
                    text.take("[")
                    while text.peek() != "]":
                        row += 1
                        yield key, text.value()
                        if text.peek() != "]":
                            text.take(",")
                    text.take("]")
                if text.peek() != "}":
                    text.take(",")
    except (_Broken, UnicodeDecodeError) as fault:
        where: dict[str, object] = {"file": path}
        if row:
            where["record"] = row
        raise FileRefused(
            f"The file is no JSON of this form: {fault}",
            where=where,
            todo="Records before this one were read; get the file again",
        ) from fault


def elements(path: Path, key: str) -> Iterator[tuple[int, Any]]:
    """(number from 1, element) of the array `key` of the object in a file.

    Raises:
        FileRefused: the file is no such object; says in which record.
    """
    found = (value for name, value in _parts(path, key) if name == key)
    yield from enumerate(found, 1)


def others(path: Path, key: str) -> dict[str, Any]:
    """The object in a file without the array `key`."""
    return {name: value for name, value in _parts(path, key) if name != key}
