"""The topology with a worker that stalls: `STALL` says where. Run by the watchdog's test."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from faust.tables.recovery import Recovery

from streams.engine.consumer import ConsumerThread
from topology import app, worker

__all__ = ["app"]


async def _for_ever(*_: Any) -> None:
    await asyncio.Event().wait()


async def _deaf(_: Any) -> None:
    """As after a rebalance that forgot to go on: alive, and nothing is fetched any more."""
    app.consumer.pause_partitions(app.consumer.assignment())


match os.environ["STALL"]:
    case "stage":
        worker._validating.process = _for_ever
    case "consumer":
        worker.validate = _deaf  # type: ignore[method-assign]
    case "stop":
        ConsumerThread.on_thread_stop = _for_ever  # type: ignore[method-assign]
    case "restore":
        Recovery.need_recovery = lambda _: True
