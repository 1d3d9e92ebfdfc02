"""How many review messages go out while somebody sends junk by the million. Pure."""

from __future__ import annotations

from typing import Final

from schemas.verdicts import Rejection
from schemas.votes import Malformed, Vote

MINUTE_MS: Final = 60_000
PREFIX_CHARACTERS: Final = 8
"""Of a hash: what the worker before called an error pattern."""
PREFIX_SHARE: Final = 10
"""One prefix gets this part of a minute's messages at most, so that it crowds no other out."""


class Sampler:
    """Lets the first reviews of each minute pass, by status and reason.

    Takes memory for the messages it lets pass in one minute, however many it does not.

    Args:
        per_minute: messages of one status and reason in a minute of ingest time; 0: all.
    """

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._per_prefix = max(1, per_minute // PREFIX_SHARE)
        self._minute = 0
        self._passed: dict[tuple[str, str], int] = {}
        self._by_prefix: dict[tuple[str, str, str], int] = {}

    def admits(self, item: Vote | Malformed, rejection: Rejection, ingest_ms: int) -> bool:
        """Whether the review of an item goes out.

        Args:
            item: what was rejected.
            rejection: why.
            ingest_ms: of its record, in Unix milliseconds; partitions may be apart in time.
        """
        if not self._per_minute:
            return True
        minute = ingest_ms // MINUTE_MS
        if minute > self._minute:
            self._minute = minute
            self._passed.clear()
            self._by_prefix.clear()
        group = (str(rejection.status), str(rejection.reason))
        passed = self._passed.get(group, 0)
        if passed >= self._per_minute:
            return False
        prefix = (*group, _prefix(item))
        of_prefix = self._by_prefix.get(prefix, 0)
        if of_prefix >= self._per_prefix:
            return False
        self._passed[group] = passed + 1
        self._by_prefix[prefix] = of_prefix + 1
        return True


def _prefix(item: Vote | Malformed) -> str:
    if isinstance(item, Vote):
        return item.hash[:PREFIX_CHARACTERS]
    return item.head[:PREFIX_CHARACTERS].hex()
