"""Addresses of clients, also behind proxies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from litestar import Request

AnyRequest = Request[Any, Any, Any]


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

    def is_https(self, request: AnyRequest) -> bool:
        """Whether the client uses TLS, to the gateway or to a trusted proxy."""
        forwarded = request.headers.get("x-forwarded-proto", "")
        return request.url.scheme == "https" or (self.count > 0 and forwarded == "https")
