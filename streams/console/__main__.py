"""`python -m streams.console`: runs the operators' console until SIGTERM."""

from __future__ import annotations

import sys

from streams.console.process import serve
from streams.errors import ExitCode
from streams.settings.build import console_config
from streams.settings.entry import run_process
from streams.settings.model import Settings


async def _serve(settings: Settings) -> ExitCode:
    return await serve(console_config(settings))


if __name__ == "__main__":
    sys.exit(
        run_process("streams.console", "Serves the operators' console behind a login.", _serve)
    )
