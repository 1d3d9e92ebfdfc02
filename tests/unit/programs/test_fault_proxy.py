"""The fault proxy, between real sockets."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from streams.devstack import ports
from tests.faults.proxy import Blackhole, Cut, Delay, Limit, Pass, Proxy, Swallow

PATIENCE_S = 60.0


class Echo:
    """A server that answers with what it got, and keeps what it got."""

    def __init__(self) -> None:
        self.received = b""
        self.ends: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65536):
                    self.received += data
                    connection.sendall(data)
                self.ends.append("end")
            except OSError as error:
                self.ends.append(type(error).__name__)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    with Proxy("127.0.0.1", echo.port) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    with connect(proxy) as connection:
        # There and back: the server has accepted.
        assert ask(connection, b"hello") == b"hello"
        yield connection


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection((proxy.host, proxy.port), timeout=PATIENCE_S)


def ask(connection: socket.socket, question: bytes) -> bytes:
    connection.sendall(question)
    return take(connection, len(question))


def take(connection: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size:
        data = connection.recv(size - len(got))
        if not data:
            break
        got += data
    return got


def await_(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def silent(connection: socket.socket) -> bool:
    connection.settimeout(0.1)
    try:
        return not connection.recv(1)
    except TimeoutError:
        return True
    finally:
        connection.settimeout(PATIENCE_S)


def test_everything_passes_and_is_counted(proxy: Proxy, client: socket.socket) -> None:
    big = bytes(range(256)) * 4096
    sending = threading.Thread(target=client.sendall, args=(big,))
    sending.start()
    assert take(client, len(big)) == big
    sending.join(PATIENCE_S)
    # What has passed is counted after it.
    await_(lambda: proxy.stats.to_client_bytes == len(big) + 5)
    stats = proxy.stats
    assert (stats.connections, stats.open, stats.refused) == (1, 1, 0)
    assert stats.to_server_bytes == len(big) + 5


def test_an_orderly_end_passes_each_way_by_itself(echo: Echo, client: socket.socket) -> None:
    client.sendall(b"final data")
    client.shutdown(socket.SHUT_WR)
    assert take(client, 10) == b"final data"
    assert client.recv(1) == b""
    await_(lambda: echo.ends == ["end"])


def test_delay_keeps_order_and_is_not_per_chunk(proxy: Proxy, client: socket.socket) -> None:
    proxy.set(to_server=Delay(150))
    begin_s = time.monotonic()
    for number in range(10):
        client.sendall(b"%d" % number)
    assert take(client, 10) == b"0123456789"
    assert time.monotonic() - begin_s >= 0.15


def test_a_delay_that_is_taken_away_ends_at_once(proxy: Proxy, client: socket.socket) -> None:
    proxy.set(to_client=Delay(3_600_000))
    client.sendall(b"x")
    assert silent(client)
    proxy.heal()
    assert take(client, 1) == b"x"


@pytest.mark.parametrize("to_server", [True, False])
def test_blackhole_holds_one_way_until_it_heals(
    proxy: Proxy, echo: Echo, client: socket.socket, to_server: bool
) -> None:
    proxy.set(**{"to_server" if to_server else "to_client": Blackhole()})
    client.sendall(b"anybody?")
    assert silent(client)
    if to_server:
        assert echo.received == b"hello"
    else:
        await_(lambda: echo.received == b"helloanybody?")
    proxy.heal()
    assert take(client, 8) == b"anybody?"


def test_blackhole_lets_no_end_through(proxy: Proxy, echo: Echo, client: socket.socket) -> None:
    proxy.set(to_server=Blackhole())
    client.close()
    with connect(proxy) as other:
        # New connections are held as well.
        other.sendall(b"x")
        assert silent(other)
        assert echo.ends == []
        proxy.heal()
        assert take(other, 1) == b"x"
    await_(lambda: len(echo.ends) == 2)


def test_swallowed_replies_end_the_connection_at_the_healing(
    proxy: Proxy, echo: Echo, client: socket.socket
) -> None:
    proxy.set(to_client=Swallow())
    client.sendall(b"do it")
    await_(lambda: echo.received == b"hellodo it")
    assert silent(client)
    await_(lambda: proxy.stats.swallowed_bytes == 5)
    proxy.set(to_server=Pass())
    assert proxy.stats.open == 1, "only the direction that lost something counts"
    proxy.heal()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    with connect(proxy) as other:
        assert ask(other, b"again") == b"again"


def test_reset_reaches_both_sides(proxy: Proxy, echo: Echo, client: socket.socket) -> None:
    assert proxy.reset() == 1
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    await_(lambda: echo.ends == ["ConnectionResetError"])
    await_(lambda: proxy.stats.open == 0)


def test_cut_in_the_middle_of_a_frame(proxy: Proxy, echo: Echo, client: socket.socket) -> None:
    proxy.set(to_client=Cut(after_bytes=7))
    client.sendall(b"0123456789")
    assert take(client, 10) == b"0123456"
    await_(lambda: proxy.stats.cuts == 1)
    await_(lambda: proxy.stats.open == 0)
    proxy.heal()
    with connect(proxy) as other:
        assert ask(other, b"0123456789") == b"0123456789"


def test_bandwidth(proxy: Proxy, client: socket.socket) -> None:
    proxy.set(to_client=Limit(bytes_per_s=20_000))
    begin_s = time.monotonic()
    assert ask(client, bytes(4_000)) == bytes(4_000)
    # The last piece is not waited for.
    assert time.monotonic() - begin_s >= 0.1


@pytest.mark.parametrize("pieces", [[b"BEGIN;COMMIT;"], [b"BEGIN;COM", b"MIT;"]])
def test_one_reply_is_lost(
    proxy: Proxy, echo: Echo, client: socket.socket, pieces: list[bytes]
) -> None:
    proxy.lose_reply(b"COMMIT;", reset_after_s=0.05)
    for index, piece in enumerate(pieces):
        client.sendall(piece)
        if index < len(pieces) - 1:
            assert take(client, len(piece)) == piece
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    await_(lambda: echo.received.endswith(b"COMMIT;"))
    assert proxy.stats.lost_replies == 1
    with connect(proxy) as other:
        assert ask(other, b"COMMIT;") == b"COMMIT;"


def test_a_server_that_is_away_resets_the_client() -> None:
    # One that nobody gets who asks for any: the proxy would talk to itself.
    [port] = ports.choose(1)
    with Proxy("127.0.0.1", port) as proxy:
        # It may come while the client still connects.
        with pytest.raises(ConnectionResetError), connect(proxy) as client:
            client.recv(1)
        assert proxy.stats.refused == 1


def test_a_busy_test_does_not_delay_it(proxy: Proxy, echo: Echo, client: socket.socket) -> None:
    client.sendall(b"while nobody waits")
    until_s = time.monotonic() + PATIENCE_S
    # Never gives way to an event loop of the test's thread; the proxy has its own.
    while not echo.received.endswith(b"waits"):
        assert time.monotonic() < until_s
    assert take(client, 18) == b"while nobody waits"
