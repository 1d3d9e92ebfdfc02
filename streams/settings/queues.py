"""RabbitMQ queues: documented names, deployed names and use."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

VALIDATION: Final = "votes.validation"
AGGREGATION: Final = "votes.aggregation"
REVIEW: Final = "votes.review"
POLL_UPDATES: Final = "poll_vote_updates"
"""Votes in polls by name, as the replaced services exchanged them."""
RECEIPTS: Final = "votes.receipts"
"""A receipt of every verdict, for those who sent the votes."""
VOTES_EXCHANGE: Final = "votes.exchange"
"""Where clients of the replaced API publish. None of them binds a queue to it."""
INGRESS: Final = (VALIDATION, AGGREGATION, POLL_UPDATES)
"""Queues of votes that a bridge can read."""
EGRESS: Final = (REVIEW, AGGREGATION, POLL_UPDATES, RECEIPTS)
"""Queues that a bridge can write."""
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

QueueArguments = Mapping[str, Mapping[str, str | int | bool]]
"""Deployed name of a queue -> arguments with which it is declared if it is missing."""


def parse_arguments(parts: Sequence[str]) -> QueueArguments:
    """Read `queue:argument=value`.

    Raises:
        ValueError: a part has another form, or gives an argument twice.
    """
    found: dict[str, dict[str, str | int | bool]] = {}
    for part in parts:
        name, equals, value = part.partition("=")
        queue, colon, argument = name.rpartition(":")
        if not (queue and colon and argument.startswith("x-") and equals and value):
            raise ValueError(f"{part!r} is not of the form queue:x-argument=value")
        if argument in found.setdefault(queue, {}):
            raise ValueError(f"{queue}:{argument} is given twice")
        found[queue][argument] = _value(value)
    return found


def _value(text: str) -> str | int | bool:
    if text in {"true", "false"}:
        return text == "true"
    return int(text) if re.fullmatch(r"-?\d{1,18}", text) else text


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
    arguments: QueueArguments = field(default_factory=dict)
    """With which missing queues are declared."""

    def name(self, documented: str) -> str:
        """The deployed name of a queue."""
        return self.deployed[documented]

    def used(self) -> list[str]:
        """The deployed names of all queues in use."""
        return [self.name(one) for one in dict.fromkeys((*self.ingress, *self.egress, REVIEW))]
