"""Logs the stack of every task on SIGUSR1, to diagnose a process that has stalled.

Functions and lines only. Faust's own handler also shows values of variables, which may be votes;
its handler of SIGUSR2 is a debugger that halts the process.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import structlog

log = structlog.get_logger(__name__)

Loops = Callable[[], Mapping[str, asyncio.AbstractEventLoop]]
"""The process's event loops, by name."""


def dump_tasks_on_signal(loops: Loops) -> None:
    """Log the stacks of all tasks when the process gets SIGUSR1 or SIGUSR2.

    Args:
        loops: called at each signal.
    """
    loop = asyncio.get_running_loop()

    for number in (signal.SIGUSR1, signal.SIGUSR2):
        # A handler of the event loop would not run while the loop is blocked.
        loop.remove_signal_handler(number)
        signal.signal(number, lambda *_: dump_tasks(loops))


def dump_tasks(loops: Loops) -> None:
    """Log the stacks of all tasks."""
    # It interrupts the main thread at any place, or precedes an end of the process: never raise.
    with suppress(Exception):
        for name, loop in loops().items():
            for task in asyncio.all_tasks(loop):
                log.warning("task stack", loop=name, task=task.get_name(), at=place_of(task))


def place_of(task: asyncio.Task[Any]) -> str:
    """The functions that a task is in, outermost first, with their lines, and what it awaits."""
    places = []
    awaited: Any = task.get_coro()
    while (frame := _attribute(awaited, "frame")) is not None:
        places.append(_line_of(frame))
        awaited = _attribute(awaited, "await") or _attribute(awaited, "yieldfrom")
    return " > ".join([*places, type(awaited).__name__])


def _attribute(awaited: object, name: str) -> Any:
    """An attribute of a coroutine, or of a generator used as one."""
    found = (getattr(awaited, f"{kind}_{name}", None) for kind in ("cr", "gi"))
    return next((value for value in found if value is not None), None)


def _line_of(frame: FrameType) -> str:
    code = frame.f_code
    return f"{code.co_qualname} ({Path(code.co_filename).name}:{frame.f_lineno})"
