"""Live totals over WebSocket and Server-Sent Events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing, suppress
from typing import Any, Final

from litestar import get, websocket
from litestar.connection import WebSocket
from litestar.exceptions import WebSocketDisconnect
from litestar.handlers import HTTPRouteHandler, WebsocketRouteHandler
from litestar.response import Stream

from streams.core.keys import ELECTION_PREFIX
from streams.core.polls import POLL_PREFIX
from streams.gateway.problems import Problem, Unavailable
from streams.gateway.shared_text import SharedText
from streams.gateway.subscriptions import NoSuchContest, Subscriptions, TooManyWatchers

SEND_TIMEOUT_S: Final = 30.0
"""A socket that takes no message for this long is closed."""
TRY_LATER: Final = 1013
NO_SUCH: Final = 4404
"""Closes a socket that asks for what cannot exist; of the range for applications."""

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
    *, subscriptions: Subscriptions
) -> list[HTTPRouteHandler | WebsocketRouteHandler]:
    """The handlers."""

    async def watch(socket: Socket, contest: str) -> None:
        await serve(
            socket,
            send_all(socket, subscriptions.watch(contest)),
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
        await serve(socket, send_all(socket, subscriptions.watch_notices()))

    @get(
        "/results/{contest:str}/events",
        media_type="text/event-stream",
        tags=["live"],
        summary="Totals as Server-Sent Events",
        description="A `snapshot`, then `delta` events; `number` counts changes, `continues` is "
        "the number that a delta follows. A delta with `heartbeat` and without totals comes every "
        "2.5 s at least; `age_s` is the time since the database was asked. `waiting`: the database "
        "has not answered yet.",
    )
    async def events(contest: str) -> Stream:
        return await event_stream(_events(subscriptions.watch(contest)))

    return [watch_poll, watch_law, watch_election, watch_all, events]


async def serve(
    socket: Socket,
    sending: Coroutine[Any, Any, None],
    answer: Callable[[], bytes | None] | None = None,
) -> None:
    """Serve a socket until it is closed.

    Args:
        socket: to accept.
        sending: sends messages; the socket is closed when it ends, or raises :class:`CloseSocket`.
        answer: gives the answer to any message of the watcher; None for no answer.
    """
    try:
        await socket.accept()
    except BaseException:
        sending.close()
        raise
    task = asyncio.create_task(sending)
    received: asyncio.Future[str] | None = None
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
            if answer is not None and (message := answer()) is not None:
                async with asyncio.timeout(SEND_TIMEOUT_S):
                    await socket.send_text(message.decode())
    except (WebSocketDisconnect, RuntimeError, KeyError, OSError):
        # The watcher left or does not read, or asked before the contest had a feed.
        pass
    finally:
        # Its exception refers to this frame: together they would wait for a garbage collection,
        # with all that belongs to the connection.
        received = None
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


async def send_all(socket: Socket, messages: AsyncGenerator[bytes | SharedText, None]) -> None:
    """Send messages as they come, and close their source.

    Raises:
        CloseSocket: the watcher is too slow or one too many, or asks for what cannot exist.
    """
    try:
        async with aclosing(messages):
            async for message in messages:
                async with asyncio.timeout(SEND_TIMEOUT_S):
                    text = message.decode() if isinstance(message, bytes) else message
                    await socket.send_text(text)
    except TooManyWatchers as error:
        raise CloseSocket(TRY_LATER, "Too many watchers") from error
    except NoSuchContest as error:
        raise CloseSocket(NO_SUCH, "No such contest") from error
    except TimeoutError as error:
        raise CloseSocket(TRY_LATER, "Too slow") from error


async def event_stream(events: AsyncGenerator[bytes, None]) -> Stream:
    """An answer of Server-Sent Events, once the first is there.

    Raises:
        Problem: there are too many watchers, or there is no such contest.
    """
    try:
        first = await anext(events)
    except TooManyWatchers as error:
        raise Unavailable("Too many watchers") from error
    except NoSuchContest as error:
        raise Problem(404, "No such contest") from error
    return Stream(
        _from(first, events),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store"},
    )


async def _from(first: bytes, events: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
    async with aclosing(events):
        yield first
        async for event in events:
            yield event


async def _events(messages: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(messages):
        async for message in messages:
            yield b"data: " + message + b"\n\n"
