"""Connections of clients: every byte, every wait and every buffer of one is bounded.

uvicorn bounds some of that. What it leaves open lets one client use memory or CPU without limit, or
keep its descriptor for ever.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from contextlib import suppress
from typing import Any, Final, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame
from websockets.http11 import Request
from websockets.protocol import State

from streams.gateway.shared_text import SharedDeflate, SharedText
from streams.gateway.strikes import Strikes

MAX_HEAD_BYTES: Final = 64 * 1024
"""Longest request line with its headers."""
MAX_LINE_BYTES: Final = 8192
"""Longest line of it: the web framework keeps a thousand paths, queries and cookies in caches."""
MAX_HEADERS: Final = 200
MAX_PIPELINED: Final = 16
"""Requests of one connection that wait for the answer to an earlier one."""
MAX_FRAMING_BYTES: Final = 4096
"""Longest run of chunk sizes, extensions and trailers without a byte of the body."""
REQUEST_TIMEOUT_S: Final = 30.0
"""From accepting a connection, or the first byte of a later request, to the last byte."""
KEEP_ALIVE_S: Final = 75.0
"""From an answer to the first byte of the next request."""
WRITE_TIMEOUT_S: Final = 30.0
"""Longest time for which a peer may leave a full buffer unread."""
UNREAD_S: Final = 1.0
"""From answering a request that goes on, and is not read any more, to closing its connection."""
CLOSE_TIMEOUT_S: Final = 10.0
"""From closing a connection to dropping what the peer has not read."""
FRAMES: Final = 100
"""WebSocket frames that a peer may send at once."""
FRAMES_PER_S: Final = 5.0
"""Rate at which that allowance returns."""
MAX_MESSAGE_BYTES: Final = 4096
"""Longest message of a WebSocket peer; watchers have little to say."""

OFFER: Final = "scrutin.offer"
"""Extension of the scope of sockets: :meth:`BoundedWebSocket.offer`."""
_EXTENSIONS: Final = (SharedDeflate(),)
_SLICE_BYTES: Final = 4096
_FRAMES_SLICE_BYTES: Final = 512  # The shortest frame has 6, and all in a slice are parsed.
_HEAD_END: Final = b"\r\n\r\n"
_OTHER_UPGRADE: Final = re.compile(rb"\r\nupgrade:(?![ \t]*websocket[ \t]*\r\n)", re.IGNORECASE)
_CHUNKED_GROWTH: Final = 8
"""A body in chunks of one byte is sent in six times its bytes."""
_BAD_UPGRADE: Final = (
    b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: 35\r\n\r\nThe upgrade request is not correct."
)


class GuardedTransport:
    """A transport that drops a peer that does not read in time, and may join writes.

    A response's head and body would be a system call each, and those are a quarter of the cost of a
    vote in the gateway. So all writes of one turn of the loop are joined, until `joining` is False.
    """

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, strikes: Strikes
    ) -> None:
        self.joining = True
        self._strikes: Strikes | None = strikes
        self._transport = transport
        self._loop = loop
        self._waiting: list[bytes] = []
        self._blocked: asyncio.TimerHandle | None = None
        self._closing: asyncio.TimerHandle | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write bytes at the end of this turn of the loop, or at once."""
        if not self.joining:
            if not self._transport.is_closing():
                self._transport.write(data)
            return
        if not self._waiting:
            self._loop.call_soon(self.flush)
        self._waiting.append(data)

    def flush(self) -> None:
        """Write the waiting bytes now."""
        waiting, self._waiting = self._waiting, []
        if waiting and not self._transport.is_closing():
            self._transport.write(b"".join(waiting))

    def close(self) -> None:
        """Write the waiting bytes, then close; what is not read in time is dropped."""
        self.flush()
        self._transport.close()
        if self._closing is None:
            self._closing = self._loop.call_later(CLOSE_TIMEOUT_S, self._drop)

    def strike(self) -> None:
        """Count this connection as one that broke a bound, once."""
        if self._strikes is not None:
            self._strikes.add(self._transport)
            self._strikes = None

    def blocked(self, blocked: bool) -> None:
        """Note whether the buffer is full; one that stays full is dropped with its connection."""
        if self._blocked is not None:
            self._blocked.cancel()
            self._blocked = None
        if blocked:
            self._blocked = self._loop.call_later(WRITE_TIMEOUT_S, self._drop)

    def _drop(self) -> None:
        # Without this the kernel would keep what was not read, and go on offering it.
        # A socket that is closed already has no number, which is a ValueError.
        with suppress(OSError, ValueError):
            self._transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
        self._transport.abort()

    def lost(self) -> None:
        """Stop all deadlines: the connection has ended."""
        self.blocked(False)
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None


class _Refused(Exception):
    """Ends a request inside the parser."""


class BoundedHttp(HttpToolsProtocol):
    """Bounds the bytes of a request, the requests that wait, and all waits.

    Args:
        max_body_bytes: a request that is much longer ends its connection.
        strikes: of all addresses.
        uvicorn: arguments of the base class.
    """

    def __init__(self, *, max_body_bytes: int, strikes: Strikes, **uvicorn: Any) -> None:
        super().__init__(**uvicorn)
        self._strikes = strikes
        self._max_body_bytes = max_body_bytes
        self._max_request_bytes = MAX_HEAD_BYTES + _CHUNKED_GROWTH * max_body_bytes
        self._arriving = False
        self._in_head = True
        self._ended = False
        self._head = bytearray()
        """Bytes of a head that is not complete: the parser gets it in one piece, because it copies
        what it has with every piece."""
        self._head_fed = b""
        """The end of what the parser already has of it."""
        self._request_bytes = 0
        self._declared_bytes = 0
        """Length of the body, if the head tells it."""
        self._piece_bytes = 0
        self._framing_bytes = 0
        self._body_seen = False
        self._deadline: asyncio.TimerHandle | None = None
        self._guarded: GuardedTransport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the deadline of the first request."""
        super().connection_made(transport)
        self._guarded = GuardedTransport(transport, self.loop, self._strikes)
        self.transport = self._guarded  # type: ignore[assignment]
        if self._strikes.are_too_many(transport):
            self._ended = True
            transport.abort()
            return
        self._expect(REQUEST_TIMEOUT_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all deadlines."""
        self._relax()
        super().connection_lost(exc)
        self._guarded.lost()

    def pause_writing(self) -> None:
        """Read no more from a peer that does not read."""
        super().pause_writing()
        self._guarded.blocked(True)
        if not self._guarded.is_closing():
            self.flow.pause_reading()

    def resume_writing(self) -> None:
        """The peer reads again."""
        super().resume_writing()
        self._guarded.blocked(False)
        if not self.pipeline and not self._ended and not self._guarded.is_closing():
            self.flow.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Read bytes of requests."""
        if self._ended or self.parser is None:
            return
        if not self._arriving:
            self._arriving = True  # Bytes that are no request do not move the deadline again.
            self._expect(REQUEST_TIMEOUT_S)
        self._request_bytes += len(data)
        if self._request_bytes > self._max_request_bytes:
            self._refuse("The request is too long.")
            return
        at = 0
        while at < len(data) and not self._ended:
            end = at + _SLICE_BYTES
            if self._in_head:
                whole = self._whole_head(data[at:])
                if whole is None:
                    return
                data, at = whole, 0
                end = max(_SLICE_BYTES, whole.find(_HEAD_END) + len(_HEAD_END))
            self._parse(data[at:end])
            at = end

    def _parse(self, data: bytes) -> None:
        """Give the parser a piece that has little to parse, or one whole head."""
        self._body_seen = False
        self._piece_bytes = len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._upgrade()
        except httptools.HttpParserError:
            self._refuse("Invalid HTTP request received.")
        else:
            self._fed(data)

    def _whole_head(self, data: bytes) -> bytes | None:
        """What the parser gets: nothing until the head is complete."""
        searched = max(0, len(self._head) - len(_HEAD_END) + 1)
        self._head += data
        joined = self._head_fed + self._head if not searched and self._head_fed else self._head
        end = joined.find(_HEAD_END, searched)
        if (len(self._head) if end < 0 else end) > MAX_HEAD_BYTES:
            self._refuse("The request's headers are too long.")
            return None
        if end < 0:
            return None
        whole, self._head, self._head_fed = bytes(self._head), bytearray(), b""
        head = whole[: end + len(_HEAD_END)]
        if len(head) > MAX_LINE_BYTES and max(map(len, head.split(b"\r\n"))) > MAX_LINE_BYTES:
            self._refuse("A line of the request's head is too long.")
            return None
        if b"pgrade" in head or b"PGRADE" in head:
            # The parser reads no body behind an upgrade, also where it is not taken.
            whole = _OTHER_UPGRADE.sub(b"\r\nx-upgrade:", head) + whole[len(head) :]
        return whole

    def _fed(self, data: bytes) -> None:
        if self._in_head:
            # The last bytes began another request.
            self._head_fed = data[-len(_HEAD_END) + 1 :]
            return
        self._framing_bytes = 0 if self._body_seen else self._framing_bytes + len(data)
        if self._framing_bytes > MAX_FRAMING_BYTES:
            self._refuse("The request has too many bytes beside its body.")

    def on_message_begin(self) -> None:
        """Note the beginning of a request."""
        if len(self.pipeline) >= MAX_PIPELINED:
            raise _Refused
        if not self._arriving:
            self._arriving = True
            self._expect(REQUEST_TIMEOUT_S)
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header of the head; trailers are read and dropped."""
        if not self._in_head:
            return
        if len(self.headers) >= MAX_HEADERS:
            raise _Refused
        if name.lower() == b"content-length" and value.isdigit():
            self._declared_bytes = int(value[:20])
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Note the end of the headers."""
        self._in_head = False
        self._framing_bytes = -self._piece_bytes
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take bytes of a body."""
        self._body_seen = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note the end of the request."""
        self._arriving, self._in_head = False, True
        self._request_bytes = self._declared_bytes = 0
        self._relax()
        super().on_message_complete()
        self._expect_next()

    def on_response_complete(self) -> None:
        """Wait for the next request, for a while."""
        super().on_response_complete()
        # The base class has a timer that any byte stops.
        self._unset_keepalive_if_required()
        if self._answered_early():
            # No byte of the rest costs anything: the peer cannot send it. What it has sent makes
            # closing an error for it, so it gets time to read the answer.
            self._ended = True
            self._guarded.strike()
            if not self._guarded.is_closing():
                self.flow.pause_reading()
                self._expect(UNREAD_S)
            return
        self._expect_next()

    def _answered_early(self) -> bool:
        """Whether a request was answered that is longer than any that would be read."""
        if self._in_head or not self.cycle.response_complete:
            return False
        return max(self._declared_bytes, self._request_bytes) > self._max_body_bytes

    def _expect_next(self) -> None:
        answered = self.cycle is None or self.cycle.response_complete
        if answered and not self._arriving and not self.pipeline:
            self._expect(KEEP_ALIVE_S)

    def _upgrade(self) -> None:
        """Switch to a WebSocket, or answer as if no upgrade had been asked for."""
        self._relax()
        if self._should_upgrade():
            if self.cycle is not None and not self.cycle.response_complete:
                self._refuse("The upgrade came before the answer to the request before it.")
                return
            self._guarded.joining = False
            self._guarded.flush()
            self.handle_websocket_upgrade()
            # A cycle, which only a garbage collection would free.
            self.parser = None  # type: ignore[assignment]
            return
        # The parser reads no further. The answer is the last one here.
        self._ended = True
        if self.cycle.response_complete:
            self._guarded.close()
        else:
            self.cycle.keep_alive = False
            self.cycle.more_body = False
            self.cycle.message_event.set()

    def _refuse(self, why: str) -> None:
        self._ended = True
        self._guarded.strike()
        self._relax()
        if self.cycle is None or self.cycle.response_complete:
            self.send_400_response(why)
        else:
            # An answer is being written; another one in between would be read as part of it.
            self._guarded.close()

    def _expect(self, within_s: float) -> None:
        self._relax()
        self._deadline = self.loop.call_later(within_s, self._guarded.close)

    def _relax(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class BoundedWebSocket(WebSocketsSansIOProtocol):
    """Bounds what a peer may send, and answers or drops it in time."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start with the full allowance of frames."""
        assert isinstance(transport, GuardedTransport)
        self._guarded = transport
        self._allowed = float(FRAMES)
        self._allowed_at_s = self.loop.time()
        self._write_blocked = False
        self.conn.available_extensions = _EXTENSIONS
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all deadlines."""
        super().connection_lost(exc)
        self._guarded.lost()

    def pause_writing(self) -> None:
        """Read no more from a peer that does not read: every ping makes us write."""
        super().pause_writing()
        self._write_blocked = True
        self._guarded.blocked(True)
        if not self._guarded.is_closing():
            self._guarded.pause_reading()

    def resume_writing(self) -> None:
        """The peer reads again."""
        super().resume_writing()
        self._write_blocked = False
        self._guarded.blocked(False)
        if not self.read_paused and not self._guarded.is_closing():
            self._guarded.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Read the handshake or frames."""
        if not self.handshake_initiated:
            super().data_received(data)
            if not self.handshake_initiated:
                # The library reads no such request, and would leave it without an answer.
                self._guarded.strike()
                self._guarded.write(_BAD_UPGRADE)
                self._guarded.close()
            return
        for at in range(0, len(data), _FRAMES_SLICE_BYTES):
            if self._guarded.is_closing():
                return
            super().data_received(data[at : at + _FRAMES_SLICE_BYTES])

    def handle_events(self) -> None:
        """Handle frames, as many as the peer may send."""
        frames = sum(isinstance(event, Frame) for event in self.conn.events)
        now_s = self.loop.time()
        self._allowed = min(FRAMES, self._allowed + (now_s - self._allowed_at_s) * FRAMES_PER_S)
        self._allowed_at_s = now_s
        self._allowed -= frames
        if self._allowed < 0:
            self._guarded.strike()
            self.conn.fail(CloseCode.POLICY_VIOLATION, "Too many frames")
            if self.conn.close_sent is None:
                self._guarded.close()
            else:
                self.handle_parser_exception()
            return
        super().handle_events()

    def handle_parser_exception(self) -> None:
        """Close a connection that broke the protocol."""
        self._guarded.strike()
        super().handle_parser_exception()

    def handle_connect(self, event: Request) -> None:
        """Let the application offer texts."""
        super().handle_connect(event)
        if not self.close_sent:
            extensions = cast("dict[str, Any]", self.scope["extensions"])
            extensions[OFFER] = self.offer

    def offer(self, text: SharedText) -> bool:
        """Send a text at once, if the socket is open and the peer has read what came before.

        To wake a task for each of thousands of watchers costs more than what they are sent.
        """
        if self._write_blocked or self._ended():
            return False
        self.transport.write(text.frame(deflated=bool(self.conn.extensions)))
        return True

    def _ended(self) -> bool:
        return self.disconnected or self.close_sent or self.conn.state is not State.OPEN

    async def send(self, message: Any) -> None:
        """Send a message of the application; the frame of a shared text is there already."""
        text = message.get("text")
        if not isinstance(text, SharedText):
            await super().send(message)
            return
        await self.writable.wait()
        if self._ended():
            raise ClientDisconnected
        self.transport.write(text.frame(deflated=bool(self.conn.extensions)))

    async def receive(self) -> Any:
        """The next message for the application."""
        message = await super().receive()
        if self._write_blocked and not self._guarded.is_closing():
            self._guarded.pause_reading()
        return message
