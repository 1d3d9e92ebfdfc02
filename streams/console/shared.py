"""What the console's handlers share: sessions, logins, languages, and the latest figures."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from litestar.datastructures import Cookie

from streams.adapters.postgres.connection import connected
from streams.console.changes import ContestChanges
from streams.console.keys import Operators
from streams.console.open_id import OpenIdLogin
from streams.console.sessions import Session, Sessions
from streams.console.words import Reader, read_languages
from streams.control.trail import note_action
from streams.elections.overview import briefly, shown_results
from streams.gateway.client_address import AnyRequest, TrustedProxies
from streams.gateway.handlers.pages import read_site
from streams.gateway.local_windows import LocalWindow
from streams.gateway.problems import Problem
from streams.inspect.contests import ContestRow, fetch_contests
from streams.inspect.top import Snapshot, compare, look
from streams.settings.processes import ConsoleConfig

LANGUAGE_COOKIE: Final = "scrutin-language"
TOP_S: Final = 1.5
"""The services are asked at most this often, however many operators look."""
_PERIOD_S: Final = 15 * 60.0
_FROM_ADDRESS: Final = 30
"""Logins from one address in that time."""
_FOR_NAME: Final = 10
"""Refused logins for one name in that time."""
_HASHING: Final = 2
"""Keys that are compared at the same time: each takes memory and a core."""


@dataclass
class Console:
    """What the handlers share.

    Args:
        config: of the console.
        clock: seconds that only grow.
    """

    config: ConsoleConfig
    clock: Callable[[], float] = time.monotonic
    sessions: Sessions = field(init=False)

    def __post_init__(self) -> None:
        self.sessions = Sessions(self.clock)
        self.operators = Operators.read(self.config.operators)
        self.secure = self.config.url.startswith("https://")
        callback = f"{self.config.url.rstrip('/')}/login/callback"
        given = self.config.open_id
        self.provider = None if given is None else OpenIdLogin(given, callback)
        self.changes = ContestChanges(self.config)
        site = read_site(self.config.http.languages_dir)
        self.files = site.files
        self.languages = read_languages(self.config.http.languages_dir, site.server_words)
        self._proxies = TrustedProxies(self.config.http.trusted_proxies)
        self._from_address = LocalWindow(_FROM_ADDRESS, _PERIOD_S)
        self._for_name = LocalWindow(_FOR_NAME, _PERIOD_S)
        self._hashing = asyncio.Semaphore(_HASHING)
        self._looking = asyncio.Lock()
        self._before: Snapshot | None = None
        self._shown: tuple[float, dict[str, Any]] | None = None

    @property
    def cookie(self) -> str:
        """Name of the session's cookie; the prefix binds it to the host, over TLS."""
        return "__Host-scrutin-console" if self.secure else "scrutin-console"

    def session_of(self, request: AnyRequest) -> Session | None:
        """The session that a request belongs to."""
        return self.sessions.find(request.cookies.get(self.cookie))

    def reader_of(self, request: AnyRequest) -> Reader:
        """Who a request is from, and in which language the answer is."""
        chosen = request.cookies.get(LANGUAGE_COOKIE, "")
        accepted = request.headers.get("accept-language", "")
        return Reader(
            self.languages, self.languages.chosen(chosen, accepted), self.session_of(request)
        )

    def set_cookie(self, key: str, value: str, **more: Any) -> Cookie:
        """A cookie that no script reads."""
        return Cookie(
            key=key,
            value=value,
            path="/",
            httponly=True,
            secure=self.secure,
            **{"samesite": "strict", **more},
        )

    async def by_key(self, request: AnyRequest, name: str, key: str) -> str | None:
        """Begin a session with a key; None: it is not the operator's.

        Raises:
            Problem: too many were refused (429).
        """
        # Counted before the comparison, so that a burst finds out no more than one by one.
        for limit, who in (
            (self._from_address, self._proxies.network_of(request)),
            (self._for_name, name[:64]),
        ):
            if not limit.hit(who, self.clock()):
                wait_s = int(limit.room(who, self.clock()).wait_s) + 1
                raise Problem(
                    429,
                    f"Too many logins. Try again in {wait_s // 60 + 1} minutes.",
                    headers={"Retry-After": str(wait_s)},
                )
        async with self._hashing:
            admitted = await asyncio.to_thread(self.operators.admits, name, key)
        if not admitted:
            return None
        self._for_name.forget(name[:64])
        return await self.begin(name)

    async def begin(self, operator: str) -> str:
        """Begin a session, which the trail shows; returns the cookie's value."""
        async with connected(self.config.deployment.postgres) as connection:
            await note_action(connection, f"console:{operator}", "log in")
        return self.sessions.begin(operator)

    async def top(self) -> dict[str, Any]:
        """Figures since the last look, and results; services are asked once for all operators."""
        async with self._looking:
            if self._shown is None or time.monotonic() - self._shown[0] > TOP_S:
                now, results = await asyncio.gather(
                    look(self.config.deployment, self.config.processes),
                    shown_results(self.config.deployment.postgres),
                )
                view = compare(self._before or now, now)
                self._before = now
                self._shown = now.at_s, {**view.as_dict(), "results": briefly(results)}
            return self._shown[1]

    async def contest(self, name: str) -> ContestRow:
        """A contest.

        Raises:
            Problem: there is none (404).
        """
        postgres = self.config.deployment.postgres
        async with connected(postgres) as connection:
            rows = await fetch_contests(connection, postgres.where(), name)
        if not rows:
            raise Problem(404, f"There is no contest {name}")
        return rows[0]
