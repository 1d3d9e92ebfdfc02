"""Addresses whose connections break bounds again and again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from streams.gateway.client_address import network_of
from streams.gateway.local_windows import LocalWindow

STRIKES: Final = 50
"""Connections of one address that may break a bound within the next time, before new ones of it are
closed unread."""
STRIKES_WITHIN_S: Final = 10.0


class Strikes:
    """Counts the connections of each address that broke a bound.

    Refusing a connection for what it sends costs 0.2 ms of CPU (a bad head) to 5 ms (a long body in
    small chunks), closing it unread 0.1 ms.

    Args:
        refused: called for each connection that is closed unread.
        behind_proxies: all peers are proxies, which must not be refused for what clients send.
    """

    def __init__(self, refused: Callable[[], None], *, behind_proxies: bool) -> None:
        self._window = LocalWindow(STRIKES, STRIKES_WITHIN_S)
        self._refused = refused
        self._behind_proxies = behind_proxies

    def add(self, transport: asyncio.BaseTransport) -> None:
        """Count a connection that broke a bound."""
        if peer := self._peer(transport):
            self._window.hit(peer, time.monotonic())

    def are_too_many(self, transport: asyncio.BaseTransport) -> bool:
        """Whether a new connection is to be closed."""
        peer = self._peer(transport)
        if not peer or self._window.room(peer, time.monotonic()).remaining:
            return False
        self._refused()
        return True

    def _peer(self, transport: asyncio.BaseTransport) -> str:
        peer = None if self._behind_proxies else transport.get_extra_info("peername")
        return network_of(peer[0]) if peer else ""
