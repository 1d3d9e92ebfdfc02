"""Format exceptions for log lines, without values that may belong to a vote; pure.

A frame shows file, line, function and source, never its variables. Messages of drivers and of the
standard library quote values (`KeyError: 'hash'`, `DETAIL: Key (vote_hash)=(...)`): of those, the
first line is kept, with everything that may be a value masked. Messages of Scrutin's own errors are
written for logs and stay.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Final, TextIO

from streams.errors import ScrutinError

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]

MAX_LENGTH: Final = 16_384
"""Of one formatted exception; the middle is left out of longer ones."""

_CAUSE: Final = "\nThe above exception was the direct cause of the following exception:\n\n"
_CONTEXT: Final = "\nDuring handling of the above exception, another exception occurred:\n\n"
_VALUES: Final = re.compile(
    r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\((?=[^()]*=)[^)]*\)|\b[0-9A-Fa-f]{16,}\b|\b\d{6,}\b"""
)


def format_exception(exc_info: ExcInfo) -> str:
    """The traceback of an exception and of those that caused it."""
    text = "".join(_parts(exc_info[1], exc_info[2], set())).rstrip("\n")
    if len(text) > MAX_LENGTH:
        half = MAX_LENGTH // 2
        text = f"{text[:half]}\n[left out]\n{text[-half:]}"
    return text


def write_exception(out: TextIO, exc_info: ExcInfo) -> None:
    """Write :func:`format_exception` below a line of the console."""
    out.write(f"\n{format_exception(exc_info)}")


def _parts(error: BaseException, frames: TracebackType | None, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    earlier = error.__cause__
    joint = _CAUSE
    if earlier is None and not error.__suppress_context__:
        earlier, joint = error.__context__, _CONTEXT
    if earlier is not None and id(earlier) not in seen:
        yield from _parts(earlier, earlier.__traceback__, seen)
        yield joint
    if frames is not None:
        yield "Traceback (most recent call last):\n"
        yield from traceback.format_tb(frames)
    yield f"{_named(error)}\n"
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            if id(each) not in seen:
                yield "\nOne of its exceptions:\n\n"
                yield from _parts(each, each.__traceback__, seen)


def _named(error: BaseException) -> str:
    kind = type(error)
    name = kind.__qualname__
    if kind.__module__ not in {"builtins", "__main__"}:
        name = f"{kind.__module__}.{name}"
    message = str(error)
    if not isinstance(error, ScrutinError):
        message = _VALUES.sub("[...]", message.partition("\n")[0])
    return f"{name}: {message}" if message else name
