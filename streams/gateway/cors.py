"""Pages of other web origins: which may call the API (CORS)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from litestar.config.cors import CORSConfig

Headers = list[tuple[bytes, bytes]]

_EXPOSED: Final = b"Location, Retry-After, X-Request-ID"
_METHODS: Final = b"DELETE, GET, POST, PUT"
_REQUEST_HEADERS: Final = b"Content-Type, X-API-Key, X-Edit-Token, X-Request-ID"
_MAX_AGE_S: Final = 600
_VARY: Final = (b"vary", b"Origin")


class CrossOrigin:
    """Response headers for requests that pages of other origins make.

    Args:
        origins: that may call the API; `*` stands for any text.
    """

    def __init__(self, origins: Sequence[str]) -> None:
        self._allows_all = "*" in origins
        self._allows = lru_cache(256)(CORSConfig(allow_origins=list(origins)).is_origin_allowed)

    def headers(self, origin: bytes) -> Headers:
        """Headers of a response.

        Args:
            origin: the request's `Origin`.
        """
        return [*self._allowed(origin), (b"access-control-expose-headers", _EXPOSED)]

    def preflight_headers(self, origin: bytes) -> Headers:
        """Headers of the response to the question whether a page may make a request.

        Args:
            origin: the request's `Origin`.
        """
        allowed = self._allowed(origin)
        if allowed == [_VARY]:
            return allowed
        return [
            *allowed,
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-allow-headers", _REQUEST_HEADERS),
            (b"access-control-max-age", str(_MAX_AGE_S).encode()),
        ]

    def _allowed(self, origin: bytes) -> Headers:
        if self._allows_all:
            return [(b"access-control-allow-origin", b"*")]
        if self._allows(origin.decode("latin-1")):
            return [(b"access-control-allow-origin", origin), _VARY]
        return [_VARY]
