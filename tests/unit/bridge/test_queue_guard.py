"""What the guard makes of a management API that shows a policy late, as RabbitMQ's does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer
from prometheus_client import CollectorRegistry

from streams.bridge.queue_guard import QueueGuard
from streams.runtime.metrics import BridgeMetrics
from streams.settings.load import load_settings

NEW: dict[str, Any] = {"name": "q", "type": "quorum", "durable": True}
SETTLED = NEW | {"effective_policy_definition": {"delivery-limit": -1}}


@dataclass
class Connected:
    """All that the guard reads of a connection whose management API answers."""

    version: str


async def limit_found(version: str, *answers: dict[str, Any]) -> tuple[float | None, int]:
    """The limit in the metrics, and how many answers were left."""
    left = [*answers]

    async def queues(_: web.Request) -> web.Response:
        return web.json_response([left.pop(0)])

    app = web.Application()
    app.router.add_get("/api/queues/%2F", queues)
    registry = CollectorRegistry()
    async with TestServer(app) as server:
        url = f"http://127.0.0.1:{server.port}"
        rabbit = replace(load_settings({}).rabbit, management_url=url)
        guard = QueueGuard(rabbit, (), BridgeMetrics(registry))
        await guard.check(Connected(version), "q")
    name = "scrutin_bridge_queue_delivery_limit"
    return registry.get_sample_value(name, {"queue": "q"}), len(left)


async def test_a_new_queue_is_judged_when_its_policy_is_shown() -> None:
    assert await limit_found("4.3.6", NEW, SETTLED) == (-1, 0)


async def test_without_limits_no_policy_is_waited_for() -> None:
    assert await limit_found("3.10.8", NEW, SETTLED) == (-1, 1)
