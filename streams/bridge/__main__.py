"""`python -m streams.bridge`: runs a bridge until SIGTERM."""

from __future__ import annotations

import sys

from streams.adapters.kafka.uvloop_fix import patch_aiokafka_for_uvloop
from streams.bridge.process import serve
from streams.errors import ExitCode
from streams.settings.build import bridge_config
from streams.settings.entry import run_process
from streams.settings.model import Settings


async def _serve(settings: Settings) -> ExitCode:
    patch_aiokafka_for_uvloop()
    return await serve(bridge_config(settings))


if __name__ == "__main__":
    sys.exit(
        run_process(
            "streams.bridge", "Passes votes between RabbitMQ's queues and the log in Kafka.", _serve
        )
    )
