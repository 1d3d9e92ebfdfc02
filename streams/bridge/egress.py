"""Egress: publishes verdicts from the log to RabbitMQ and commits those that it confirmed."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.verdicts import Rejection
from schemas.votes import AdoptedVoteBatch, Malformed, Vote
from streams.bridge.publisher import QueuePublisher
from streams.bridge.sampling import Sampler
from streams.core.records import Verdicts
from streams.messages.outgoing import Publication, counted_votes, has_reviews, poll_updates, reviews
from streams.runtime import failpoints
from streams.runtime.failpoints import Point
from streams.runtime.metrics import BridgeMetrics


class Egress:
    """Publishes the verdicts of `votes.validated`. :meth:`handle` is for a verdict reader.

    Args:
        review: publishes a message for every item that was not accepted; None: no reviews.
        aggregation: publishes every accepted vote, for an external aggregator; None: no messages.
        updates: publishes every accepted poll vote, for an external poll service.
        sampler: selects the reviews to publish when there are very many.
        metrics: of the bridge.
    """

    def __init__(
        self,
        *,
        review: QueuePublisher | None,
        aggregation: QueuePublisher | None,
        updates: QueuePublisher | None,
        sampler: Sampler,
        metrics: BridgeMetrics,
    ) -> None:
        self._review = review
        self._aggregation = aggregation
        self._updates = updates
        self._sampler = sampler
        self._metrics = metrics

    async def handle(self, verdicts: Sequence[Verdicts]) -> None:
        """Publish; returns when RabbitMQ has confirmed all messages.

        Raises:
            PoisonRecord: a record cannot be decoded.
        """
        rejected: list[Publication] = []
        counted: list[Publication] = []
        updates: list[Publication] = []
        for one in verdicts:
            wanted = self._review is not None and has_reviews(one.batch)
            if not wanted and self._aggregation is None and self._updates is None:
                continue
            record = one.record()
            if record is None or isinstance(record, AdoptedVoteBatch):
                # The replaced system has published those.
                continue
            if wanted:
                rejected += reviews(one.batch, record, self._admits)
            if self._aggregation is not None:
                counted += counted_votes(one.batch, record)
            if self._updates is not None:
                updates += poll_updates(one.batch, record)
        if self._review is not None and rejected:
            await self._review.publish(rejected)
        if self._aggregation is not None and counted:
            await self._aggregation.publish(counted)
        if self._updates is not None and updates:
            await self._updates.publish(updates)
        if rejected or counted or updates:
            failpoints.at(Point.AFTER_CONFIRM)

    def _admits(self, item: Vote | Malformed, rejection: Rejection, ingest_ms: int) -> bool:
        if self._sampler.admits(item, rejection, ingest_ms):
            return True
        self._metrics.reviews_withheld.labels(rejection.status, rejection.reason).inc()
        return False

    async def aclose(self) -> None:
        """Close the connections."""
        for publisher in (self._review, self._aggregation, self._updates):
            if publisher is not None:
                await publisher.aclose()
