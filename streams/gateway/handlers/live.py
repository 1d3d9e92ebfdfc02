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
from streams.gateway.poll_store import Polls
from streams.gateway.problems import Unavailable
from streams.gateway.subscriptions import Subscriptions, TooManyWatchers

SEND_TIMEOUT_S: Final = 30.0
"""A socket that takes no message for this long is closed."""
KEEP_ALIVE_S: Final = 20.0
TRY_LATER: Final = 1013

Socket = WebSocket[Any, Any, Any]


class CloseSocket(Exception):
    """Ends the service of a watcher.

    Args:
        code: of the close frame.
        reason: of the close frame, in a few words.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def live_handlers(
    *, subscriptions: Subscriptions, polls: Polls
) -> list[HTTPRouteHandler | WebsocketRouteHandler]:
    """The handlers."""

    async def watch(socket: Socket, contest: str) -> None:
        await serve(
            socket,
            _send_totals(subscriptions, socket, contest),
            lambda: subscriptions.snapshot(contest),
        )

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
        await serve(socket, _send_notices(subscriptions, polls, socket))

    @get(
        "/results/{contest:str}/events",
        media_type="text/event-stream",
        tags=["live"],
        summary="Totals as Server-Sent Events",
        description="A `snapshot`, then `delta` events; `number` counts changes, `continues` is "
        "the number that a delta follows.",
    )
    async def events(contest: str) -> Stream:
        messages = subscriptions.watch(contest)
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
    socket: Socket, sending: Coroutine[Any, Any, None], answer: Callable[[], bytes] | None = None
) -> None:
    """Serve a socket until it is closed.

    Args:
        socket: to accept.
        sending: sends messages; the socket is closed when it ends, or raises :class:`CloseSocket`.
        answer: gives the answer to any message of the watcher.
    """
    try:
        await socket.accept()
    except BaseException:
        sending.close()
        raise
    task = asyncio.create_task(sending)
    try:
        while True:
            received = asyncio.ensure_future(socket.receive_text())
            await asyncio.wait([received, task], return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                # A close frame sent during a pending receive never reaches the watcher.
                received.cancel()
                await asyncio.wait([received])
                await _close(socket, task)
                break
            received.result()
            if answer is not None:
                async with asyncio.timeout(SEND_TIMEOUT_S):
                    await socket.send_text(answer().decode())
    except (WebSocketDisconnect, RuntimeError, KeyError, OSError):
        # The watcher left or does not read, or asked before the contest had a feed.
        pass
    finally:
        task.cancel()
        with suppress(
            asyncio.CancelledError, WebSocketDisconnect, RuntimeError, CloseSocket, OSError
        ):
            await task


async def _close(socket: Socket, task: asyncio.Task[None]) -> None:
    error = task.exception()
    if isinstance(error, CloseSocket):
        with suppress(TimeoutError):
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await socket.close(error.code, error.reason)


async def _send_notices(subscriptions: Subscriptions, polls: Polls, socket: Socket) -> None:
    """Send votes in the form of the replaced poll service."""
    try:
        async with aclosing(subscriptions.watch_notices()) as notices:
            async for notice in notices:
                poll_id = int(notice.contest.removeprefix(POLL_PREFIX))
                option = int(notice.choice)
                card = await polls.one(poll_id)
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
        raise CloseSocket(TRY_LATER, "Too many watchers") from error
    except TimeoutError as error:
        raise CloseSocket(TRY_LATER, "Too slow") from error


async def _send_totals(subscriptions: Subscriptions, socket: Socket, contest: str) -> None:
    async with aclosing(subscriptions.watch(contest)) as messages:
        await send_all(socket, messages)


async def send_all(socket: Socket, messages: AsyncIterator[bytes]) -> None:
    """Send messages as they come.

    Raises:
        CloseSocket: the watcher is too slow, or one too many.
    """
    try:
        async for message in messages:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await socket.send_text(message.decode())
    except TooManyWatchers as error:
        raise CloseSocket(TRY_LATER, "Too many watchers") from error
    except TimeoutError as error:
        raise CloseSocket(TRY_LATER, "Too slow") from error


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
