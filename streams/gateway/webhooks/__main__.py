"""`python -m streams.gateway.webhooks`: sends webhooks until SIGTERM."""

from __future__ import annotations

import asyncio
import sys

import structlog

from streams.errors import ExitCode
from streams.gateway.store import Store
from streams.gateway.webhooks.sender import WebhookSender
from streams.runtime.metrics import WebhookMetrics, process_registry
from streams.runtime.status_server import StatusServer
from streams.runtime.stopping import stop_on_signals
from streams.settings.build import deployment_config
from streams.settings.entry import run_process
from streams.settings.model import Settings

log = structlog.get_logger(__name__)


async def _serve(settings: Settings) -> ExitCode:
    deployment = deployment_config(settings)
    secret = settings.secret.get_secret_value()
    metrics = WebhookMetrics(process_registry())
    async with Store(deployment.postgres, f"webhooks {deployment.name}") as store:
        sender = WebhookSender(store, secret, metrics, inside=settings.webhooks_inside)
        async with StatusServer(
            host=settings.metrics_host,
            port=settings.webhooks_port,
            registry=metrics.registry,
            live=list,
            ready=sender.faults,
            port_variable="SCRUTIN_WEBHOOKS_PORT",
        ) as status:
            log.info("webhooks are sent", metrics_port=status.port)
            await _until_stopped(sender)
    return ExitCode.OK


async def _until_stopped(sender: WebhookSender) -> None:
    stopping = asyncio.create_task(stop_on_signals().wait())
    sending = asyncio.create_task(sender.run())
    await asyncio.wait([stopping, sending], return_when=asyncio.FIRST_COMPLETED)
    if sending.done():
        stopping.cancel()
        sending.result()
    # What was sent and not noted is sent again by the next process, with the same id.
    sending.cancel()
    await asyncio.wait([sending])


if __name__ == "__main__":
    sys.exit(
        run_process(
            "streams.gateway.webhooks", "Sends signed webhooks when contests change.", _serve
        )
    )
