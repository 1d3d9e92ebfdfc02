"""Watchers of the live result of an election with many regions, in processes of their own.

A message that many get is decoded once, because clients share the machine with what they measure.
The first socket of a process follows the whole document, and checks its sums with every message.
"""

from __future__ import annotations

import asyncio
import json
import time
import zlib
from collections import Counter
from datetime import datetime
from typing import Any, Final

from streams.gateway.process import raise_open_files
from tests.bench.gateway_clients import COMPRESSED, PATIENCE_S, Watcher

_OPENING: Final = 50
"""Sockets that connect at a time."""
_END: Final = b"\x00\x00\xff\xff"
_MAX_KNOWN: Final = 64


def patched(target: Any, patch: Any) -> Any:
    """A document after a patch by item; the pages have the same in `feed.js`."""
    if not isinstance(patch, dict):
        return patch
    if isinstance(target, list):
        numbered = enumerate(target)
        return [patched(one, patch[str(n)]) if str(n) in patch else one for n, one in numbered]
    made = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            made.pop(name, None)
        else:
            made[name] = patched(made.get(name), value)
    return made


class ResultWatchers:
    """Sockets of one process on one contest.

    Args:
        port: of the gateway.
        address: of this process, so that several have ports enough.
        contest: to watch.
        sockets: how many.
        until_total: number of votes with which every socket ends.
    """

    def __init__(
        self, *, port: int, address: str, contest: str, sockets: int, until_total: int
    ) -> None:
        self._port = port
        self._address = address
        self._contest = contest
        self._until = until_total
        self._seen: list[list[tuple[float, int]]] = [[] for _ in range(sockets)]
        self._left = sockets
        self._known: dict[bytes, dict[str, Any]] = {}
        self._latest: tuple[bytes, dict[str, Any]] = (b"", {})
        self._document: Any = None
        self._over = asyncio.Event()
        self._lost: list[str] = []
        self._messages = self._bytes = self._checked = self._wrong = 0
        self._ages: Counter[int] = Counter()

    async def run(self) -> dict[str, Any]:
        """Open all, say so, follow all to the last vote; returns the figures.

        `seen`: of each socket, the Unix times at which it knew of more votes, with their number.
        `ages_ms`: how old a result was when it arrived -> how often.
        """
        raise_open_files()
        turn = asyncio.Semaphore(_OPENING)
        await asyncio.gather(*(self._open(n, turn) for n in range(len(self._seen))))
        print("ready", flush=True)
        self._messages = self._bytes = 0
        self._ages.clear()
        began_s = time.time()
        async with asyncio.timeout(3 * PATIENCE_S):
            await self._over.wait()
        return {
            "seen": self._seen,
            "messages": self._messages,
            "bytes": self._bytes,
            "seconds": time.time() - began_s,
            "ages_ms": self._ages,
            "checked": self._checked,
            "wrong": self._wrong,
            "lost": self._lost[:10],
            "cpu_s": time.process_time(),
        }

    async def _open(self, number: int, turn: asyncio.Semaphore) -> None:
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = loop.create_future()

        def lost(why: str) -> None:
            self._lost.append(why)
            if not opened.done():
                opened.set_exception(ConnectionError(why))
            self._over.set()

        async with turn:
            await loop.create_connection(
                lambda: Watcher(
                    f"/v2/contests/{self._contest}/socket?patch=items",
                    lambda kind, data: self._take(number, kind, data),
                    opened,
                    lost,
                    compressed=True,
                ),
                "127.0.0.1",
                self._port,
                local_addr=(self._address, 0),
            )
            await opened

    def _take(self, number: int, kind: int, data: bytes) -> None:
        now_s = time.time()
        self._messages += 1
        self._bytes += len(data)
        if data != self._latest[0]:
            # Most get what the one before got, and comparing costs less than hashing.
            self._latest = (data, self._message(kind, data))
        message = self._latest[1]
        if not number:
            self._check(message)
        seen = self._seen[number]
        total = message["total"]
        if total is None or (seen and total <= seen[-1][1]):
            return
        seen.append((now_s, total))
        self._ages[round(1000 * (now_s - message["read_s"]))] += 1
        if total >= self._until:
            self._left -= 1
            if not self._left:
                self._over.set()

    def _message(self, kind: int, data: bytes) -> dict[str, Any]:
        message = self._known.get(data)
        if message is None:
            message = self._known[data] = self._decoded(kind, data)
            if len(self._known) > _MAX_KNOWN:
                del self._known[next(iter(self._known))]
        return message

    def _decoded(self, kind: int, data: bytes) -> dict[str, Any]:
        text = data
        if kind == COMPRESSED:
            text = zlib.decompressobj(wbits=-15).decompress(data + _END)
        message: dict[str, Any] = json.loads(text)
        data = message["data"]
        total = None if message["type"] == "heartbeat" else data.get("total_votes")
        read_s = 0.0 if total is None else datetime.fromisoformat(data["read_at"]).timestamp()
        return {**message, "total": total, "read_s": read_s}

    def _check(self, message: dict[str, Any]) -> None:
        if message["type"] == "heartbeat":
            return
        whole = message["type"] == "result"
        self._document = message["data"] if whole else patched(self._document, message["data"])
        seats = self._document["seats"].values()
        total = self._document["total_votes"]
        by_seat = sum(seat["ballots"] for seat in seats)
        by_choice = sum(one["votes"] for seat in seats for one in seat["choices"])
        self._checked += 1
        self._wrong += not total == by_seat == by_choice
