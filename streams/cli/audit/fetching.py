"""What auditors fetch from a gateway, and where checkpoints go."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from streams.cli.show import console, plain
from streams.errors import ServiceUnavailable

MAX_BYTES: Final = 64 * 1024 * 1024
_TIMEOUT: Final = aiohttp.ClientTimeout(total=30.0)


@dataclass(frozen=True)
class Destinations:
    """Where checkpoints are published.

    Args:
        folder: gets a file SIZE.txt of each.
        addresses: get each by POST.
    """

    folder: Path | None
    addresses: Sequence[str]

    async def publish(self, size: int, note: str) -> None:
        """Publish one. An address that does not answer misses it, and can still ask for it."""
        if self.folder is not None:
            await asyncio.to_thread(_write, self.folder / f"{size}.txt", note)
        for address in self.addresses:
            try:
                await post(address, note)
            except ServiceUnavailable as error:
                console().print(plain(error))


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


async def fetch(url: str) -> tuple[int, bytes]:
    """Status and body of an address.

    Raises:
        ServiceUnavailable: it does not answer, or without end.
    """
    return await ask("GET", url, None)


async def post(url: str, text: str) -> None:
    """Send a text to an address.

    Raises:
        ServiceUnavailable: it does not answer, or does not take it.
    """
    status, _ = await ask("POST", url, text.encode())
    if status >= 300:
        raise _failed(url, f"status {status}")


async def ask(method: str, url: str, body: bytes | None) -> tuple[int, bytes]:
    """Status and body of a request.

    Raises:
        ServiceUnavailable: it does not answer, or without end.
    """
    try:
        async with (
            aiohttp.ClientSession(timeout=_TIMEOUT) as session,
            session.request(method, url, data=body) as answer,
        ):
            found = bytearray()
            async for part in answer.content.iter_any():
                found += part
                if len(found) > MAX_BYTES:
                    raise _failed(url, "its answer has no end")
            return answer.status, bytes(found)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise _failed(url, type(error).__name__) from error


def _failed(url: str, why: str) -> ServiceUnavailable:
    return ServiceUnavailable(
        f"The address does not answer as it should: {why}", where={"address": url}
    )
