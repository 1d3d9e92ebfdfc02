"""Which publications RabbitMQ has. Pure."""

from __future__ import annotations

from collections import Counter
from itertools import takewhile
from typing import Generic, TypeVar

T = TypeVar("T")


class Confirms(Generic[T]):
    """Unconfirmed publications of one channel, each with what its sender wants back.

    RabbitMQ numbers publications 1, 2, 3, …. A publication that reached no queue is returned, by
    its `message_id`, before it is confirmed.
    """

    def __init__(self) -> None:
        self._last = 0
        self._open: dict[int, tuple[str, T]] = {}
        self._returned: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    @property
    def waiting(self) -> list[T]:
        """What RabbitMQ has not answered, in the order of publication."""
        return [item for _, item in self._open.values()]

    def expect(self, message_id: str, item: T) -> None:
        """Record one more publication."""
        self._last += 1
        self._open[self._last] = (message_id, item)

    def returned(self, message_id: str | None) -> None:
        """Record that RabbitMQ has no queue for a message."""
        self._returned[message_id or ""] += 1

    def answered(self, tag: int, multiple: bool, taken: bool) -> list[tuple[T, bool]]:
        """Record a confirm; gives each publication it is for, and whether a queue has it.

        Args:
            tag: of the publication.
            multiple: whether it covers all publications up to that tag.
            taken: True if RabbitMQ has them; False if it refused them.
        """
        tags = list(takewhile(lambda t: t <= tag, self._open)) if multiple else [tag]
        settled = []
        for each in tags:
            found = self._open.pop(each, None)
            if found is None:
                continue
            message_id, item = found
            lost = self._returned[message_id] > 0
            if lost:
                self._returned[message_id] -= 1
            settled.append((item, taken and not lost))
        return settled
