"""Addresses of clients, also behind proxies."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from litestar import Request

AnyRequest = Request[Any, Any, Any]

_WITH_PORT: Final = re.compile(
    r"\[(?P<six>[0-9a-fA-F:.]+)\](:[0-9]+)?|(?P<four>[0-9]+(\.[0-9]+){3}):[0-9]+"
)
_PREFIX_BITS: Final = 64
"""Of an IPv6 network; a provider gives each client one of these, or a larger one."""


def address_of(peer: str, forwarded: Sequence[str], trusted: int) -> str:
    """The client's address as the outermost trusted proxy saw it.

    Args:
        peer: address of the other end of the connection.
        forwarded: values of all `X-Forwarded-For` headers, in the order in which they came. A proxy
            may append to the last one or add one of its own.
        trusted: number of trusted proxies in front of the gateway.
    """
    hops = [hop.strip() for value in forwarded for hop in value.split(",") if hop.strip()]
    return hops[-trusted] if trusted and len(hops) >= trusted else peer


def network_of(address: str) -> str:
    """What stands for a client's address in limits: an IPv4 address, or an IPv6 network.

    One client can use every address of its IPv6 network.

    Args:
        address: as a proxy wrote it, perhaps with a port or a zone.
    """
    text = address.strip()
    if found := _WITH_PORT.fullmatch(text):
        text = found["six"] or found["four"]
    try:
        parsed = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, _PREFIX_BITS), strict=False))


@dataclass(frozen=True)
class TrustedProxies:
    """Proxies in front of the gateway, whose headers it believes."""

    count: int = 0

    def address_of(self, request: AnyRequest) -> str:
        """The address of the client that sent a request."""
        peer = request.client.host if request.client else "unknown"
        if not self.count:
            return peer
        return address_of(peer, request.headers.getall("x-forwarded-for", []), self.count)

    def network_of(self, request: AnyRequest) -> str:
        """What stands for the address of the client in limits."""
        return network_of(self.address_of(request))

    def is_https(self, request: AnyRequest) -> bool:
        """Whether the client uses TLS, to the gateway or to a trusted proxy."""
        forwarded = request.headers.get("x-forwarded-proto", "")
        return request.url.scheme == "https" or (self.count > 0 and forwarded == "https")

    def base_of(self, request: AnyRequest) -> str:
        """The address of the gateway as the client wrote it, without a path."""
        return f"{'https' if self.is_https(request) else 'http'}://{request.url.netloc}"
