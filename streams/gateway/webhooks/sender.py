"""Sends webhooks: each change at least once, with the same id and body in every attempt."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import aiohttp
import asyncpg
import msgspec
import structlog

from streams.elections.store import read_definitions
from streams.errors import ScrutinError, ServiceUnavailable, SettingsError
from streams.gateway.shared_results import read_shown
from streams.gateway.store import Store
from streams.gateway.webhooks.destinations import AddressRefused, PublicResolver, checked_url
from streams.gateway.webhooks.signing import delay_s, signed_headers, webhook_key
from streams.gateway.webhooks.store import Due, WebhookStore
from streams.runtime.metrics import WebhookMetrics

log = structlog.get_logger(__name__)

PERIOD_S: Final = 1.0
ATTEMPT_S: Final = 10.0
"""Longest time for an attempt, with the connection."""
_TOGETHER: Final = 20
"""Deliveries that are tried at the same time."""
_GONE: Final = 410


@dataclass(frozen=True)
class WebhookAttempt:
    """How one attempt ended."""

    state: str
    """`delivered`, `failed`, or `pending`: it is tried again."""
    answer: str
    again_s: float = 0


def outcome_of(status: int, attempts: int) -> WebhookAttempt:
    """What an answer means.

    Args:
        status: of HTTP.
        attempts: with this one.
    """
    if 200 <= status < 300:
        return WebhookAttempt("delivered", f"HTTP {status}")
    if status == _GONE:
        return WebhookAttempt("failed", f"HTTP {status}: the receiver wants no more of these")
    return _later(f"HTTP {status}", attempts)


def _later(answer: str, attempts: int) -> WebhookAttempt:
    wait_s = delay_s(attempts)
    return WebhookAttempt("failed" if wait_s is None else "pending", answer, wait_s or 0)


class WebhookSender:
    """Finds changes and sends them.

    Args:
        store: for its connections.
        metrics: of the process.
        secret: SCRUTIN_SECRET.
        inside: whether webhooks may go to private addresses and by plain http.

    Raises:
        SettingsError: there is no secret.
    """

    def __init__(self, store: Store, secret: str, metrics: WebhookMetrics, *, inside: bool) -> None:
        if not secret:
            raise SettingsError("Webhooks are signed with a secret", todo="Set SCRUTIN_SECRET")
        self._store = store
        self._secret = secret
        self._metrics = metrics
        self._outage: str | None = "starting"
        self._inside = inside

    def faults(self) -> list[str]:
        """Why nothing is sent now, for `/ready`."""
        return [] if self._outage is None else [self._outage]

    async def run(self) -> None:
        """Send until cancelled; an outage of the database is waited for."""
        async with self.session() as session:
            while True:
                try:
                    await self.send_due(session)
                    self._outage = None
                except ServiceUnavailable as error:
                    self._outage = error.what
                    log.warning("webhooks wait for the database", error=str(error))
                await asyncio.sleep(PERIOD_S)

    async def send_due(self, session: aiohttp.ClientSession) -> int:
        """Send what is due, and say how many were tried.

        Raises:
            ServiceUnavailable: the database does not answer.
        """
        async with self._store.connection() as connection:
            hooks = WebhookStore(connection)
            await hooks.note_changes()
            due = [await _with_body(connection, each) for each in await hooks.claim(_TOGETHER)]
        found = await asyncio.gather(*(self._attempt(session, each) for each in due))
        async with self._store.connection() as connection:
            for each, attempt in zip(due, found, strict=True):
                await WebhookStore(connection).finish(
                    each.delivery_id, attempt.state, attempt.answer, again_s=attempt.again_s
                )
                self._metrics.attempts.labels(attempt.state).inc()
                log.info(
                    "webhook",
                    delivery=each.delivery_id,
                    event_kind=each.event,
                    contest=each.contest_id,
                    attempt=each.attempts,
                    state=attempt.state,
                    answer=attempt.answer,
                )
        return len(due)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[aiohttp.ClientSession]:
        """A client that goes nowhere else than webhooks may."""
        connector = aiohttp.TCPConnector(
            limit=_TOGETHER,
            force_close=True,
            use_dns_cache=False,
            resolver=None if self._inside else PublicResolver(),
        )
        timeout = aiohttp.ClientTimeout(total=ATTEMPT_S)
        # No proxy of the environment: it would resolve names itself.
        async with aiohttp.ClientSession(
            connector=connector,
            timeout=timeout,
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        ) as session:
            yield session

    async def _attempt(self, session: aiohttp.ClientSession, due: Due) -> WebhookAttempt:
        if due.body is None:
            return _later("not sent: the result cannot be read", due.attempts)
        key = webhook_key(self._secret, due.webhook_id)
        headers = signed_headers(key, due.delivery_id, int(time.time()), due.body, due.event)
        try:
            # The setting may have changed since the webhook was added.
            url = checked_url(due.url, inside=self._inside)
            async with session.post(
                url, data=due.body, headers=headers, allow_redirects=False
            ) as answer:
                # Nothing of the answer but its status is read.
                return outcome_of(answer.status, due.attempts)
        except AddressRefused as error:
            return _later(f"not sent: {error}", due.attempts)
        except SettingsError as error:
            return WebhookAttempt("failed", f"not sent: {error}"[:200])
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return _later(_words_of(error), due.attempts)


async def _with_body(connection: asyncpg.Connection, due: Due) -> Due:
    if due.body is not None:
        return due
    try:
        definitions = await read_definitions(connection)
        read = await read_shown(connection, due.contest_id, definitions)
    except ServiceUnavailable:
        raise
    except ScrutinError as error:
        log.warning("a result for a webhook cannot be read", error=str(error))
        return due
    if read is None:
        return due
    body = msgspec.json.encode(read.result)
    await WebhookStore(connection).keep_body(due.delivery_id, body)
    return msgspec.structs.replace(due, body=body)


def _words_of(error: Exception) -> str:
    cause = error.__cause__ if isinstance(error.__cause__, AddressRefused) else None
    if cause is not None:
        return f"not sent: {cause}"
    if isinstance(error, TimeoutError):
        return f"no answer within {ATTEMPT_S:g} s"
    return type(error).__name__
