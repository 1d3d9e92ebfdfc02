"""How a process is told to stop."""

from __future__ import annotations

import asyncio
import os
import signal

import structlog

from streams.errors import ExitCode
from streams.runtime.task_dump import dump_tasks_on_signal

log = structlog.get_logger(__name__)


def stop_on_signals() -> asyncio.Event:
    """Set at SIGTERM or SIGINT; a second signal ends the process at once.

    Another signal lists the tasks (:mod:`streams.runtime.task_dump`).
    """
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            log.warning("second signal, exiting at once")
            os._exit(ExitCode.INTERRUPTED)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    dump_tasks_on_signal(lambda: {"main": loop})
    return stop
