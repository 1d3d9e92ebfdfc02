"""The console as a process: how it starts and how it ends."""

from __future__ import annotations

import asyncio

import structlog

from streams.console.app import create_app
from streams.console.shared import Console
from streams.errors import ExitCode, SettingsError
from streams.gateway.http_server import listening
from streams.runtime.stopping import stop_on_signals
from streams.settings.processes import ConsoleConfig

log = structlog.get_logger(__name__)


async def serve(config: ConsoleConfig) -> ExitCode:
    """Run the console until SIGTERM or SIGINT; a second signal ends at once.

    Raises:
        ScrutinError: it cannot listen, or nobody could log in.
    """
    if not config.operators and config.open_id is None:
        raise SettingsError(
            "Nobody could log in to the console",
            where={"variable": "SCRUTIN_CONSOLE_OPERATORS"},
            todo="Set it to what `scrutin console --new-key NAME` prints, or set"
            " SCRUTIN_CONSOLE_OIDC_ISSUER",
        )
    app = create_app(Console(config))
    stopping = asyncio.create_task(stop_on_signals().wait())
    try:
        async with listening(app, config.http, lambda: None) as http:
            log.info("console starts", host=config.http.host, port=config.http.port)
            await asyncio.wait([http, stopping], return_when=asyncio.FIRST_COMPLETED)
            if http.done():
                http.result()
    finally:
        stopping.cancel()
    log.info("console ended")
    return ExitCode.OK
