"""Sessions of operators who logged in, in the memory of the console: a restart ends them all."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

IDLE_S: Final = 30 * 60
"""A session ends after so long without a request."""
LONGEST_S: Final = 12 * 3600
MAX_SESSIONS: Final = 1000


@dataclass
class Session:
    """One operator in one browser."""

    operator: str
    csrf: str
    """Every form sends it back."""
    began_s: float
    seen_s: float

    @property
    def actor(self) -> str:
        """The operator's name in the trail."""
        return f"console:{self.operator}"

    def sent_by_its_page(self, csrf: str) -> bool:
        """Whether a form came from a page of this session."""
        return hmac.compare_digest(csrf.encode(errors="replace"), self.csrf.encode())


class Sessions:
    """The sessions, by the digest of their cookie.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sessions: dict[bytes, Session] = {}

    def begin(self, operator: str) -> str:
        """Begin a session; returns the cookie's value."""
        token = secrets.token_urlsafe(32)
        now_s = self._clock()
        for key in [key for key, one in self._sessions.items() if self._over(one, now_s)]:
            del self._sessions[key]
        while len(self._sessions) >= MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        session = Session(operator, secrets.token_urlsafe(32), now_s, now_s)
        self._sessions[_digest(token)] = session
        return token

    def find(self, token: str | None) -> Session | None:
        """The session of a cookie, which stays alive by this."""
        found = self._sessions.get(_digest(token)) if token else None
        now_s = self._clock()
        if found is None or self._over(found, now_s):
            return None
        found.seen_s = now_s
        return found

    def end(self, token: str | None) -> None:
        """End a session."""
        if token:
            self._sessions.pop(_digest(token), None)

    @staticmethod
    def _over(session: Session, now_s: float) -> bool:
        return now_s - session.seen_s > IDLE_S or now_s - session.began_s > LONGEST_S


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()
