"""What the handlers work with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from litestar import Request
from redis.asyncio import Redis

from streams.gateway.poll_store import Polls
from streams.gateway.receipts import Receipts
from streams.gateway.store import Store
from streams.gateway.submissions import RequestClock
from streams.gateway.subscriptions import Subscriptions
from streams.gateway.tally_service import TallyService
from streams.gateway.throttle import Throttle
from streams.gateway.vote_sink import VoteSink
from streams.gateway.voters import Voters
from streams.runtime.metrics import GatewayMetrics
from streams.settings.model import Settings

AnyRequest = Request[Any, Any, Any]


@dataclass(frozen=True)
class Parts:
    """The parts of a gateway."""

    settings: Settings
    redis: Redis
    store: Store
    queue: VoteSink
    receipts: Receipts
    throttle: Throttle
    watching: Subscriptions
    polls: Polls
    voters: Voters
    tallies: TallyService
    metrics: GatewayMetrics
    ready: Callable[[], list[str]]
    """What keeps the gateway from doing its work now."""
    clock: RequestClock = field(default_factory=RequestClock)

    def address_of(self, request: AnyRequest) -> str:
        """The client's address; behind proxies what the outermost trusted one saw."""
        peer = request.client.host if request.client else "unknown"
        trusted = self.settings.trusted_proxies
        forwarded = request.headers.get("x-forwarded-for", "")
        hops = [hop.strip() for hop in forwarded.split(",") if hop.strip()]
        return hops[-trusted] if trusted and len(hops) >= trusted else peer
