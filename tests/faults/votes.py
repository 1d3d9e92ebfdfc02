"""Seeded votes for the fault runs.

Made from the documented message formats alone; nothing here knows the product. Every message bears
a number of its own, in `citizen_id` or in the malformed text, so that it can be followed to
wherever it ends, whatever its voter did else.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field

DUPLICATES = 0.05
MALFORMED = 0.01
UNKNOWN_VOTERS = 0.01
UNKNOWN_CHOICES = 0.005
SENT_TWICE = 0.02
"""Share of messages that are published again with the same `message_id`."""
ANONYMOUS = 0.02
"""Share of votes without a `message_id`; these are published once, whatever happens.

Only such as may count: a refused one that two bridges write in the wrong order has two rows.
"""
CANDIDATES = 0.2
"""Share of first votes that are cast in an election."""
UPPER_CASE = 0.03
MAX_ATTEMPTS = 4
"""Of one voter: well within what the voted table remembers."""
RESEND_WITHIN = 3000
"""A second sending comes at most this many messages after the first."""

LAWS = (("law-001", 8, 0.62), ("law-002", 4, 0.35), ("law-003", 2, 0.5), ("law-004", 1, 0.91))
"""Name, weight, share of `oui`."""
ELECTIONS = ("mairie", "region")
CANDIDATE_WEIGHTS = (60, 25, 10, 5)
ASSEMBLY_ID = 7
ASSEMBLY = f"election:{ASSEMBLY_ID}"
"""An election with rankings and weights in which the last vote of a voter counts."""
ASSEMBLY_CANDIDATES = ("1", "2", "3", "4")
ASSEMBLIES = 0.25
"""Share of first votes that are cast in it, where a run has it."""
REVOTES = 0.06
"""Share of messages that replace a vote in it."""

_NUMBER = re.compile(r"m-(\d+)")


@dataclass(frozen=True, slots=True)
class Ballot:
    """What a well-formed message says."""

    voter: str
    """The hash in lower case."""
    contest: str
    """A law's id, or `election:` and an election's id."""
    choice: str

    @property
    def key(self) -> tuple[str, str]:
        """What may vote once: a law's hash alone, a person's hash in each election."""
        return ("" if self.is_law else self.contest, self.voter)

    @property
    def is_law(self) -> bool:
        """Whether it is cast in a law."""
        return not self.contest.startswith("election:")


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it is published."""

    number: int
    body: bytes
    message_id: str | None
    ballot: Ballot | None
    """None: malformed."""
    refusal: tuple[str, str] | None = None
    """Status and reason with which it can only be refused."""


@dataclass
class Votes:
    """The messages of a run and the order in which they are published.

    Args:
        count: messages; those sent twice count once.
        seed: the same seed and count give the same votes.
        assembly: whether there are votes in :data:`ASSEMBLY` too.
    """

    count: int
    seed: int
    assembly: bool = False
    messages: list[Message] = field(default_factory=list, init=False)
    order: list[int] = field(default_factory=list, init=False)
    """Numbers of the messages in the order of publication."""
    roll: set[str] = field(default_factory=set, init=False)
    """Hashes that may vote, in lower case."""
    weights: dict[str, int] = field(default_factory=dict, init=False)
    """Of the voters of the assembly."""

    def __post_init__(self) -> None:
        self._random = random.Random(f"votes {self.seed}")
        self._voted: list[Ballot] = []
        self._attempts: dict[tuple[str, str], int] = {}
        self._persons: list[str] = []
        self._members: list[Ballot] = []
        again: list[tuple[int, int]] = []
        for number in range(self.count):
            while again and again[0][0] <= number:
                self.order.append(heapq.heappop(again)[1])
            message = self._message(number)
            self.messages.append(message)
            self.order.append(number)
            if message.message_id is not None and self._random.random() < SENT_TWICE:
                distance = 1 + int(RESEND_WITHIN * self._random.random() ** 3)
                heapq.heappush(again, (number + distance, number))
        self.order += [number for _, number in sorted(again)]

    def _message(self, number: int) -> Message:
        draw = self._random.random()
        message_id = f"{self.seed}-{number}-{draw:.6f}"
        if draw < MALFORMED:
            body, reason = _MALFORMED[number % len(_MALFORMED)](number)
            return Message(number, body, message_id, None, ("malformed", reason))
        draw -= MALFORMED
        if draw < UNKNOWN_VOTERS:
            ballot = self._law(self._hash("stranger", number))
            refusal = ("invalid", "not_on_roll")
            return Message(number, self._body(number, ballot), message_id, ballot, refusal)
        draw -= UNKNOWN_VOTERS
        if draw < UNKNOWN_CHOICES:
            voter = self._hash("undecided", number)
            self.roll.add(voter)
            ballot = Ballot(voter, "law-001", "peut-etre")
            refusal = ("invalid", "unknown_choice")
            return Message(number, self._body(number, ballot), message_id, ballot, refusal)
        draw -= UNKNOWN_CHOICES
        if self._members and DUPLICATES <= draw < DUPLICATES + REVOTES:
            ballot = self._again()
            return Message(number, self._body(number, ballot), message_id, ballot)
        ballot = self._repeated() if draw < DUPLICATES and self._voted else self._first(number)
        anonymous = self._random.random() < ANONYMOUS
        return Message(
            number, self._body(number, ballot), None if anonymous else message_id, ballot
        )

    def _first(self, number: int) -> Ballot:
        chance = self._random
        if self.assembly and chance.random() < ASSEMBLIES:
            ballot = self._ranking(self._hash("member", number))
            self.weights[ballot.voter] = chance.choice((1, 1, 2, 3, 10, 1000))
            self._members.append(ballot)
            self.roll.add(ballot.voter)
            return ballot
        if chance.random() >= CANDIDATES:
            ballot = self._law(self._hash("law", number))
        elif self._persons and chance.random() < 0.4:
            # The same person in the other election.
            person = self._persons.pop(chance.randrange(len(self._persons)))
            ballot = self._candidate(person, ELECTIONS[1])
        else:
            person = self._hash("person", number)
            self._persons.append(person)
            ballot = self._candidate(person, ELECTIONS[0])
        self.roll.add(ballot.voter)
        self._voted.append(ballot)
        return ballot

    def _repeated(self) -> Ballot:
        """Another attempt of somebody who has voted: often at once, often with another choice."""
        chance = self._random
        recent = chance.random() < 0.5
        start = max(0, len(self._voted) - 50) if recent else 0
        before = self._voted[chance.randrange(start, len(self._voted))]
        if self._attempts.get(before.key, 0) >= MAX_ATTEMPTS:
            before = self._voted[-1]
        self._attempts[before.key] = self._attempts.get(before.key, 0) + 1
        if before.is_law:
            return self._law(before.voter) if chance.random() < 0.2 else before
        return self._candidate(before.voter, before.contest.removeprefix("election:"))

    def _again(self) -> Ballot:
        """A later vote of a member, often soon after the one before; most have another ranking."""
        chance = self._random
        start = max(0, len(self._members) - 50) if chance.random() < 0.5 else 0
        before = self._members[chance.randrange(start, len(self._members))]
        if self._attempts.get(before.key, 0) >= MAX_ATTEMPTS:
            before = self._members[-1]
        self._attempts[before.key] = self._attempts.get(before.key, 0) + 1
        return before if chance.random() < 0.1 else self._ranking(before.voter)

    def _ranking(self, voter: str) -> Ballot:
        ranked = self._random.sample(ASSEMBLY_CANDIDATES, self._random.randint(1, 4))
        return Ballot(voter, ASSEMBLY, ">".join(ranked))

    def _law(self, voter: str) -> Ballot:
        [(law, _, share)] = self._random.choices(LAWS, [weight for _, weight, _ in LAWS])
        return Ballot(voter, law, "oui" if self._random.random() < share else "non")

    def _candidate(self, voter: str, election: str) -> Ballot:
        [candidate] = self._random.choices(range(1, 5), CANDIDATE_WEIGHTS)
        return Ballot(voter, f"election:{election}", str(candidate))

    def _hash(self, kind: str, number: int) -> str:
        return hashlib.sha256(f"{kind} {self.seed} {number}".encode()).hexdigest()

    def _body(self, number: int, ballot: Ballot) -> bytes:
        chance = self._random
        voter = ballot.voter.upper() if chance.random() < UPPER_CASE else ballot.voter
        name = ("vote_hash", "voter_hash", "hash")[number % 3]
        fields: dict[str, object] = {name: voter, "citizen_id": f"m-{number}"}
        if ballot.is_law:
            fields["law_id"] = ballot.contest
            fields["choice" if number % 2 else "vote"] = ballot.choice
        elif ballot.contest == ASSEMBLY:
            fields["election_id"] = ASSEMBLY_ID
            fields["ranked_choices"] = [int(each) for each in ballot.choice.split(">")]
        else:
            fields["election_id"] = ballot.contest.removeprefix("election:")
            fields["candidate_id"] = int(ballot.choice)
        fields["timestamp"] = f"2026-05-03T10:{number // 60 % 60:02}:{number % 60:02}Z"
        return json.dumps(fields, separators=(",", ":")).encode()


_MALFORMED: tuple[Callable[[int], tuple[bytes, str]], ...] = (
    lambda n: (f"no JSON, m-{n}".encode(), "not_json"),
    lambda n: (
        f'{{"citizen_id":"m-{n}","law_id":"law-001","vote":"oui"}}'.encode(),
        "missing_hash",
    ),
    lambda n: (
        f'{{"hash":"{n:064x}","citizen_id":"m-{n}","law_id":"law-001"}}'.encode(),
        "missing_choice",
    ),
    lambda n: (
        f'{{"hash":"{n:064x}","citizen_id":"m-{n}","vote":"oui"}}'.encode(),
        "missing_contest",
    ),
    lambda n: (f'["m-{n}"]'.encode(), "not_an_object"),
    lambda n: (
        f'{{"hash":"{n:064x}","citizen_id":"m-{n}","law_id":"law-001","vote":"oui",'
        f'"choice":"non"}}'.encode(),
        "conflicting_fields",
    ),
)


def number_of(text: str) -> int | None:
    """The number that a message bears, found in its `citizen_id` or its malformed text."""
    found = _NUMBER.search(text)
    return None if found is None else int(found[1])
