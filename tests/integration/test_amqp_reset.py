"""A connection that ends with much unread in it is noticed, by uvloop too."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

import pika
import uvloop
from pika.exceptions import StreamLostError

from streams.adapters.rabbitmq.client import connected
from streams.devstack import Stack
from streams.messages.decode import Delivery
from streams.settings.configs import RabbitConfig
from tests.integration.kafka_names import unused

MESSAGES = 2_000
BODY = b"x" * 1_000


class Forwarder(threading.Thread):
    """Passes one connection on, in threads: the loop under test is blocked meanwhile."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(daemon=True)
        self._upstream = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.passed_bytes = 0

    def run(self) -> None:
        self._client, _ = self._listener.accept()
        self._server = socket.create_connection(self._upstream)
        threading.Thread(target=self._pass, args=(self._client, self._server), daemon=True).start()
        with suppress(OSError):
            while data := self._server.recv(1 << 16):
                self._client.sendall(data)
                self.passed_bytes += len(data)

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)

    def end(self) -> None:
        """FIN to the client, and RST to what it still sends."""
        self._client.shutdown(socket.SHUT_RDWR)
        self._client.close()

    def close(self) -> None:
        """End the rest."""
        self._server.close()
        self._listener.close()


def test_an_end_behind_unread_deliveries_ends_the_connection(stack: Stack) -> None:
    env = stack.env()
    queue = unused("reset")
    credentials = pika.PlainCredentials(env["RABBITMQ_USER"], env["RABBITMQ_PASSWORD"])
    parameters = pika.ConnectionParameters(
        env["RABBITMQ_HOST"], int(env["RABBITMQ_PORT"]), "/", credentials
    )
    with pika.BlockingConnection(parameters) as direct:
        channel = direct.channel()
        channel.queue_declare(queue)
        for _ in range(MESSAGES):
            channel.basic_publish("", queue, BODY)
        forwarder = Forwarder(env["RABBITMQ_HOST"], int(env["RABBITMQ_PORT"]))
        forwarder.start()
        config = RabbitConfig(
            "127.0.0.1", forwarder.port, env["RABBITMQ_USER"], env["RABBITMQ_PASSWORD"], "/"
        )
        taken = 0

        async def consume() -> None:
            async with connected(config, "reset") as connection:
                ours = await connection.channel()

                def acknowledge(deliveries: Sequence[Delivery]) -> None:
                    nonlocal taken
                    first = not taken
                    taken += len(deliveries)
                    if first:
                        # Until all else waits in the socket, and the end behind it.
                        while forwarder.passed_bytes < MESSAGES * len(BODY):
                            time.sleep(0.01)
                        forwarder.end()
                        # Answered by a reset.
                        ours.raw.basic_ack(deliveries[0][0])

                await ours.prefetch(MESSAGES)
                await ours.consume(queue, acknowledge, lambda: None)
                reason = await connection.closed
                # Not pika's heartbeat, after many seconds.
                assert isinstance(reason, StreamLostError)

        try:
            uvloop.run(consume())
        finally:
            forwarder.close()
            channel.queue_delete(queue)
    assert taken > 1
