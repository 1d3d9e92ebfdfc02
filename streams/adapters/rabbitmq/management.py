"""Adapter: RabbitMQ's management API, for facts that AMQP does not expose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import aiohttp

from streams.errors import ServiceUnavailable
from streams.settings.configs import RabbitConfig

_ANSWER_S: Final = 2.5
"""Longest wait for an answer: half of what an inspection has for AMQP and this together."""


@dataclass(frozen=True)
class QueueDetails:
    """Facts about a queue from the management API."""

    arguments: dict[str, Any]
    policy: dict[str, Any]
    """The effective policy's definition."""
    durable: bool
    auto_delete: bool
    unacked: int
    kind: str = "classic"
    """`classic`, `quorum` or `stream`."""
    policy_shown: bool = True
    """Whether RabbitMQ says which policy is in force; it takes some seconds after a declaration."""


class Management:
    """Client of the management plugin's HTTP API.

    Args:
        config: where RabbitMQ is; `SCRUTIN_RABBITMQ_MANAGEMENT_URL` if it is set, else port
            15671 of its host with TLS, and 15672 without.
    """

    def __init__(self, config: RabbitConfig) -> None:
        default = "http://{}:15672" if config.tls is None else "https://{}:15671"
        self.url: Final = (config.management_url or default.format(config.host)).rstrip("/")
        encrypted = self.url.startswith("https:")
        self._context = config.management_tls.context() if encrypted else True
        self._in_clear = config.tls is not None and not encrypted
        self._vhost = quote(config.vhost, safe="")
        self._headers = {"Authorization": aiohttp.encode_basic_auth(config.user, config.password)}

    async def queues(self, names: Sequence[str]) -> dict[str, QueueDetails]:
        """Details of the named queues that exist.

        Raises:
            ServiceUnavailable: no usable management API answers.
        """
        found = await self._get(f"/api/queues/{self._vhost}?disable_stats=false")
        return {
            q["name"]: QueueDetails(
                arguments=q.get("arguments") or {},
                policy=q.get("effective_policy_definition") or {},
                durable=bool(q.get("durable")),
                auto_delete=bool(q.get("auto_delete")),
                unacked=int(q.get("messages_unacknowledged") or 0),
                kind=q.get("type") or "classic",
                policy_shown="effective_policy_definition" in q,
            )
            for q in found
            if q["name"] in names
        }

    async def bound_queues(self, exchange: str) -> list[str]:
        """Queues that the exchange feeds directly."""
        found = await self._get(
            f"/api/exchanges/{self._vhost}/{quote(exchange, safe='')}/bindings/source"
        )
        return [b["destination"] for b in found if b["destination_type"] == "queue"]

    async def _get(self, path: str) -> list[dict[str, Any]]:
        if self._in_clear:
            raise ServiceUnavailable(
                "With RABBITMQ_TLS, no password is sent to a management API without TLS",
                where={"SCRUTIN_RABBITMQ_MANAGEMENT_URL": self.url},
                todo="Set an address that begins with https:",
            )
        timeout = aiohttp.ClientTimeout(total=_ANSWER_S)
        try:
            async with (
                aiohttp.ClientSession(headers=self._headers, timeout=timeout) as session,
                session.get(
                    f"{self.url}{path}", ssl=self._context, allow_redirects=False
                ) as response,
            ):
                response.raise_for_status()
                answer = await response.json()
        except (aiohttp.ClientError, TimeoutError, ValueError, OSError) as error:
            raise ServiceUnavailable(
                f"RabbitMQ's management API does not answer: {type(error).__name__}",
                where={"SCRUTIN_RABBITMQ_MANAGEMENT_URL": self.url},
            ) from error
        if not isinstance(answer, list):
            raise ServiceUnavailable(
                "The server is not RabbitMQ's management API",
                where={"SCRUTIN_RABBITMQ_MANAGEMENT_URL": self.url},
            )
        return answer
