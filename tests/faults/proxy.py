"""A TCP proxy that does to a connection what networks do: delay, silence, loss, resets.

It runs on an event loop and a thread of its own, so a busy test does not slow it down, and is
switched while traffic passes:

    with Proxy("127.0.0.1", kafka_port) as proxy:
        client = connect(proxy.host, proxy.port)
        proxy.set(to_client=Blackhole())
        proxy.heal()

TCP promises its ends an unbroken stream, so bytes that :class:`Swallow` took can never be made up
for: a connection that lost some is reset as soon as its direction is given another mode.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from enum import Enum
from types import TracebackType
from typing import Any, Final, Self, TypeVar

LOOPBACK: Final = "127.0.0.1"
_CHUNK_BYTES: Final = 64 * 1024
_CHUNKS: Final = 64
"""What one direction of a connection holds back before its sender notices."""
_PATIENCE_S: Final = 10.0

T = TypeVar("T")


class Direction(Enum):
    """Which way bytes go."""

    TO_SERVER = "to server"
    TO_CLIENT = "to client"


@dataclass(frozen=True)
class Pass:
    """Everything goes through."""


@dataclass(frozen=True)
class Delay:
    """Everything arrives later."""

    delay_ms: float


@dataclass(frozen=True)
class Blackhole:
    """Nothing arrives; what was sent arrives after the healing, if the ends have the patience."""


@dataclass(frozen=True)
class Swallow:
    """The sender gets rid of its bytes and nobody receives them, e.g. lost replies."""


@dataclass(frozen=True)
class Cut:
    """Each connection ends, in the middle of a frame, once so many more bytes have passed."""

    after_bytes: int


@dataclass(frozen=True)
class Limit:
    """Bandwidth of each connection."""

    bytes_per_s: int


Mode = Pass | Delay | Blackhole | Swallow | Cut | Limit


@dataclass(frozen=True)
class Stats:
    """What has happened since the start."""

    connections: int = 0
    """Accepted so far."""
    refused: int = 0
    """Of them: the server could not be reached, so they were reset."""
    open: int = 0
    to_server_bytes: int = 0
    """Forwarded."""
    to_client_bytes: int = 0
    """Forwarded."""
    swallowed_bytes: int = 0
    cuts: int = 0
    lost_replies: int = 0


class Proxy:
    """Listens for one server. Use it as a context manager, from any thread but its own.

    Args:
        target_host: of the server.
        target_port: of the server.
        port: to listen on; 0 takes a free one.
    """

    def __init__(self, target_host: str, target_port: int, *, port: int = 0) -> None:
        self.host = LOOPBACK
        self.port = port
        self._target = (target_host, target_port)
        # Not the policy's: the programs under test set uvloop, which hides the sockets.
        self._loop = asyncio.SelectorEventLoop()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._modes: dict[Direction, Mode] = dict.fromkeys(Direction, Pass())
        self._changed = asyncio.Event()
        self._watch: _Watch | None = None
        self._stats = Stats()

    def __enter__(self) -> Self:
        self._thread.start()
        self._await(self._listen())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._await(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE_S)
        assert not self._thread.is_alive(), "the proxy's thread does not end"
        self._loop.close()

    # What a test calls.

    @property
    def stats(self) -> Stats:
        """A snapshot."""
        return self._call(lambda: replace(self._stats, open=len(self._links)))

    def set(self, *, to_server: Mode | None = None, to_client: Mode | None = None) -> None:
        """Switch directions, for connections that are open too; None leaves one as it is."""

        def switch() -> None:
            if to_server is not None:
                self._modes[Direction.TO_SERVER] = to_server
            if to_client is not None:
                self._modes[Direction.TO_CLIENT] = to_client
            for link in list(self._links):
                link.switched(self._modes)
            self._changed.set()
            self._changed = asyncio.Event()

        self._call(switch)

    def heal(self) -> None:
        """Let everything through again."""
        self.set(to_server=Pass(), to_client=Pass())
        self._call(self._forget_watch)

    def reset(self) -> int:
        """Reset every connection on both sides (RST); returns how many there were."""

        def abort_all() -> int:
            links = list(self._links)
            for link in links:
                link.reset()
            return len(links)

        return self._call(abort_all)

    def lose_reply(self, request: bytes, *, times: int = 1, reset_after_s: float = 0.5) -> None:
        """Deliver a request and lose the answer.

        Args:
            request: bytes that only that request has, e.g. `COMMIT;`.
            times: how many answers to lose; connections after that are left alone.
            reset_after_s: how long after the request its connection is reset on both sides.
        """

        def watch() -> None:
            self._watch = _Watch(request, times, reset_after_s)

        self._call(watch)

    # The proxy's own thread.

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _call(self, action: Callable[[], T]) -> T:
        async def act() -> T:
            return action()

        return self._await(act())

    def _await(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_PATIENCE_S)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(
            self._accept, self.host, self.port, limit=_CHUNK_BYTES
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        for link in list(self._links):
            link.reset()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget_watch(self) -> None:
        self._watch = None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.count(connections=1)
        try:
            server_reader, server_writer = await asyncio.open_connection(
                *self._target, limit=_CHUNK_BYTES
            )
        except OSError:
            self.count(refused=1)
            _abort(writer)
            return
        link = _Link(self, (reader, writer), (server_reader, server_writer))
        self._links.add(link)
        try:
            await link.run()
        except asyncio.CancelledError:
            # The proxy closes. asyncio's server would log this as an error of its own.
            return
        finally:
            self._links.discard(link)

    # What its connections ask.

    def mode(self, direction: Direction) -> Mode:
        """The present mode of a direction."""
        return self._modes[direction]

    async def changed(self, timeout_s: float | None = None) -> None:
        """Wait for another mode, or for some time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return

    def watched(self, seen: bytes) -> float | None:
        """After how many seconds to reset a connection that sends this; None: not watched."""
        watch = self._watch
        if watch is None or not watch.left or watch.request not in seen:
            return None
        watch.left -= 1
        self.count(lost_replies=1)
        return watch.reset_after_s

    def overlap(self) -> int:
        """How many bytes of a watched request may be in the chunk before."""
        return len(self._watch.request) - 1 if self._watch is not None else 0

    def count(self, **more: int) -> None:
        """Add to the statistics."""
        self._stats = replace(
            self._stats, **{name: getattr(self._stats, name) + n for name, n in more.items()}
        )


@dataclass
class _Watch:
    request: bytes
    left: int
    reset_after_s: float


Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Link:
    """One client's connection and its counterpart at the server."""

    def __init__(self, proxy: Proxy, client: Ends, server: Ends) -> None:
        self._proxy = proxy
        self._writers = (client[1], server[1])
        self.deaf = False
        """The client gets no more answers."""
        self._pumps = (
            _Pump(proxy, self, Direction.TO_SERVER, client[0], server[1]),
            _Pump(proxy, self, Direction.TO_CLIENT, server[0], client[1]),
        )

    async def run(self) -> None:
        """Forward until both sides have ended or the connection is broken."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for pump in self._pumps:
                    tasks.create_task(pump.read())
                    tasks.create_task(pump.write())
        except* _Cut:
            # What passed before the cut arrives.
            pass
        except* OSError:
            self.reset()
        finally:
            for writer in self._writers:
                writer.close()

    def switched(self, modes: dict[Direction, Mode]) -> None:
        """Take note of new modes."""
        for pump in self._pumps:
            pump.passed = 0
            if pump.spoiled and not isinstance(modes[pump.direction], Swallow):
                self.reset()

    def lose_replies(self, reset_after_s: float) -> None:
        """Swallow every answer from now on, then reset."""
        self.deaf = True
        asyncio.get_running_loop().call_later(reset_after_s, self.reset)

    def reset(self) -> None:
        """RST to both."""
        for writer in self._writers:
            _abort(writer)


class _Cut(Exception):
    """The connection ends here."""


class _Pump:
    """One direction of one connection."""

    def __init__(
        self,
        proxy: Proxy,
        link: _Link,
        direction: Direction,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.direction = direction
        self.passed = 0
        """Bytes since the last change of mode."""
        self.spoiled = False
        """Bytes are missing."""
        self._proxy = proxy
        self._link = link
        self._reader = reader
        self._writer = writer
        self._counter = "to_server_bytes" if direction is Direction.TO_SERVER else "to_client_bytes"
        self._chunks: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_CHUNKS)
        self._broken: OSError | None = None
        self._tail = b""

    async def read(self) -> None:
        """Take what the sender sends, with the time it came."""
        try:
            while chunk := await self._reader.read(_CHUNK_BYTES):
                await self._chunks.put((time.monotonic(), chunk))
        except OSError as error:
            # Where nothing gets through, a reset does not either.
            self._broken = error
        await self._chunks.put((time.monotonic(), b""))

    async def write(self) -> None:
        """Forward as the mode says, until the sender has ended."""
        while True:
            came_s, chunk = await self._chunks.get()
            if not chunk:
                await self._end(came_s)
                return
            self._look(chunk)
            while chunk:
                chunk = await self._forward(came_s, chunk)

    def _look(self, chunk: bytes) -> None:
        if self.direction is Direction.TO_CLIENT:
            return
        overlap = self._proxy.overlap()
        reset_after_s = self._proxy.watched(self._tail + chunk)
        self._tail = (self._tail + chunk)[-overlap:] if overlap else b""
        if reset_after_s is not None:
            self._tail = b""
            self._link.lose_replies(reset_after_s)

    async def _forward(self, came_s: float, chunk: bytes) -> bytes:
        """Do one step with a chunk; returns what is left of it."""
        mode = self._proxy.mode(self.direction)
        if self._link.deaf and self.direction is Direction.TO_CLIENT:
            mode = Swallow()
        match mode:
            case Blackhole():
                await self._proxy.changed()
            case Delay(delay_ms) if (left_s := came_s + delay_ms / 1000 - time.monotonic()) > 0:
                await self._proxy.changed(left_s)
            case Swallow():
                self.spoiled = True
                self._proxy.count(swallowed_bytes=len(chunk))
                return b""
            case Limit(bytes_per_s):
                size = max(1, min(len(chunk), bytes_per_s // 20))
                await self._send(chunk[:size])
                await asyncio.sleep(size / bytes_per_s)
                return chunk[size:]
            case Cut(after_bytes) if self.passed + len(chunk) >= after_bytes:
                await self._send(chunk[: after_bytes - self.passed])
                self._proxy.count(cuts=1)
                raise _Cut
            case _:
                await self._send(chunk)
                return b""
        return chunk

    async def _send(self, chunk: bytes) -> None:
        self._writer.write(chunk)
        self.passed += len(chunk)
        self._proxy.count(**{self._counter: len(chunk)})
        await self._writer.drain()

    async def _end(self, came_s: float) -> None:
        """Forward the sender's end, which is as late as its bytes and as lost."""
        while True:
            mode = self._proxy.mode(self.direction)
            left_s = None
            if isinstance(mode, Delay):
                left_s = came_s + mode.delay_ms / 1000 - time.monotonic()
            if not isinstance(mode, Blackhole | Swallow) and (left_s is None or left_s <= 0):
                break
            await self._proxy.changed(left_s)
        if self._broken is not None:
            raise self._broken
        if self._writer.can_write_eof():
            self._writer.write_eof()


def _abort(writer: asyncio.StreamWriter) -> None:
    """Close with RST: the other side sees a broken connection, not a regular close."""
    found: socket.socket | None = writer.get_extra_info("socket")
    if found is not None and found.fileno() >= 0:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
