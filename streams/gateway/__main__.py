"""`python -m streams.gateway`: runs a gateway until SIGTERM."""

from __future__ import annotations

import sys

from streams.errors import ExitCode
from streams.gateway.process import serve
from streams.settings.build import gateway_config
from streams.settings.entry import run_process
from streams.settings.model import Settings


async def _serve(settings: Settings) -> ExitCode:
    return await serve(gateway_config(settings))


if __name__ == "__main__":
    sys.exit(
        run_process(
            "streams.gateway", "Serves votes, results and pages over HTTP and WebSocket.", _serve
        )
    )
