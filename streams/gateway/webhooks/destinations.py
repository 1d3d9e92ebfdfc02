"""Where webhooks may go: by https to addresses of the Internet, unless a setting allows others.

A name is resolved once for each connection, and the connection goes to the address that was
checked, so a name that points elsewhere a moment later changes nothing.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from streams.errors import SettingsError

MAX_URL: Final = 2000
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


class AddressRefused(OSError):
    """A name has an address to which webhooks may not go."""


def is_public(address: str) -> bool:
    """Whether an address is one of the Internet, also inside an IPv6 address that carries IPv4."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        inner = parsed.ipv4_mapped or parsed.sixtofour
        if parsed in _NAT64:
            inner = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return parsed.is_global and not parsed.is_multicast


def checked_url(text: str, *, inside: bool) -> str:
    """An address for a webhook.

    Args:
        text: as it was typed.
        inside: whether plain http and private addresses are allowed.

    Raises:
        SettingsError: a webhook may not go there.
    """

    def refused(why: str) -> SettingsError:
        return SettingsError(
            f"A webhook cannot go to this address: {why}",
            todo="Write https://HOST/PATH; SCRUTIN_WEBHOOKS_INSIDE=true allows http and private"
            " addresses",
        )

    try:
        url = URL(text)
        host = url.host
    except ValueError as error:
        raise refused("it is no URL") from error
    if len(text) > MAX_URL or url.scheme not in {"https", "http"} or not host:
        raise refused("it is no URL of https")
    if url.user or url.password or url.fragment:
        raise refused("it has a user, a password or a fragment")
    if inside:
        return str(url)
    if url.scheme != "https":
        raise refused("it is not https")
    if host == "localhost" or host.endswith(".localhost"):
        raise refused("it is this machine")
    try:
        public = is_public(host)
    except ValueError:
        # A name; the resolver looks at its addresses.
        public = True
    if not public:
        raise refused("it is a private address")
    return str(url)


class PublicResolver(AbstractResolver):
    """Resolves names to addresses of the Internet only."""

    def __init__(self) -> None:
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a name.

        Raises:
            AddressRefused: one of them is private.
            OSError: the name has none.
        """
        found = await self._resolver.resolve(host, port, family)
        if not all(is_public(one["host"]) for one in found):
            raise AddressRefused(f"{host} has a private address")
        return found

    async def close(self) -> None:
        """Nothing to close."""
        await self._resolver.close()
