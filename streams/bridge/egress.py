"""Egress: publishes verdicts from the log to RabbitMQ and commits those that it confirmed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from schemas.verdicts import Rejection
from schemas.votes import AdoptedVoteBatch, Malformed, Vote
from streams.bridge.publisher import QueuePublisher
from streams.bridge.sampling import Sampler
from streams.core.records import Verdicts
from streams.intake.receipts import Receipts
from streams.messages.outgoing import (
    Publication,
    counted_votes,
    has_reviews,
    poll_updates,
    receipt_messages,
    reviews,
)
from streams.runtime import failpoints
from streams.runtime.failpoints import Point
from streams.runtime.metrics import BridgeMetrics


@dataclass(frozen=True, kw_only=True)
class Egress:
    """Publishes the verdicts of `votes.validated`. :meth:`handle` is for a verdict reader."""

    review: QueuePublisher | None
    """Publishes a message for every item that was not accepted; None: no reviews."""
    aggregation: QueuePublisher | None
    """Publishes every accepted vote, for an external aggregator; None: no messages."""
    updates: QueuePublisher | None
    """Publishes every accepted poll vote, for an external poll service."""
    receipts: QueuePublisher | None
    """Publishes a receipt of every verdict."""
    seal: Receipts
    """Makes them."""
    sampler: Sampler
    """Selects the reviews to publish when there are very many."""
    metrics: BridgeMetrics
    """Of the bridge."""

    async def handle(self, verdicts: Sequence[Verdicts]) -> None:
        """Publish; returns when RabbitMQ has confirmed all messages.

        Raises:
            PoisonRecord: a record cannot be decoded.
        """
        rejected: list[Publication] = []
        counted: list[Publication] = []
        updates: list[Publication] = []
        receipts: list[Publication] = []
        of_all = (self.aggregation, self.updates, self.receipts)
        reads_all = any(publisher is not None for publisher in of_all)
        for one in verdicts:
            wanted = self.review is not None and has_reviews(one.batch)
            if not wanted and not reads_all:
                continue
            record = one.record()
            if record is None or isinstance(record, AdoptedVoteBatch):
                # The replaced system has published those.
                continue
            if wanted:
                rejected += reviews(one.batch, record, self._admits)
            if self.aggregation is not None:
                counted += counted_votes(one.batch, record)
            if self.updates is not None:
                updates += poll_updates(one.batch, record)
            if self.receipts is not None:
                receipts += receipt_messages(one.batch, record, self.seal.seal_item)
        if self.review is not None and rejected:
            await self.review.publish(rejected)
        if self.aggregation is not None and counted:
            await self.aggregation.publish(counted)
        if self.updates is not None and updates:
            await self.updates.publish(updates)
        if self.receipts is not None and receipts:
            await self.receipts.publish(receipts)
        if rejected or counted or updates or receipts:
            failpoints.at(Point.AFTER_CONFIRM)

    def _admits(self, item: Vote | Malformed, rejection: Rejection, ingest_ms: int) -> bool:
        if self.sampler.admits(item, rejection, ingest_ms):
            return True
        self.metrics.reviews_withheld.labels(rejection.status, rejection.reason).inc()
        return False

    async def aclose(self) -> None:
        """Close the connections."""
        for publisher in (self.review, self.aggregation, self.updates, self.receipts):
            if publisher is not None:
                await publisher.aclose()
