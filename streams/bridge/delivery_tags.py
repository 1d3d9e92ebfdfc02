"""Tracks which delivery tags of one channel may be acknowledged. Pure."""

from __future__ import annotations

from collections.abc import Iterable


class DeliveryTags:
    """Tags of one AMQP channel, which RabbitMQ numbers 1, 2, 3, ….

    An acknowledgement with `multiple` covers every lower tag, so all lower tags must be settled. It
    must not name a rejected tag either: RabbitMQ no longer knows that tag and would close the
    channel.
    """

    def __init__(self) -> None:
        self.delivered = 0
        """The last tag that was delivered; the receiver sets it."""
        self._lowest_open = 1
        self._settled: set[int] = set()
        self._rejected: set[int] = set()
        self._acknowledged = 0
        self._given_back = 0

    def skip_to(self, tag: int) -> None:
        """Note a delivery; tags since the last one were returned by the driver, one by one."""
        self.reject(range(self.delivered + 1, tag))
        self.delivered = tag

    def give_back(self) -> None:
        """Note that all deliveries without an answer went back to the queue."""
        self._given_back = self.delivered
        self._lowest_open = self.delivered + 1
        self._settled.clear()
        self._rejected.clear()

    def known(self, tag: int) -> bool:
        """Whether RabbitMQ still waits for the answer to a delivery."""
        return tag > self._given_back

    @property
    def outstanding(self) -> int:
        """Deliveries that are not settled."""
        return self.delivered - (self._lowest_open - 1) - len(self._settled)

    def confirm(self, tags: Iterable[int]) -> None:
        """Settle deliveries that Kafka has."""
        if self._given_back:
            tags = [tag for tag in tags if self.known(tag)]
        self._settled.update(tags)

    def reject(self, tags: Iterable[int]) -> None:
        """Settle deliveries that were rejected one by one."""
        self._settled.update(tags)
        self._rejected.update(tags)

    def next_ack(self) -> int | None:
        """The tag to acknowledge now with `multiple`, or None.

        Each tag is returned at most once.
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
