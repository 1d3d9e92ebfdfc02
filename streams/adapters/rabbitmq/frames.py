"""pika's connection with a fast path for deliveries and publications.

A delivery is three frames. pika creates an object for each frame, the method and the properties,
and copies the rest of its buffer after each: measured, 25 µs of CPU a message, more than the rest
of the bridge spends on it. Here the three frames are decoded in one step if they are complete in
the buffer and the body fits one frame; pika handles everything else.

A publication is three frames too, for which pika creates objects and then makes three system calls.
Here the three are packed at once, and everything published in one turn of the event loop is sent in
one write.

Frames are described in AMQP 0-9-1, sections 2.3.5 (frames) and 4.2.6 (content).
"""

from __future__ import annotations

import asyncio
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from pika import frame
from pika.adapters.asyncio_connection import AsyncioConnection

from streams.messages.decode import Delivery

OnDeliveries = Callable[[Sequence[Delivery]], None]
"""Called with the deliveries that one read of the socket brought; must not raise."""

RECEIVE_BYTES: Final = 1 << 16
"""Limit of a read from the socket; pika's 4 KiB means a system call for every dozen votes."""

_METHOD: Final = struct.Struct(">BHLIB")
"""Frame type, channel, size, class and method, length of the consumer's tag."""
_TAG: Final = struct.Struct(">QB")
"""Delivery tag, redelivered."""
_HEADER: Final = struct.Struct(">BHLHHQH")
"""Frame type, channel, size, class, weight, body size, property flags."""
_BODY: Final = struct.Struct(">BHL")
"""Frame type, channel, size."""
_END_AND_BODY: Final = struct.Struct(">BBHL")
"""The end of a content header's frame, then as :data:`_BODY`."""

_FRAME_OVERHEAD: Final = 8
_PROPERTIES_AT: Final = _HEADER.size - _BODY.size
"""Where the properties begin in a content header's frame."""
_CHANNEL_AFTER: Final = 3
"""Type and channel at the begin of a frame."""
_FRAME_END: Final = 0xCE
_METHOD_FRAME: Final = 1
_HEADER_FRAME: Final = 2
_BODY_FRAME: Final = 3
_DELIVER: Final = 0x003C003C
_PUBLISH: Final = 0x003C0028
_BASIC: Final = 60
_MANDATORY: Final = 1
_MORE_FLAGS: Final = 1

_MESSAGE_ID: Final = 1 << 7
_HEADERS: Final = 1 << 13
_CONTENT_TYPE: Final = 1 << 15
_DELIVERY_MODE: Final = 1 << 12
_BEFORE_MESSAGE_ID: Final = tuple(1 << bit for bit in range(15, 7, -1))
"""Flags of the properties before `message_id`, in the order in which they are written."""
_OCTETS: Final = frozenset({1 << 12, 1 << 11})
"""delivery-mode and priority: one octet each; all others are short strings."""

INCOMPLETE: Final = 0
OTHER: Final = -1


class _Form(NamedTuple):
    """What the deliveries of a consumer that came by one routing key have in common."""

    key: tuple[int, bytes]
    """Channel number and consumer tag."""
    begin: bytes
    """The method's frame up to the delivery tag."""
    middle: bytes
    """From the exchange to the channel of the content header."""
    fields: struct.Struct
    """`begin`, delivery tag, redelivered, `middle`, header's size, body's size, property flags."""


class Deliveries:
    """Deliveries of the fast path, until they are passed on to their consumers."""

    def __init__(self) -> None:
        self._consumers: dict[tuple[int, bytes], OnDeliveries] = {}
        self.waiting: dict[tuple[int, bytes], list[Delivery]] = {}
        """By channel number and consumer tag; only consumers of the fast path have an entry."""
        self.form: _Form | None = None
        """Of the last delivery; the next one usually has the same."""
        self.before_id: dict[int, bytes] = {}
        """By property flags, the last properties before a `message_id`."""

    def begin(self, channel: int, consumer_tag: str, consumer: OnDeliveries) -> None:
        """Let a consumer have its deliveries by the fast path."""
        key = (channel, consumer_tag.encode())
        self._consumers[key], self.waiting[key] = consumer, []

    def end(self, channel: int, consumer_tag: str) -> None:
        """Leave a consumer's deliveries to pika."""
        key = (channel, consumer_tag.encode())
        self._consumers.pop(key, None)
        self.waiting.pop(key, None)

    def pass_on(self) -> None:
        """Call each consumer with its deliveries, in order."""
        for key, deliveries in [*self.waiting.items()]:
            if deliveries:
                self.waiting[key] = []
                self._consumers[key](deliveries)


class FrameConnection(AsyncioConnection):
    """pika's asyncio connection with the fast path; `deliveries` has its consumers."""

    frames_received: int
    frames_sent: int
    bytes_sent: int
    bytes_received: int
    """pika's heartbeat check uses this to see whether the other side is alive."""
    _frame_buffer: bytes

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.deliveries = Deliveries()
        self._unsent: list[bytes] = []
        super().__init__(*args, **kwargs)

    def _proto_connection_made(self, transport: Any) -> None:
        transport._MAX_RECV_BYTES = RECEIVE_BYTES
        # uvloop reports an error on the socket only once, by calling the reader
        # (MagicStack/uvloop#552). Unread data would then hide the end of the connection, so all of
        # it is read. The prefetch bounds how much that is.
        transport._MAX_CONSUME_BYTES = sys.maxsize
        super()._proto_connection_made(transport)  # type: ignore[misc]

    def send_soon(self, frames: bytes) -> None:
        """Send complete frames in this turn of the event loop, in the order of the calls."""
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._send)
        self._unsent.append(frames)

    def _send(self) -> None:
        if self._unsent and self.is_open:
            self._output_marshaled_frames(())

    def _output_marshaled_frames(self, marshaled_frames: Sequence[bytes]) -> None:
        pieces, self._unsent = [*self._unsent, *marshaled_frames], []
        data = b"".join(pieces)
        self.frames_sent += len(pieces)
        self.bytes_sent += len(data)
        self._adapter_emit_data(data)  # type: ignore[attr-defined]

    def _on_data_available(self, data_in: bytes) -> None:
        rest = self._frame_buffer
        buffer = rest + data_in if rest else data_in
        deliveries = self.deliveries
        at = delivered = 0
        try:
            while at < len(buffer):
                end = deliver(buffer, at, deliveries)
                if end > 0:
                    delivered += 1
                    at = end
                    continue
                if end == INCOMPLETE:
                    break
                consumed, found = frame.decode_frame(buffer[at:])
                if not found:
                    break
                at += consumed
                # Those that came before it.
                deliveries.pass_on()
                self._process_frame(found)  # type: ignore[attr-defined]
        finally:
            self.frames_received += 3 * delivered
            self.bytes_received += at
            self._frame_buffer = buffer[at:]
            deliveries.pass_on()


class Publications:
    """Builds the frames of messages to one queue: JSON, persistent, mandatory.

    Args:
        channel: number of the channel.
        queue: name of the queue, the routing key on the default exchange.
    """

    def __init__(self, channel: int, queue: str) -> None:
        self._channel = channel
        # A reserved short, the exchange, the key, flags.
        arguments = b"\0\0" + _short("") + _short(queue) + bytes([_MANDATORY])
        size = 4 + len(arguments)
        self._method = (
            struct.pack(">BHLL", _METHOD_FRAME, channel, size, _PUBLISH) + arguments + _END
        )

    def frames(self, message_id: str, body: bytes) -> bytes:
        """The three frames of a message; its body must be non-empty and fit one frame."""
        properties = _PERSISTENT_JSON + _short(message_id)
        return b"".join(
            (
                self._method,
                _HEADER.pack(
                    _HEADER_FRAME,
                    self._channel,
                    _HEADER.size - _BODY.size + len(properties),
                    _BASIC,
                    0,
                    len(body),
                    _CONTENT_TYPE | _DELIVERY_MODE | _MESSAGE_ID,
                ),
                properties,
                _END,
                _BODY.pack(_BODY_FRAME, self._channel, len(body)),
                body,
                _END,
            )
        )


def _short(text: str) -> bytes:
    """A short string: its length in one octet, then its bytes."""
    encoded = text.encode()
    return bytes([len(encoded)]) + encoded


_END: Final = bytes([_FRAME_END])
_PERSISTENT_JSON: Final = _short("application/json") + b"\2"
"""`content_type` and `delivery_mode`, in the order of their flags."""


def deliver(buffer: bytes, at: int, deliveries: Deliveries) -> int:
    """Read the delivery that begins at a position.

    Args:
        buffer: complete frames, except possibly the last.
        at: where a frame begins.
        deliveries: receives it.

    Returns:
        Where the delivery ends; :data:`INCOMPLETE` if bytes are missing; :data:`OTHER` if the
        frame is not a delivery, has no consumer, or does not have the simple form.
    """
    form = deliveries.form
    if form is None:
        return _deliver_first(buffer, at, deliveries)
    key, begin, middle, fields = form
    try:
        first, tag, redelivered, second, size, body_size, flags = fields.unpack_from(buffer, at)
        properties = at + fields.size
        body = properties + size - _PROPERTIES_AT
        ended, kind, channel, length = _END_AND_BODY.unpack_from(buffer, body)
        body += _END_AND_BODY.size
        end: int = body + length + 1
        last = buffer[end - 1]
    except (struct.error, IndexError):
        return _deliver_first(buffer, at, deliveries)
    waiting = deliveries.waiting.get(key)
    if (
        first != begin
        or second != middle
        or waiting is None
        or flags & _MORE_FLAGS
        or not 0 < body_size == length
        or kind != _BODY_FRAME
        or channel != key[0]
        or not ended == last == _FRAME_END
    ):
        return _deliver_first(buffer, at, deliveries)
    message_id = _message_id(flags, buffer, properties, deliveries.before_id)
    waiting.append((tag, bool(redelivered & 1), message_id, buffer[body : end - 1]))
    return end


def _deliver_first(buffer: bytes, at: int, deliveries: Deliveries) -> int:  # noqa: PLR0911
    """As :func:`deliver`, of a form that the last delivery did not have."""
    try:
        kind, channel, size, method, length = _METHOD.unpack_from(buffer, at)
        if kind != _METHOD_FRAME or method != _DELIVER:
            return OTHER
        tag_at = at + _METHOD.size + length
        tag, redelivered = _TAG.unpack_from(buffer, tag_at)
        header = at + size + _FRAME_OVERHEAD
        kind, same, size, _, _, body_size, flags = _HEADER.unpack_from(buffer, header)
        simple = kind == _HEADER_FRAME and same == channel and body_size
        if not simple or flags & _MORE_FLAGS:
            return OTHER
        body = header + size + _FRAME_OVERHEAD
        kind, same, size = _BODY.unpack_from(buffer, body)
    except struct.error:
        # Frames of other kinds may be shorter than a delivery's.
        return INCOMPLETE if buffer[at] == _METHOD_FRAME else OTHER
    if kind != _BODY_FRAME or same != channel or size != body_size:
        return OTHER
    end: int = body + size + _FRAME_OVERHEAD
    if end > len(buffer):
        return INCOMPLETE
    key = (channel, buffer[at + _METHOD.size : tag_at])
    waiting = deliveries.waiting.get(key)
    if (
        waiting is None
        or not buffer[header - 1] == buffer[body - 1] == buffer[end - 1] == _FRAME_END
    ):
        return OTHER
    begin, middle = buffer[at:tag_at], buffer[tag_at + _TAG.size : header + _CHANNEL_AFTER]
    fields = struct.Struct(f">{len(begin)}sQB{len(middle)}sL4xQH")
    deliveries.form = _Form(key, begin, middle, fields)
    message_id = _message_id(flags, buffer, header + _HEADER.size, deliveries.before_id)
    waiting.append((tag, bool(redelivered & 1), message_id, buffer[body + _BODY.size : end - 1]))
    return end


def _message_id(flags: int, buffer: bytes, at: int, before_id: dict[int, bytes]) -> bytes | None:
    """The `message_id` among the properties of a content header, which begin at a position."""
    if not flags & _MESSAGE_ID:
        return None
    before = before_id.get(flags)
    if before is None or not buffer.startswith(before, at):
        before = buffer[at : _after_properties(flags, buffer, at)]
        # Headers may be long, and differ by message.
        if not flags & _HEADERS:
            before_id[flags] = before
    at += len(before) + 1
    return buffer[at : at + buffer[at - 1]]


def _after_properties(flags: int, buffer: bytes, at: int) -> int:
    """Where the properties before a `message_id` end."""
    for flag in _BEFORE_MESSAGE_ID:
        if not flags & flag:
            continue
        if flag == _HEADERS:
            at += 4 + int.from_bytes(buffer[at : at + 4], "big")
        elif flag in _OCTETS:
            at += 1
        else:
            at += 1 + buffer[at]
    return at
