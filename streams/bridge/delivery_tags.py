"""Which delivery tags of one channel may be acknowledged. Pure."""

from __future__ import annotations

from collections.abc import Iterable


class DeliveryTags:
    """Tags of one AMQP channel, which RabbitMQ counts 1, 2, 3, ….

    A `multiple` acknowledgement covers every lower tag, so it may only name a tag below which
    all is settled. It must not name a tag that was rejected either: RabbitMQ no longer knows that
    one and would close the channel.
    """

    def __init__(self) -> None:
        self.delivered = 0
        """The last tag that was delivered. Set by whoever receives."""
        self._lowest_open = 1
        self._settled: set[int] = set()
        self._rejected: set[int] = set()
        self._acknowledged = 0

    @property
    def outstanding(self) -> int:
        """Deliveries that are not settled."""
        return self.delivered - (self._lowest_open - 1) - len(self._settled)

    def confirm(self, tags: Iterable[int]) -> None:
        """Kafka has these deliveries."""
        self._settled.update(tags)

    def reject(self, tags: Iterable[int]) -> None:
        """These were rejected one by one."""
        self._settled.update(tags)
        self._rejected.update(tags)

    def next_ack(self) -> int | None:
        """The tag to acknowledge now with `multiple`, or None.

        A tag is returned once.
        """
        tag = self._lowest_open
        settled, rejected = self._settled, self._rejected
        covered = self._acknowledged
        while tag in settled:
            settled.remove(tag)
            if tag in rejected:
                rejected.remove(tag)
            else:
                covered = tag
            tag += 1
        self._lowest_open = tag
        if covered == self._acknowledged:
            return None
        self._acknowledged = covered
        return covered
