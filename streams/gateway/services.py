"""What a gateway is made of: its adapters, and which handlers use which of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial

import structlog
from litestar.handlers import BaseRouteHandler
from litestar.types import ASGIApp
from redis.asyncio import Redis

from streams.adapters.kafka.writer import LogWriter
from streams.adapters.redis.client import redis_client
from streams.core.live_totals import totals_key
from streams.core.polls import poll_key
from streams.gateway.app import create_app
from streams.gateway.client_address import TrustedProxies
from streams.gateway.handlers.contests import contest_handlers
from streams.gateway.handlers.elections import election_handlers
from streams.gateway.handlers.feeds import feed_handlers
from streams.gateway.handlers.live import live_handlers
from streams.gateway.handlers.maps import map_handlers
from streams.gateway.handlers.operators import operator_handlers
from streams.gateway.handlers.pages import Site, page_handlers, read_site
from streams.gateway.handlers.poll_views import Cards, PollViews
from streams.gateway.handlers.poll_votes import poll_vote_calls
from streams.gateway.handlers.polls import poll_editing_handlers, poll_handlers
from streams.gateway.handlers.proof import proof_handlers
from streams.gateway.handlers.reference import reference_handlers
from streams.gateway.handlers.results import result_handlers
from streams.gateway.handlers.status import health_handlers, status_handlers
from streams.gateway.handlers.submit import RollLookup, VoteLimits, VoteSubmitter
from streams.gateway.handlers.tally import tally_handlers
from streams.gateway.handlers.votes import VotingWindows, official_vote_calls, receipt_handlers
from streams.gateway.kafka_sink import VoteLog
from streams.gateway.notices import NoticeFeed
from streams.gateway.poll_store import Polls
from streams.gateway.rabbitmq_sink import VoteQueue
from streams.gateway.shared_results import SharedResults
from streams.gateway.store import (
    LIVE_CONNECTIONS,
    LIVE_TIMEOUT_S,
    READ_CONNECTIONS,
    READ_TIMEOUT_S,
    Store,
)
from streams.gateway.subscriptions import Subscriptions
from streams.gateway.tally_service import TallyService
from streams.gateway.throttle import Throttle
from streams.gateway.vote_calls import VoteCall
from streams.gateway.vote_sink import VoteSink
from streams.gateway.voters import Voters
from streams.inspect.lag import measure
from streams.intake.receipts import Receipts
from streams.runtime.metrics import GatewayMetrics, expose_health
from streams.runtime.outages import OutageTracker, Retry, Service
from streams.runtime.zones import zone_of
from streams.settings.processes import GatewayConfig
from streams.settings.queues import VALIDATION

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Gateway:
    """An open gateway."""

    app: ASGIApp
    sink: VoteSink
    """Its task ends with the error that ends the gateway."""


@asynccontextmanager
async def opened(config: GatewayConfig, metrics: GatewayMetrics) -> AsyncIterator[Gateway]:
    """A gateway while the block runs.

    Raises:
        SettingsError: PostgreSQL refuses the user, or the database does not exist.
    """
    deployment = config.intake.deployment
    retry = Retry(OutageTracker(deployment.retry.max_attempts), deployment.retry.delay_s)
    redis = redis_client(deployment.redis)
    sink = _sink(config, redis, retry, metrics)
    secret = config.intake.secret
    if not secret:
        log.warning(
            "no SCRUTIN_SECRET: no polls, receipts are valid until this process ends, and live"
            " totals come from PostgreSQL"
        )
    async with AsyncExitStack() as stack:
        stack.push_async_callback(redis.aclose)
        store = Store(deployment.postgres, deployment.name)
        await retry(Service.POSTGRESQL, lambda: stack.enter_async_context(store))
        # Votes must not wait for readers, however many there are and whatever they ask.
        reads = await stack.enter_async_context(
            Store(
                replace(deployment.postgres, max_connections=READ_CONNECTIONS),
                deployment.name,
                statement_timeout_s=READ_TIMEOUT_S,
            )
        )
        # Neither must watchers wait for readers.
        live = await stack.enter_async_context(
            Store(
                replace(deployment.postgres, max_connections=LIVE_CONNECTIONS),
                deployment.name,
                statement_timeout_s=LIVE_TIMEOUT_S,
            )
        )
        await stack.enter_async_context(sink)
        subscriptions = await stack.enter_async_context(
            Subscriptions(
                redis,
                live.standings,
                metrics,
                notices=NoticeFeed(live.poll_texts),
                key=totals_key(secret),
            )
        )
        tallies = await stack.enter_async_context(TallyService(config.tally))
        writer = LogWriter(deployment.kafka.servers, outages=retry.outages)
        stack.push_async_callback(writer.close)

        def ready() -> list[str]:
            return [] if sink.fault is None else [sink.fault]

        expose_health(metrics.registry, ready, retry.outages)
        site = read_site(config.http.languages_dir, config.http.photo_origins)
        handlers, calls = handlers_and_calls(
            config,
            metrics,
            ready,
            redis=redis,
            sink=sink,
            store=store,
            reads=reads,
            subscriptions=subscriptions,
            tallies=tallies,
            writer=writer,
            site=site,
        )
        app = create_app(
            handlers,
            calls,
            metrics=metrics,
            max_body_bytes=config.http.max_body_bytes,
            cors_origins=config.http.cors_origins,
            embed_origins=config.http.embed_origins,
            photo_origins=config.http.photo_origins,
            localised=site.words.localised,
        )
        yield Gateway(app, sink)


def handlers_and_calls(
    config: GatewayConfig,
    metrics: GatewayMetrics,
    ready: Callable[[], list[str]],
    *,
    redis: Redis,
    sink: VoteSink,
    store: Store,
    reads: Store,
    subscriptions: Subscriptions,
    tallies: TallyService,
    writer: LogWriter,
    site: Site,
) -> tuple[list[BaseRouteHandler], list[VoteCall]]:
    """Everything that a gateway serves.

    Args:
        config: of the gateway.
        metrics: of the gateway.
        ready: says why it can take no votes now.
        redis: client.
        sink: where votes go.
        store: for votes.
        reads: for readers.
        subscriptions: live totals.
        tallies: encrypted elections.
        writer: of the log, for polls.
        site: files and texts of the pages.
    """
    deployment = config.intake.deployment
    secret = config.intake.secret
    polls = Polls(store, writer, partitions=deployment.kafka.partitions, name=deployment.name)
    cards = Cards(polls)
    voters = Voters(poll_key(secret), config.api_keys)
    receipts = Receipts(secret.encode())
    proxies = TrustedProxies(config.http.trusted_proxies)
    limits = VoteLimits(Throttle(redis, config.throttle, metrics), proxies)
    shown = Polls(reads, writer, partitions=deployment.kafka.partitions, name=deployment.name)
    views = PollViews(shown, reads, voters, limits)
    zone = zone_of(config.time_zone)
    submitter = VoteSubmitter(sink, receipts, metrics)
    results = SharedResults(reads, subscriptions)
    return (
        [
            *status_handlers(ready=ready, registry=metrics.registry),
            *health_handlers(sink=sink, sink_name=config.confirm, store=store, redis=redis),
            *receipt_handlers(receipts=receipts, store=reads),
            *proof_handlers(receipts=receipts, store=reads, config=config.proof),
            *result_handlers(store=reads, polls=shown, zone=zone),
            *election_handlers(store=reads),
            *feed_handlers(store=reads, proxies=proxies, words=site.words),
            *contest_handlers(results=results, store=reads, picture_words=site.pictures),
            *map_handlers(store=reads),
            *live_handlers(subscriptions=subscriptions),
            *poll_handlers(polls=shown, cards=Cards(shown), views=views),
            *poll_editing_handlers(polls=polls, cards=cards, views=views, limits=limits, zone=zone),
            *operator_handlers(store=reads, measure_lag=partial(measure, deployment)),
            *tally_handlers(tallies=tallies, api_keys=config.tally_api_keys, limits=limits),
            *reference_handlers(),
            *page_handlers(results, proxies, site),
        ],
        [
            *official_vote_calls(
                submitter=submitter,
                limits=limits,
                roll=RollLookup(redis, deployment.roll),
                store=store,
                windows=VotingWindows(store, config.intake.enforce_contests),
            ),
            *poll_vote_calls(
                cards=cards,
                store=store,
                voters=voters,
                limits=limits,
                submitter=submitter,
                proxies=proxies,
            ),
        ],
    )


def _sink(config: GatewayConfig, redis: Redis, retry: Retry, metrics: GatewayMetrics) -> VoteSink:
    deployment = config.intake.deployment
    if config.confirm == "kafka":
        tracker = OutageTracker(deployment.retry.max_attempts)
        return VoteLog(
            config.intake,
            redis,
            replace(retry, outages=tracker),
            confirm_timeout_s=config.confirm_timeout_s,
        )
    return VoteQueue(
        deployment.rabbit,
        queue=deployment.queues.name(VALIDATION),
        retry=retry,
        confirm_timeout_s=config.confirm_timeout_s,
        on_blocked=lambda blocked: metrics.blocked.set(int(blocked)),
    )
