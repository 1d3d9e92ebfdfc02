"""Plays recordings against a deployment: over HTTP, and at its services where they are given."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import msgspec

from streams.adapters.postgres.connection import connected as postgres_connection
from streams.adapters.rabbitmq.client import connected as rabbit_connection
from streams.adapters.redis.client import redis_connection, redis_errors
from streams.compat.recordings import (
    Call,
    Received,
    Recording,
    Step,
    Watch,
    differences,
    filled,
    found_at,
    variables_of,
)
from streams.compat.watching import Watcher, begin, decoded, peek
from streams.errors import ServiceUnavailable
from streams.settings.configs import DeploymentConfig

_TIMEOUT_S: Final = 30.0
_POLL_S: Final = 0.2


@dataclass
class PlayedOutcome:
    """What came of one recording."""

    name: str
    title: str
    played: int = 0
    """Steps."""
    left_out: str = ""
    """Why the recording, or a part of it, was not played."""
    differences: list[str] = field(default_factory=list)

    @property
    def same(self) -> bool:
        """Whether everything that was played is as recorded."""
        return not self.differences


@dataclass
class _Playing:
    """A recording that is played."""

    stack: AsyncExitStack
    session: aiohttp.ClientSession
    variables: dict[str, Any]
    watched: dict[str, Watcher] = field(default_factory=dict)


@dataclass
class Player:
    """Plays one recording after the other; a step that differs ends its recording.

    Args:
        url: of the API, without a path.
        given: variables.
        services: where RabbitMQ, Redis and PostgreSQL are; without them only HTTP is played.
    """

    url: str
    given: Mapping[str, str]
    services: DeploymentConfig | None = None

    async def play(self, name: str, recording: Recording) -> PlayedOutcome:
        """Play a recording.

        Raises:
            ServiceUnavailable: the API or a service does not answer.
        """
        outcome = PlayedOutcome(name, recording.title)
        if missing := [each for each in recording.needs if each not in self.given]:
            outcome.left_out = f"needs --set {' --set '.join(f'{each}=...' for each in missing)}"
            return outcome
        run = f"{secrets.randbelow(10**9):09}"
        variables: dict[str, Any] = {**variables_of(recording, {"run": run, **self.given})}
        async with AsyncExitStack() as stack:
            session = await stack.enter_async_context(
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(_TIMEOUT_S))
            )
            playing = _Playing(stack, session, variables)
            for step in recording.steps:
                if not step.over_http and self.services is None:
                    outcome.left_out = "needs --services"
                    break
                found = await self._until_expected(playing, step)
                outcome.played += 1
                if found:
                    outcome.differences = [f"{step.says}: {each}" for each in found]
                    break
        return outcome

    async def _until_expected(self, playing: _Playing, step: Step) -> list[str]:
        until = time.monotonic() + step.within_s
        variables = playing.variables
        expected = filled(msgspec.to_builtins(step.expect), variables)
        while True:
            if step.receive is not None:
                left_s = until - time.monotonic()
                answer = Received(body=await playing.watched[step.receive].next(left_s))
            else:
                answer = await self._do(playing, step)
            found = _compare(expected, answer)
            if not found or time.monotonic() >= until:
                break
            if step.receive is None:
                await asyncio.sleep(_POLL_S)
        try:
            variables |= {name: found_at(place, answer.body) for name, place in step.keep.items()}
        except (LookupError, ValueError) as error:
            found.append(f"nothing at {error}")
        return found

    async def _do(self, playing: _Playing, step: Step) -> Received:
        variables = playing.variables
        if step.http is not None:
            return await self._call(playing.session, step.http, variables)
        if step.watch is not None:
            watch = msgspec.convert(filled(msgspec.to_builtins(step.watch), variables), Watch)
            with self._answering():
                playing.watched[watch.name] = await begin(
                    playing.stack, playing.session, self.url.rstrip("/"), watch, self.services
                )
            return Received()
        assert self.services is not None
        if step.message is not None:
            queue = self.services.queues.deployed.get(step.message.queue, step.message.queue)
            body = msgspec.json.encode(filled(step.message.body, variables))
            async with rabbit_connection(self.services.rabbit, "scrutin compat") as connection:
                channel = await connection.channel()
                channel.publisher(queue)(secrets.token_hex(16), body)
                # An answer on the same channel: everything before it has arrived.
                await channel.depth(queue)
        elif step.redis is not None:
            members = [str(filled(each, variables)) for each in step.redis.members]
            async with (
                redis_connection(self.services.redis) as redis,
                redis_errors("add the members"),
            ):
                await redis.sadd(step.redis.key, *members)
        elif step.query is not None:
            async with postgres_connection(self.services.postgres) as connection:
                await connection.execute(f"SET search_path TO {step.query.schema}, public")
                rows = await connection.fetch(step.query.sql, *filled(step.query.values, variables))
            return Received(rows=[dict(row) for row in rows])
        elif step.queue is not None:
            queue = self.services.queues.deployed.get(step.queue, step.queue)
            return Received(rows=await peek(self.services.rabbit, queue))
        return Received()

    async def _call(
        self, session: aiohttp.ClientSession, call: Call, variables: Mapping[str, Any]
    ) -> Received:
        path = filled(call.path, variables)
        data = None if call.body is None else msgspec.json.encode(filled(call.body, variables))
        if call.raw is not None:
            data = call.raw.encode()
        headers = {} if data is None else {"Content-Type": "application/json"}
        with self._answering():
            async with session.request(
                call.method, self.url.rstrip("/") + path, data=data, headers=headers
            ) as response:
                raw = await response.read()
        received = {name.lower(): value for name, value in response.headers.items()}
        return Received(response.status, received, decoded(raw))

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ServiceUnavailable(
                f"The API does not answer: {error or type(error).__name__}",
                where={"url": self.url},
                todo="Give the address of the API, such as http://localhost:8000",
            ) from error


def _compare(expected: dict[str, Any], answer: Received) -> list[str]:
    """How an answer differs from what is expected of it."""
    found: list[str] = []
    if "status" in expected:
        found += differences(expected["status"], answer.status, "status")
    found += differences(
        {name.lower(): value for name, value in expected.get("headers", {}).items()},
        answer.headers,
        "headers",
    )
    for part in ("body", "rows"):
        if part in expected:
            found += differences(expected[part], getattr(answer, part), part)
    return found
