"""HTTP server for metrics and health: `/metrics`, `/live`, `/ready`."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from streams.errors import PortTaken

Check = Callable[[], list[str]]
"""Returns the faults; empty if there are none."""


@dataclass(kw_only=True)
class StatusServer:
    """Serves metrics and health of one process."""

    host: str
    """Address to listen on."""
    port: int
    """Port to listen on; 0 takes any free one, which then stands here."""
    registry: CollectorRegistry
    """Metrics to expose."""
    live: Check
    """Faults that require a restart."""
    ready: Check
    """Faults that keep the process from working now."""
    refresh: Callable[[], None] = lambda: None
    """Called before each scrape, to set gauges."""
    port_variable: str
    """Name of the setting, for the error message."""

    def __post_init__(self) -> None:
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Start to listen.

        Raises:
            PortTaken: the port is in use or may not be used.
        """
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/live", self._is_live)
        app.router.add_get("/ready", self._is_ready)
        runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await runner.setup()
        site = web.TCPSite(runner, self.host, self.port)
        try:
            await site.start()
        except OSError as error:
            await runner.cleanup()
            if error.errno not in {errno.EADDRINUSE, errno.EACCES}:
                raise
            denied = error.errno == errno.EACCES
            raise PortTaken(
                "The metrics port may not be used" if denied else "The metrics port is in use",
                where={"host": self.host, "port": self.port, "variable": self.port_variable},
                todo=f"Set {self.port_variable} to another port (0 takes any free one)",
            ) from error
        self._runner = runner
        self.port = runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening; does nothing if it has not started."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _metrics(self, _: web.Request) -> web.Response:
        self.refresh()
        return web.Response(
            body=generate_latest(self.registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    async def _is_live(self, _: web.Request) -> web.Response:
        return _health(self.live())

    async def _is_ready(self, _: web.Request) -> web.Response:
        return _health(self.ready())


def _health(faults: list[str]) -> web.Response:
    return web.json_response(
        {"status": "failing" if faults else "ok", "faults": faults},
        status=503 if faults else 200,
    )
