"""What must come of the votes: a plain fold of the input log.

The simplest thing that can be right: a dictionary of who has voted. Nothing of the product is
imported; the log comes in as plain data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tests.faults.votes import ASSEMBLY, Ballot, Message

Place = tuple[int, int, int]
"""Partition, offset and number in the record."""


@dataclass(frozen=True, slots=True)
class Item:
    """One item of the input log."""

    place: Place
    number: int | None
    """Which message it is; None if it has no number of this run."""
    ballot: Ballot | None
    """What the log says of it; None for a malformed one."""
    may_repeat: bool
    """Whether the log marks it as something that may have come before."""
    ingest_ms: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What must become of an item that is not counted; `attempt` is 0 except for duplicates."""

    status: str
    reason: str
    attempt: int = 0


@dataclass
class Outcome:
    """What must come of a log."""

    counted: dict[int, Item] = field(default_factory=dict)
    """By message."""
    refused: dict[int, Verdict] = field(default_factory=dict)
    """By message: the verdict on its first item."""
    replaced: dict[int, Verdict] = field(default_factory=dict)
    """By message: that a later vote of the voter counts."""
    acceptances: dict[Place, tuple[int, int]] = field(default_factory=dict)
    """Weight of an accepted item, and how many votes were before; none if it is 1 and 0."""
    revotes: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Votes that replace others, by voter."""
    weights: Mapping[str, int] = field(default_factory=dict)
    """By voter of the assembly."""
    verdicts: dict[Place, Verdict] = field(default_factory=dict)
    """Of every item that was not counted, replays included."""
    voters: dict[tuple[str, str], Place] = field(default_factory=dict)
    """Where each voter's counted vote is."""
    attempts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Further attempts by voter."""
    occurrences: Counter[int] = field(default_factory=Counter)
    """How often each message is in the log."""
    unmarked: list[int] = field(default_factory=list)
    """Messages that are in the log again without a mark: nothing could tell them from new ones."""

    def totals(self) -> Counter[tuple[str, str]]:
        """Votes by contest and choice."""
        total: Counter[tuple[str, str]] = Counter()
        for item in self.counted.values():
            if item.ballot is not None:
                total[item.ballot.contest, item.ballot.choice] += self.weight(item.ballot)
        return total

    def weight(self, ballot: Ballot) -> int:
        """How many votes a ballot counts as."""
        return self.weights.get(ballot.voter, 1) if ballot.contest == ASSEMBLY else 1

    def windows(self, window_ms: int) -> Counter[tuple[str, str, int]]:
        """Votes by contest, choice and start of the tumbling window, Unix milliseconds."""
        total: Counter[tuple[str, str, int]] = Counter()
        for item in self.counted.values():
            if (ballot := item.ballot) is not None:
                start_ms = item.ingest_ms // window_ms * window_ms
                total[ballot.contest, ballot.choice, start_ms] += self.weight(ballot)
        return total


def fold(
    items: Iterable[Item],
    messages: Mapping[int, Message],
    weights: Mapping[str, int] | None = None,
) -> Outcome:
    """Fold a log; items of one partition in order, partitions in any.

    Args:
        items: those that bear no number, or one that was never sent, are left out.
        messages: what was sent, by number.
        weights: by voter of the assembly.
    """
    out = Outcome(weights=weights or {})
    latest: dict[tuple[str, str], int] = {}
    marked: set[int] = set()
    for item in items:
        message = messages.get(-1 if item.number is None else item.number)
        if message is None:
            continue
        number = message.number
        out.occurrences[number] += 1
        before = out.occurrences[number] > 1
        # Which of two deliveries is in the log first is a matter of chance.
        if before and not item.may_repeat and number not in marked:
            out.unmarked.append(number)
        if item.may_repeat:
            marked.add(number)
        if message.refusal is not None or message.ballot is None:
            assert message.refusal is not None
            verdict = Verdict(*message.refusal)
        elif before and any(number in seen for seen in (out.counted, out.refused, out.replaced)):
            verdict = Verdict("replay", "replay")
        elif message.ballot.contest == ASSEMBLY:
            key = message.ballot.key
            if key in latest:
                out.revotes[key] += 1
                out.replaced[latest[key]] = Verdict("replaced", "revoted")
                del out.counted[latest[key]]
            latest[key] = number
            out.voters[key] = item.place
            out.counted[number] = item
            more = (out.weight(message.ballot), out.revotes[key])
            if more != (1, 0):
                out.acceptances[item.place] = more
            continue
        elif message.ballot.key in out.voters:
            out.attempts[message.ballot.key] += 1
            verdict = Verdict("duplicate", "already_voted", out.attempts[message.ballot.key])
        else:
            out.voters[message.ballot.key] = item.place
            out.counted[number] = item
            continue
        out.verdicts[item.place] = verdict
        if verdict.status != "replay":
            out.refused.setdefault(number, verdict)
    return out
