"""Live totals over WebSocket and Server-Sent Events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing, suppress
from typing import Any, Final

import msgspec
from litestar import get, websocket
from litestar.connection import WebSocket
from litestar.exceptions import WebSocketDisconnect
from litestar.handlers import HTTPRouteHandler, WebsocketRouteHandler
from litestar.response import Stream

from streams.core.keys import ELECTION_PREFIX
from streams.core.polls import POLL_PREFIX
from streams.gateway.problems import Unavailable
from streams.gateway.services import Parts
from streams.gateway.subscriptions import TooManyWatchers

SEND_TIMEOUT_S: Final = 30.0
"""A socket that takes nothing for so long is closed."""
KEEP_ALIVE_S: Final = 20.0
TRY_LATER: Final = 1013

Socket = WebSocket[Any, Any, Any]


class SentAway(Exception):
    """A watcher has to go.

    Args:
        code: that its socket is closed with.
        reason: in a few words.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def live_handlers(parts: Parts) -> list[HTTPRouteHandler | WebsocketRouteHandler]:
    """The handlers."""

    async def watch(socket: Socket, contest: str) -> None:
        await serve(socket, _tell(parts, socket, contest), lambda: parts.watching.snapshot(contest))

    @websocket(["/ws/polls/{poll_id:str}", "/ws/polls/{poll_id:str}/"])
    async def watch_poll(socket: Socket, poll_id: str) -> None:
        await watch(socket, POLL_PREFIX + poll_id)

    @websocket(["/ws/laws/{law_id:str}", "/ws/laws/{law_id:str}/"])
    async def watch_law(socket: Socket, law_id: str) -> None:
        await watch(socket, law_id)

    @websocket(["/ws/elections/{election_id:str}", "/ws/elections/{election_id:str}/"])
    async def watch_election(socket: Socket, election_id: str) -> None:
        await watch(socket, ELECTION_PREFIX + election_id)

    @websocket(["/ws/global", "/ws/global/"])
    async def watch_all(socket: Socket) -> None:
        await serve(socket, _notify(parts, socket))

    @get(
        "/results/{contest:str}/events",
        media_type="text/event-stream",
        tags=["live"],
        summary="Totals as Server-Sent Events",
        description="A `snapshot`, then `delta` events; `number` counts changes, `continues` says "
        "which one a delta follows.",
    )
    async def events(contest: str) -> Stream:
        messages = parts.watching.watch(contest)
        try:
            first = await anext(messages)
        except TooManyWatchers as error:
            raise Unavailable("Too many watchers") from error
        return Stream(
            _events(first, messages),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store"},
        )

    return [watch_poll, watch_law, watch_election, watch_all, events]


async def serve(
    socket: Socket, telling: Coroutine[Any, Any, None], answer: Callable[[], bytes] | None = None
) -> None:
    """Serve a socket until it is gone.

    Args:
        socket: to accept.
        telling: sends what there is to tell; its end is the socket's, also by :class:`SentAway`.
        answer: to whatever the watcher says.
    """
    try:
        await socket.accept()
    except BaseException:
        telling.close()
        raise
    task = asyncio.create_task(telling)
    try:
        while True:
            heard = asyncio.ensure_future(socket.receive_text())
            await asyncio.wait([heard, task], return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                # A close that meets a pending receive never reaches the watcher.
                heard.cancel()
                await asyncio.wait([heard])
                await _send_away(socket, task)
                break
            heard.result()
            if answer is not None:
                await socket.send_text(answer().decode())
    except (WebSocketDisconnect, RuntimeError, KeyError):
        # It has gone, or its room has not come into being yet.
        pass
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError, SentAway):
            await task


async def _send_away(socket: Socket, task: asyncio.Task[None]) -> None:
    error = task.exception()
    if isinstance(error, SentAway):
        with suppress(TimeoutError):
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await socket.close(error.code, error.reason)


async def _notify(parts: Parts, socket: Socket) -> None:
    """Tell of votes as the polls' service before told of them."""
    try:
        async with aclosing(parts.watching.watch_notices()) as notices:
            async for notice in notices:
                poll_id = int(notice.contest.removeprefix(POLL_PREFIX))
                option = int(notice.choice)
                card = await parts.polls.one(poll_id)
                if card is None:
                    continue
                message = {
                    "type": "vote_notification",
                    "voter_name": notice.voter_name,
                    "poll_id": poll_id,
                    "poll_text": card.title,
                    "option_id": option,
                    "option_text": card.options[option - 1],
                }
                async with asyncio.timeout(SEND_TIMEOUT_S):
                    await socket.send_text(msgspec.json.encode(message).decode())
    except TooManyWatchers as error:
        raise SentAway(TRY_LATER, "Too many watchers") from error
    except TimeoutError as error:
        raise SentAway(TRY_LATER, "Too slow") from error


async def _tell(parts: Parts, socket: Socket, contest: str) -> None:
    async with aclosing(parts.watching.watch(contest)) as messages:
        await send_all(socket, messages)


async def send_all(socket: Socket, messages: AsyncIterator[bytes]) -> None:
    """Send messages as they come; a watcher that is too slow, or one too many, is sent away."""
    try:
        async for message in messages:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await socket.send_text(message.decode())
    except TooManyWatchers as error:
        raise SentAway(TRY_LATER, "Too many watchers") from error
    except TimeoutError as error:
        raise SentAway(TRY_LATER, "Too slow") from error


async def _events(first: bytes, messages: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
    yield b"data: " + first + b"\n\n"
    upcoming = asyncio.ensure_future(anext(messages))
    try:
        while True:
            await asyncio.wait([upcoming], timeout=KEEP_ALIVE_S)
            if not upcoming.done():
                yield b": still here\n\n"
                continue
            yield b"data: " + upcoming.result() + b"\n\n"
            upcoming = asyncio.ensure_future(anext(messages))
    except StopAsyncIteration:
        return
    finally:
        upcoming.cancel()
        with suppress(asyncio.CancelledError, StopAsyncIteration):
            await upcoming
        await messages.aclose()
