"""Clients of a gateway, as cheap as can be: they share the machine with what they measure.

`python -m tests.bench.gateway_clients` reads one JSON object of arguments from its standard input
and writes one of figures to its standard output.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import takewhile
from typing import Any, Final
from typing import cast as cast_to

import uvloop

from streams.gateway.process import raise_open_files

PATIENCE_S: Final = 120.0
_OPENING: Final = 100
"""Sockets that connect at a time."""
_TEXT: Final = 0x81
COMPRESSED: Final = 0xC1
"""First byte of a text frame that is compressed."""
_CLOSE: Final = 0x88
_PING: Final = 0x89


class Voter(asyncio.Protocol):
    """A connection that votes again as soon as it is answered.

    Args:
        requests: what to send, one after the other.
        times: seconds of each answered request go here.
        statuses: how many answers of each status; shared.
        done: resolved when there is nothing more to send.
    """

    def __init__(
        self,
        requests: Iterator[bytes],
        times: list[float],
        statuses: dict[int, int],
        done: asyncio.Future[None],
    ) -> None:
        self._requests = requests
        self._times = times
        self._statuses = statuses
        self._done = done
        self._buffer = b""
        self._sent_s = 0.0
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first."""
        self._transport = cast_to(asyncio.WriteTransport, transport)
        self._next()

    def connection_lost(self, error: Exception | None) -> None:
        """Wake the waiting tasks."""
        if not self._done.done():
            self._done.set_exception(error or ConnectionError("the gateway closed the connection"))

    def data_received(self, data: bytes) -> None:
        """Take an answer; there is never more than one on its way."""
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return
        at = head.lower().index(b"content-length:") + 15
        if len(body) < int(head[at:].partition(b"\r\n")[0]):
            return
        self._times.append(time.perf_counter() - self._sent_s)
        status = int(head[9:12])
        self._statuses[status] = self._statuses.get(status, 0) + 1
        self._buffer = b""
        self._next()

    def _next(self) -> None:
        assert self._transport is not None
        request = next(self._requests, None)
        if request is None:
            self._done.set_result(None)
            self._transport.close()
            return
        self._sent_s = time.perf_counter()
        self._transport.write(request)


def request_of(path: str, body: dict[str, object]) -> bytes:
    """A `POST` as bytes."""
    text = json.dumps(body).encode()
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(text)}\r\n\r\n"
    ).encode() + text


def votes_of(first: int, last: int, poll: int | None) -> list[bytes]:
    """Requests of voters who vote once each: on a law, or in a poll."""
    if poll is None:
        return [
            request_of(
                "/api/v1/vote",
                {"nas": f"{n:09}", "code": "ABC123", "law_id": "L-1", "vote": "oui"},
            )
            for n in range(first, last)
        ]
    return [
        request_of("/votes/", {"poll_id": poll, "option_id": n % 2 + 1, "voter_name": f"Voter {n}"})
        for n in range(first, last)
    ]


async def cast(
    *,
    port: int,
    first: int,
    last: int,
    at_once: int,
    seconds: float,
    poll: int | None = None,
) -> dict[str, Any]:
    """Vote on many connections until the time or the voters are over.

    Returns when all began and ended, how long each vote took, and the CPU of it.
    """
    prepared = votes_of(first, last, poll)
    cpu_s = time.process_time()
    over_s = time.monotonic() + seconds
    requests = takewhile(lambda _: time.monotonic() < over_s, prepared)
    times: list[float] = []
    statuses: dict[int, int] = {}
    loop = asyncio.get_running_loop()
    began_s = time.time()
    futures = []
    for _ in range(at_once):
        done: asyncio.Future[None] = loop.create_future()
        futures.append(done)
        await loop.create_connection(
            lambda done=done: Voter(requests, times, statuses, done),  # type: ignore[misc]
            "127.0.0.1",
            port,
        )
    await asyncio.gather(*futures)
    return {
        "began_s": began_s,
        "ended_s": time.time(),
        "cpu_s": time.process_time() - cpu_s,
        "statuses": statuses,
        "times_s": times,
    }


class Watcher(asyncio.Protocol):
    """A socket that watches a poll; just enough of RFC 6455 to read a server's text frames.

    Args:
        path: to ask for.
        told: called with the first byte and the payload of each message.
        opened: resolved at the first.
        lost: called with what ended it.
        compressed: whether to offer that messages may be compressed.
    """

    def __init__(
        self,
        path: str,
        told: Callable[[int, bytes], None],
        opened: asyncio.Future[None],
        lost: Callable[[str], None],
        *,
        compressed: bool = False,
    ) -> None:
        self._path = path
        self._told = told
        self._opened = opened
        self._lost = lost
        self._offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n" if compressed else ""
        self._buffer = b""
        self._upgraded = False
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for a socket."""
        self._transport = cast_to(asyncio.WriteTransport, transport)
        self._transport.write(
            f"GET {self._path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{self._offer}\r\n".encode()
        )

    def connection_lost(self, error: Exception | None) -> None:
        """Tell."""
        self._lost(str(error or "closed"))

    def data_received(self, data: bytes) -> None:
        """Take frames."""
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        if not self._upgraded:
            head, end, rest = data.partition(b"\r\n\r\n")
            if not end:
                self._buffer = data
                return
            if not head.startswith(b"HTTP/1.1 101"):
                self._lost(head.partition(b"\r\n")[0].decode())
                return
            self._upgraded, data = True, rest
        at = 0
        while (found := _payload_of(data, at)) is not None:
            start, end_at = found
            kind, payload = data[at], data[start:end_at]
            at = end_at
            if kind in {_TEXT, COMPRESSED}:
                self._told(kind, payload)
                if not self._opened.done():
                    self._opened.set_result(None)
            elif kind == _PING:
                assert self._transport is not None
                # Masked with zeros, which leave the payload as it is.
                self._transport.write(bytes([0x8A, 0x80 | len(payload)]) + b"\0" * 4 + payload)
            elif kind == _CLOSE:
                self._lost("the gateway closed the socket")
        self._buffer = data[at:]


def _payload_of(data: bytes, at: int) -> tuple[int, int] | None:
    """Where the payload of a server's frame begins and ends; None: the frame is not whole."""
    if len(data) < at + 2:
        return None
    start, length = at + 2, data[at + 1]
    if length == 126:
        start, length = at + 4, int.from_bytes(data[at + 2 : at + 4], "big")
    elif length == 127:
        start, length = at + 10, int.from_bytes(data[at + 2 : at + 10], "big")
    return None if len(data) < start + length else (start, start + length)


class Watch:
    """Sockets of one process and what they were told.

    Args:
        port: of the gateway.
        address: of this process, so that several have ports enough.
        polls: to watch, in turn.
        sockets: how many.
    """

    def __init__(self, *, port: int, address: str, polls: list[int], sockets: int) -> None:
        self._port = port
        self._address = address
        self._polls = polls
        self._sockets = sockets
        self._final: dict[str, list[float]] = {}
        self._totals: dict[str, list[dict[str, int]]] = {}
        self._seen: dict[str, list[float]] = {}
        self._ended: list[str] = []
        self._gaps = 0
        self._messages = 0
        self._over = asyncio.Event()

    async def run(self) -> dict[str, Any]:
        """Open all, say so, follow all to the final result; returns the figures.

        `seen_s`: poll -> Unix time at which each socket had each further vote. `final_s`: the same
        for the final result.
        """
        raise_open_files()
        turn = asyncio.Semaphore(_OPENING)
        await asyncio.gather(*(self._open(n, turn) for n in range(self._sockets)))
        print("ready", flush=True)
        async with asyncio.timeout(PATIENCE_S + 120):
            await self._over.wait()
        return {
            "sockets": sum(len(times) for times in self._final.values()),
            "final_s": self._final,
            "final_totals": {
                poll: [dict(t) for t in {tuple(sorted(each.items())) for each in totals}]
                for poll, totals in self._totals.items()
            },
            "seen_s": self._seen,
            "messages": self._messages,
            "gaps": self._gaps,
            "lost": self._ended[:10],
        }

    async def _open(self, number: int, turn: asyncio.Semaphore) -> None:
        poll = str(self._polls[number % len(self._polls)])
        state: dict[str, Any] = {"number": None, "totals": {}, "total": 0, "final": False}
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = loop.create_future()

        def lost(why: str) -> None:
            if not opened.done():
                opened.set_exception(ConnectionError(why))
            if not state["final"]:
                self._ended.append(why)

        async with turn:
            await loop.create_connection(
                lambda: Watcher(
                    f"/ws/polls/{poll}/",
                    lambda _, data: self._take(poll, state, json.loads(data)),
                    opened,
                    lost,
                ),
                "127.0.0.1",
                self._port,
                local_addr=(self._address, 0),
            )
            await opened

    def _take(self, poll: str, state: dict[str, Any], message: dict[str, Any]) -> None:
        now_s = time.time()
        self._messages += 1
        if message["type"] == "waiting":
            return
        if message["type"] == "delta" and message["continues"] != state["number"]:
            self._gaps += 1
        state["number"] = message["number"]
        state["totals"] = {**state["totals"], **message["totals"]}
        total = message["total"]
        if message["type"] == "delta" and total > state["total"]:
            self._seen.setdefault(poll, []).extend([now_s] * (total - state["total"]))
        state["total"] = total
        if message.get("final") and not state["final"]:
            state["final"] = True
            self._final.setdefault(poll, []).append(now_s)
            self._totals.setdefault(poll, []).append(state["totals"])
            if sum(len(times) for times in self._final.values()) == self._sockets:
                self._over.set()


async def _watch_result(**arguments: Any) -> dict[str, Any]:
    # It uses the classes of this module.
    from tests.bench.result_watchers import ResultWatchers  # noqa: PLC0415

    return await ResultWatchers(**arguments).run()


WORK: Final[dict[str, Callable[..., Awaitable[dict[str, Any]]]]] = {
    "cast": cast,
    "watch": lambda **arguments: Watch(**arguments).run(),
    "watch_result": _watch_result,
}


class Child:
    """A process of clients."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, work: str, **arguments: object) -> Child:
        """Start one of :data:`WORK`."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tests.bench.gateway_clients"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            limit=1 << 28,
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps({"work": work, **arguments}).encode() + b"\n")
        await process.stdin.drain()
        return cls(process)

    async def ready(self) -> None:
        """Wait until it says so."""
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            line = (await self._process.stdout.readline()).strip()
        assert line == b"ready", f"a client ended with {await self._process.wait()}"

    async def figures(self) -> dict[str, Any]:
        """What it found out."""
        async with asyncio.timeout(4 * PATIENCE_S):
            out, _ = await self._process.communicate()
        assert self._process.returncode == 0, f"a client ended with {self._process.returncode}"
        found: dict[str, Any] = json.loads(out)
        return found

    async def end(self) -> None:
        """End it if it runs."""
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


async def _work() -> dict[str, Any]:
    asked = json.loads(sys.stdin.readline())
    # The process that started it may be gone.
    async with asyncio.timeout(5 * PATIENCE_S):
        return await WORK[asked.pop("work")](**asked)


if __name__ == "__main__":
    # A full collection stops a client for a third of a second, as if the gateway were slow.
    gc.disable()
    print(json.dumps(uvloop.run(_work())))
