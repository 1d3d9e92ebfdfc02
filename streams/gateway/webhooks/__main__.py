"""`python -m streams.gateway.webhooks`: sends webhooks until SIGTERM."""

from __future__ import annotations

import asyncio
import sys

import structlog

from streams.errors import ExitCode
from streams.gateway.store import Store
from streams.gateway.webhooks.sender import WebhookSender
from streams.runtime.stopping import stop_on_signals
from streams.settings.build import deployment_config
from streams.settings.entry import run_process
from streams.settings.model import Settings

log = structlog.get_logger(__name__)


async def _serve(settings: Settings) -> ExitCode:
    deployment = deployment_config(settings)
    secret = settings.secret.get_secret_value()
    async with Store(deployment.postgres, f"webhooks {deployment.name}") as store:
        sender = WebhookSender(store, secret, inside=settings.webhooks_inside)
        stopping = asyncio.create_task(stop_on_signals().wait())
        sending = asyncio.create_task(sender.run())
        log.info("webhooks are sent")
        await asyncio.wait([stopping, sending], return_when=asyncio.FIRST_COMPLETED)
        if sending.done():
            stopping.cancel()
            sending.result()
        # What was sent and not noted is sent again by the next process, with the same id.
        sending.cancel()
        await asyncio.wait([sending])
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(
        run_process(
            "streams.gateway.webhooks", "Sends signed webhooks when contests change.", _serve
        )
    )
