"""Frames of texts that many get, as an independent client reads them; and bells in slices."""

from __future__ import annotations

import asyncio

import pytest
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from streams.gateway.bell import WOKEN_AT_ONCE, Bell
from streams.gateway.shared_text import SharedDeflate, SharedText

LONG = "é" * 3000


def connected(*offers: ClientPerMessageDeflateFactory) -> tuple[ClientProtocol, ServerProtocol]:
    client = ClientProtocol(parse_uri("ws://example.org/"), extensions=offers or None)
    server = ServerProtocol(extensions=[SharedDeflate()])
    client.send_request(client.connect())
    server.receive_data(b"".join(client.data_to_send()))
    [request] = server.events_received()
    server.send_response(server.accept(request))  # type: ignore[arg-type]
    client.receive_data(b"".join(server.data_to_send()))
    client.events_received()
    assert client.state is State.OPEN
    return client, server


@pytest.mark.parametrize("text", ["short", LONG])
@pytest.mark.parametrize(
    ("offers", "agreed"),
    [
        ([], False),
        ([ClientPerMessageDeflateFactory()], True),
        ([ClientPerMessageDeflateFactory(client_max_window_bits=True)], True),
        # Frames with a window of their own would be needed.
        ([ClientPerMessageDeflateFactory(server_max_window_bits=9)], False),
    ],
)
def test_a_client_reads_shared_frames(
    text: str, offers: list[ClientPerMessageDeflateFactory], agreed: bool
) -> None:
    client, server = connected(*offers)
    assert bool(server.extensions) is agreed
    shared = SharedText(text)
    for _ in range(2):
        frame = shared.frame(deflated=agreed)
        client.receive_data(frame)
        [event] = client.events_received()
        assert isinstance(event, Frame)
        assert (event.opcode, bytes(event.data).decode()) == (Opcode.TEXT, text)
    assert (len(frame) < 100) is (agreed or text == "short")
    assert shared.sent_bytes == 2 * len(frame)
    # What others send is not compressed, and what the client compresses is read.
    server.send_text(LONG.encode())
    [plain] = server.data_to_send()
    assert plain[0] == 0x81
    client.send_text(b"again")
    server.receive_data(b"".join(client.data_to_send()))
    [received] = server.events_received()
    assert isinstance(received, Frame)
    assert received.data == b"again"


async def test_a_bell_wakes_all_and_lets_others_run_in_between() -> None:
    bell, turns = Bell(), 0
    woken: list[int] = []

    async def wait(number: int) -> None:
        await bell.wait()
        woken.append(number)

    waiting = [asyncio.create_task(wait(n)) for n in range(3 * WOKEN_AT_ONCE)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    bell.ring()
    sizes = []
    while not all(task.done() for task in waiting):
        sizes.append(len(woken))
        await asyncio.sleep(0)
        turns += 1
    await asyncio.wait(waiting)
    assert woken == list(range(1, 3 * WOKEN_AT_ONCE))
    assert turns > 2
    assert max(b - a for a, b in zip(sizes, [*sizes[1:], len(woken)], strict=True)) <= WOKEN_AT_ONCE


async def test_a_bell_leaves_those_asleep_who_are_served() -> None:
    bell, served = Bell(), [True, True, False]

    async def wait() -> int:
        await bell.wait(lambda: served.pop(0))
        return len(served)

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    for left in (2, 1):
        bell.ring()
        await asyncio.sleep(0)
        assert (waiting.done(), len(served)) == (False, left)
    bell.ring()
    assert await waiting == 0
