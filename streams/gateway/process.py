"""The gateway as a process: how it starts and how it ends."""

from __future__ import annotations

import asyncio
import resource
from typing import Final

import structlog

from streams.errors import ExitCode
from streams.gateway.http_server import listening
from streams.gateway.services import opened
from streams.gateway.subscriptions import MAX_WATCHERS
from streams.runtime.memory import raise_gc_thresholds
from streams.runtime.metrics import GatewayMetrics, process_registry
from streams.runtime.stopping import stop_on_signals
from streams.settings.processes import GatewayConfig

log = structlog.get_logger(__name__)

_YOUNG_OBJECTS: Final = 500
"""Between two collections. Votes wait for them, and connections that end leave much garbage."""


def raise_open_files() -> int:
    """Let this process have as many open sockets as the host allows it; returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


async def serve(config: GatewayConfig) -> ExitCode:
    """Run a gateway until SIGTERM or SIGINT; a second signal ends at once.

    Raises:
        ScrutinError: the gateway cannot work.
    """
    stopping = asyncio.create_task(stop_on_signals().wait())
    running = asyncio.create_task(_run(config))
    try:
        await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        running.cancel()
        await asyncio.wait([running], timeout=config.drain_timeout_s)
    if running.done() and not running.cancelled():
        running.result()
    log.info("gateway ended")
    return ExitCode.OK


async def _run(config: GatewayConfig) -> None:
    raise_gc_thresholds(_YOUNG_OBJECTS)
    metrics = GatewayMetrics(process_registry())
    files = raise_open_files()
    if files < MAX_WATCHERS:
        log.warning("few open files are allowed; each watcher needs one", files=files)
    refused = metrics.throttled.labels("connections").inc
    async with (
        opened(config, metrics) as gateway,
        listening(gateway.app, config.http, refused) as http,
    ):
        log.info("gateway starts", host=config.http.host, port=config.http.port)
        # Requests being served are answered even when this is cancelled.
        await asyncio.wait([http, gateway.sink.task], return_when=asyncio.FIRST_COMPLETED)
        for ended in (http, gateway.sink.task):
            if ended.done():
                ended.result()
