"""RabbitMQ queues: documented names, deployed names and use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

VALIDATION: Final = "votes.validation"
AGGREGATION: Final = "votes.aggregation"
REVIEW: Final = "votes.review"
POLL_UPDATES: Final = "poll_vote_updates"
"""Votes in polls by name, as the replaced services exchanged them."""
VOTES_EXCHANGE: Final = "votes.exchange"
"""Where clients of the replaced API publish. None of them binds a queue to it."""
TALLY_QUEUES: Final = (
    "tally.creation.queue",
    "partial.decryption.queue",
    "compensated.decryption.queue",
    "combine.decryption.queue",
    "tally.queue",
    "decryption.queue",
    "combine.queue",
)
"""The documented queues of tally commands, and older names of three of them."""


@dataclass(frozen=True)
class QueuesConfig:
    """The queues to read and write, by documented name."""

    deployed: Mapping[str, str]
    """Documented name -> deployed name."""
    ingress: tuple[str, ...]
    """Queues to read."""
    egress: tuple[str, ...]
    """Queues to write."""
    bindings: bool
    """Bind the validation queue to `votes.exchange` if that exists."""
    accept_loss: tuple[str, ...] = ()
    """Deployed names of queues to read although their delivery limit loses votes."""

    def name(self, documented: str) -> str:
        """The deployed name of a queue."""
        return self.deployed[documented]

    def used(self) -> list[str]:
        """The deployed names of all queues in use."""
        return [self.name(one) for one in dict.fromkeys((*self.ingress, *self.egress, REVIEW))]
