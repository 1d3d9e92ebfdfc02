"""Readiness probes: the first exchange of each protocol over a plain socket.

Drivers are slow to import, and would log errors while a service is only starting.
"""

from __future__ import annotations

import base64
import http.client
import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import contextmanager


class NotReady(Exception):
    """The service does not answer yet; the text describes the response."""


def _unverified() -> ssl.SSLContext:
    """Context without verification: a probe only checks for an answer; clients verify."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@contextmanager
def _connection(
    host: str, port: int, timeout_seconds: float, *, tls: bool = False
) -> Iterator[socket.socket]:
    try:
        with socket.create_connection((host, port), timeout_seconds) as connection:
            if tls:
                with _unverified().wrap_socket(connection) as encrypted:
                    yield encrypted
            else:
                yield connection
    except OSError as error:
        raise NotReady(f"{host}:{port}: {error}") from error


def _read(connection: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        part = connection.recv(length - len(data))
        if not part:
            raise NotReady("the connection was closed")
        data += part
    return data


def redis(host: str, port: int, timeout_seconds: float = 5.0, *, tls: bool = False) -> None:
    """PING; a request for a password counts as an answer, a dataset still loading does not."""
    with _connection(host, port, timeout_seconds, tls=tls) as connection:
        connection.sendall(b"PING\r\n")
        answer = connection.recv(256)
    if not answer.startswith((b"+PONG", b"-NOAUTH")):
        raise NotReady(answer.decode(errors="replace").strip() or "the connection was closed")


def amqp(host: str, port: int, timeout_seconds: float = 5.0, *, tls: bool = False) -> None:
    """Protocol header, answered by the method Connection.Start."""
    with _connection(host, port, timeout_seconds, tls=tls) as connection:
        connection.sendall(b"AMQP\x00\x00\x09\x01")
        answer = _read(connection, 11)
    if answer[0] != 1 or answer[7:11] != b"\x00\x0a\x00\x0a":
        raise NotReady(f"unexpected answer {answer!r}")


def http_get(
    host: str,
    port: int,
    path: str,
    *,
    user: str,
    password: str,
    tls: bool = False,
    timeout_seconds: float = 5.0,
) -> None:
    """GET with basic authentication, answered by status 200."""
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    connection = (
        http.client.HTTPSConnection(host, port, timeout=timeout_seconds, context=_unverified())
        if tls
        else http.client.HTTPConnection(host, port, timeout=timeout_seconds)
    )
    try:
        connection.request("GET", path, headers={"Authorization": f"Basic {token}"})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise NotReady(f"{host}:{port}{path}: {error}") from error
    finally:
        connection.close()
    if status != 200:
        raise NotReady(f"{host}:{port}{path}: HTTP status {status}")


def postgres(
    host: str,
    port: int,
    user: str,
    database: str,
    timeout_seconds: float = 5.0,
    *,
    tls: bool = False,
) -> None:
    """Startup message, answered by a request to authenticate.

    A server that accepts only TLS refuses it; with `tls`, the offer of TLS is checked instead.
    """
    if tls:
        with _connection(host, port, timeout_seconds) as connection:
            connection.sendall(struct.pack("!II", 8, 80877103))
            offer = _read(connection, 1)
            if offer != b"S":
                raise NotReady(f"unexpected answer {offer!r}")
        return
    fields = f"user\0{user}\0database\0{database}\0\0".encode()
    with _connection(host, port, timeout_seconds) as connection:
        connection.sendall(struct.pack("!II", len(fields) + 8, 196608) + fields)
        kind, length = struct.unpack("!cI", _read(connection, 5))
        body = _read(connection, min(length - 4, 1024))
    if kind != b"R":
        text = body.replace(b"\0", b" ").decode(errors="replace").strip()
        raise NotReady(text or f"unexpected answer {kind!r}")


def kafka(
    host: str,
    port: int,
    timeout_seconds: float = 5.0,
    *,
    tls: bool = False,
    member: int | None = None,
) -> None:
    """A Metadata request for no topics, answered by a cluster with at least one broker.

    With `member`, that broker must be among them. Over TLS an ApiVersions request instead: the only
    one that the broker answers before authentication.
    """
    client = b"scrutin"
    if tls:
        request = struct.pack("!hhih", 18, 0, 1, len(client)) + client
        with _connection(host, port, timeout_seconds, tls=True) as connection:
            connection.sendall(struct.pack("!i", len(request)) + request)
            _, _, code = struct.unpack("!iih", _read(connection, 10))
        if code:
            raise NotReady(f"error {code}")
        return
    header = struct.pack("!hhih", 3, 1, 1, len(client)) + client
    request = header + struct.pack("!i", 0)
    with _connection(host, port, timeout_seconds) as connection:
        connection.sendall(struct.pack("!i", len(request)) + request)
        length, _, count = struct.unpack("!iii", _read(connection, 12))
        brokers = _brokers(_read(connection, max(0, min(length - 8, 1 << 20))), count)
    if not brokers or (member is not None and member not in brokers):
        raise NotReady("the broker has not joined the cluster yet")


def _brokers(body: bytes, count: int) -> list[int]:
    """Broker ids in a Metadata response, version 1: id, host, port and rack of each broker."""
    found, at = [], 0
    for _ in range(count):
        node, host_length = struct.unpack_from("!ih", body, at)
        (rack_length,) = struct.unpack_from("!h", body, at + 10 + host_length)
        at += 12 + host_length + max(0, rack_length)
        found.append(node)
    return found
