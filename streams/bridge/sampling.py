"""Limits the review messages while a client sends millions of bad votes. Pure."""

from __future__ import annotations

from typing import Final

from schemas.verdicts import Rejection
from schemas.votes import Malformed, Vote

MINUTE_MS: Final = 60_000
PREFIX_CHARACTERS: Final = 8
"""Length of a hash prefix, which the replaced worker called an error pattern."""
PREFIX_SHARE: Final = 10
"""A prefix gets at most one part in this many of a minute's messages, so that others get some."""


class Sampler:
    """Admits the first reviews of each minute, by status and reason.

    Its memory depends on the messages it admits in a minute, not on those it withholds.

    Args:
        per_minute: messages of one status and reason in a minute of ingest time; 0: no limit.
    """

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._per_prefix = max(1, per_minute // PREFIX_SHARE)
        self._minute = 0
        self._passed: dict[tuple[str, str], int] = {}
        self._by_prefix: dict[tuple[str, str, str], int] = {}

    def admits(self, item: Vote | Malformed, rejection: Rejection, ingest_ms: int) -> bool:
        """Whether to publish the review of an item.

        Args:
            item: the rejected item.
            rejection: its reason.
            ingest_ms: of its record, in Unix milliseconds; partitions may differ in time.
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
