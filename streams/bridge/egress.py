"""Egress: verdicts from the log to RabbitMQ, committed once RabbitMQ has them."""

from __future__ import annotations

from collections.abc import Sequence

from streams import failpoints
from streams.bridge.publisher import Publisher
from streams.bridge.reviews import Publication, counted_votes, has_reviews, reviews
from streams.bridge.verdict_reader import Verdicts
from streams.failpoints import Point


class Egress:
    """Publishes what `votes.validated` says. :meth:`handle` is for a verdict reader.

    Args:
        review: takes a message for every item that was not accepted; None: nobody reads them.
        aggregation: takes every accepted vote, for somebody else's aggregator; None: ours counts.
    """

    def __init__(self, *, review: Publisher | None, aggregation: Publisher | None) -> None:
        self._review = review
        self._aggregation = aggregation

    async def handle(self, verdicts: Sequence[Verdicts]) -> None:
        """Publish; returns when RabbitMQ has confirmed everything.

        Raises:
            PoisonRecord: a record cannot be decoded.
        """
        rejected: list[Publication] = []
        counted: list[Publication] = []
        for one in verdicts:
            wanted = self._review is not None and has_reviews(one.batch)
            if not wanted and self._aggregation is None:
                continue
            record = one.record()
            if record is None:
                continue
            if wanted:
                rejected += reviews(one.batch, record)
            if self._aggregation is not None:
                counted += counted_votes(one.batch, record)
        if self._review is not None and rejected:
            await self._review.publish(rejected)
        if self._aggregation is not None and counted:
            await self._aggregation.publish(counted)
        if rejected or counted:
            failpoints.at(Point.AFTER_CONFIRM)

    async def aclose(self) -> None:
        """Close the connections."""
        for publisher in (self._review, self._aggregation):
            if publisher is not None:
                await publisher.aclose()
