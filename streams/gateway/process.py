"""The gateway as a process: what it is made of, how it starts, how it ends."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import structlog

from streams.adapters.kafka.writer import LogWriter
from streams.adapters.redis.client import redis_client
from streams.core.polls import poll_key
from streams.errors import ExitCode
from streams.gateway.app import create_app
from streams.gateway.http_server import listening
from streams.gateway.kafka_sink import VoteLog
from streams.gateway.poll_store import Polls
from streams.gateway.rabbitmq_sink import VoteQueue
from streams.gateway.receipts import Receipts
from streams.gateway.services import Parts
from streams.gateway.store import Store
from streams.gateway.subscriptions import MAX_WATCHERS, Subscriptions
from streams.gateway.tally_service import TallyService
from streams.gateway.throttle import Throttle
from streams.gateway.voters import Voters
from streams.runtime.metrics import GatewayMetrics, expose_health, process_registry
from streams.runtime.outages import OutageTracker, Retry, Service
from streams.runtime.task_dump import dump_tasks_on_signal
from streams.settings.model import VALIDATION, Settings

log = structlog.get_logger(__name__)


@asynccontextmanager
async def opened(settings: Settings, metrics: GatewayMetrics) -> AsyncIterator[Parts]:
    """The parts of a gateway while the block runs.

    Raises:
        SettingsError: PostgreSQL refuses who we are.
    """
    retry = Retry(OutageTracker(settings.max_retry_attempts), settings.retry_delay_s)
    redis = redis_client(settings.redis)
    queue = (
        VoteLog(settings, redis, replace(retry, outages=OutageTracker(settings.max_retry_attempts)))
        if settings.confirm == "kafka"
        else VoteQueue(
            settings.rabbit,
            queue=settings.queue_name(VALIDATION),
            retry=retry,
            confirm_timeout_s=settings.confirm_timeout_s,
            on_blocked=lambda blocked: metrics.blocked.set(int(blocked)),
        )
    )
    secret = settings.secret.get_secret_value().encode()
    if not secret:
        log.warning("no SCRUTIN_SECRET: no polls, and receipts are good until this process ends")
    async with AsyncExitStack() as stack:
        stack.push_async_callback(redis.aclose)
        store = Store(settings)
        await retry(Service.POSTGRESQL, lambda: stack.enter_async_context(store))
        await stack.enter_async_context(queue)
        watching = await stack.enter_async_context(Subscriptions(redis, store.standings, metrics))
        writer = LogWriter(settings.kafka_bootstrap_servers, outages=retry.outages)
        stack.push_async_callback(writer.close)

        def ready() -> list[str]:
            return [] if queue.fault is None else [queue.fault]

        expose_health(metrics.registry, ready, retry.outages)
        yield Parts(
            settings=settings,
            redis=redis,
            store=store,
            queue=queue,
            receipts=Receipts(secret),
            throttle=Throttle(redis, settings, metrics),
            watching=watching,
            polls=Polls(store, writer, partitions=settings.partitions, name=settings.worker_id),
            voters=Voters(poll_key(settings.secret.get_secret_value()), settings.api_keys),
            tallies=await stack.enter_async_context(TallyService(settings)),
            metrics=metrics,
            ready=ready,
        )


def raise_open_files() -> int:
    """Let this process have as many open sockets as the host allows it; returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


async def serve(settings: Settings) -> ExitCode:
    """Run a gateway until SIGTERM or SIGINT; a second signal ends at once.

    Raises:
        ScrutinError: the gateway cannot work.
    """
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            os._exit(ExitCode.INTERRUPTED)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    dump_tasks_on_signal(lambda: {"main": loop})
    running = asyncio.create_task(_run(settings))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        running.cancel()
        await asyncio.wait([running], timeout=settings.drain_timeout_s)
    if running.done() and not running.cancelled():
        running.result()
    log.info("gateway ended")
    return ExitCode.OK


async def _run(settings: Settings) -> None:
    metrics = GatewayMetrics(process_registry())
    files = raise_open_files()
    if files < MAX_WATCHERS:
        log.warning("few open files are allowed; each watcher needs one", files=files)
    async with opened(settings, metrics) as parts, listening(create_app(parts), settings) as http:
        log.info("gateway starts", host=settings.gateway_host, port=settings.gateway_port)
        # Requests in hand are answered even when this is cancelled.
        await asyncio.wait([http, parts.queue.task], return_when=asyncio.FIRST_COMPLETED)
        for ended in (http, parts.queue.task):
            if ended.done():
                ended.result()
