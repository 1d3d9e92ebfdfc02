"""The messages of an election in publishing order, and the expected verdict of each. Pure.

The same plan yields the same messages, apart from the times in their bodies, which come from the
caller's clock.

The order of delivery decides which of one voter's submissions is accepted. Expectations hold for
any order: later submissions repeat the first choice (unless the plan says `conflicting`), and all
other expectations depend only on their number.

On `votes.aggregation` the roll is not checked, so an unknown voter's vote counts there.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Final

import msgspec

from streams.load.election import AGGREGATION, VALIDATION, SyntheticElection, stored_hash
from streams.load.forms import (
    AGGREGATION_FORMS,
    FAULTS,
    MIXTURE_FORMS,
    VALIDATION_FORMS,
    Stamp,
    SyntheticBallot,
    candidate_body,
)

CANDIDATES: Final = 5
OUI_SHARES: Final = (0.62, 0.35, 0.81, 0.50, 0.47, 0.12, 0.93, 0.56)
"""Share of `oui` votes of each law; the ninth law starts over."""
CANDIDATE_WEIGHTS: Final = (38, 27, 19, 11, 5)


class ExpectedVerdict(IntEnum):
    """Expected verdict of a message."""

    COUNTED = 0
    """First submission of a voter who is on the roll, or need not be."""
    DUPLICATE = 1
    """Later submission of a counted voter."""
    REPEAT = 2
    """The same message again, with its `message_id`: leaves no trace."""
    UNKNOWN = 3
    """Voter not on the roll: invalid."""
    BAD_CHOICE = 4
    """Neither `oui` nor `non`: invalid."""
    MALFORMED = 5


class ScriptedMessage(msgspec.Struct, frozen=True, gc=False):
    """One message to publish."""

    body: bytes
    message_id: str
    fate: ExpectedVerdict
    contest: str
    choice: str
    """The choice as counted."""
    voter: str
    """The voter's hash, lower case; empty for malformed messages."""
    stored: str
    """`vote_audit.vote_hash` of this voter in this contest; empty for malformed messages."""
    reason: str = ""
    """For malformed messages."""


def messages(election: SyntheticElection, clock: Callable[[int], int]) -> Iterator[ScriptedMessage]:
    """The messages of an election, generated lazily.

    Args:
        election: with the plan.
        clock: time of the n-th message in Unix microseconds, for its body.
    """
    return _Script(election, clock).messages()


class _Script:
    def __init__(self, election: SyntheticElection, clock: Callable[[int], int]) -> None:
        plan = election.plan
        self._election = election
        self._plan = plan
        self._clock = clock
        self._stamp = Stamp()
        self._random = random.Random(plan.seed)  # noqa: S311 - a reproducible election
        self._sent = 0
        usual = VALIDATION_FORMS if plan.queue == VALIDATION else AGGREGATION_FORMS
        self._forms = MIXTURE_FORMS if plan.mixture else usual
        self._pairs = plan.citizens * plan.laws
        self._pair_step = _coprime(self._pairs)
        self._spread = max(2, min(20_000, plan.votes // 5))
        self._numbers: Counter[ExpectedVerdict] = Counter()
        self._scheduled = 0
        # (step, tie-breaker, what to send after the vote of that step)
        self._events: list[
            tuple[int, int, ExpectedVerdict | ScriptedMessage | SyntheticBallot]
        ] = []
        for fate, share in (
            (ExpectedVerdict.DUPLICATE, plan.duplicates),
            (ExpectedVerdict.REPEAT, plan.repeats),
            (ExpectedVerdict.UNKNOWN, plan.unknown),
            (ExpectedVerdict.BAD_CHOICE, plan.bad_choice),
            (ExpectedVerdict.MALFORMED, plan.malformed),
        ):
            total = plan.count(share)
            for number in range(total):
                self._schedule(number * plan.votes // total, fate)

    def messages(self) -> Iterator[ScriptedMessage]:
        """All messages, in order."""
        plan, election, events = self._plan, self._election, self._events
        candidates = plan.candidate_votes
        elected = 0
        for step in range(plan.votes):
            if elected < candidates and elected * plan.votes <= step * candidates:
                ballot = election.candidate_ballot(elected, self._candidate())
                elected += 1
            else:
                ballot = self._law_ballot(step - elected)
            message = self._message(ballot, ExpectedVerdict.COUNTED)
            yield message
            while events and events[0][0] <= step:
                yield from self._process_event(step, ballot, message)
        while events:
            yield from self._process_event(plan.votes, ballot, message)

    def _process_event(
        self, step: int, ballot: SyntheticBallot, message: ScriptedMessage
    ) -> Iterator[ScriptedMessage]:
        """Messages of the next event; it applies to the vote just cast."""
        what = heapq.heappop(self._events)[2]
        if isinstance(what, ScriptedMessage):
            self._sent += 1
            yield msgspec.structs.replace(what, fate=ExpectedVerdict.REPEAT)
        elif isinstance(what, SyntheticBallot):
            yield self._message(what, ExpectedVerdict.DUPLICATE)
        else:
            number = self._numbers[what]
            self._numbers[what] += 1
            if what is ExpectedVerdict.DUPLICATE:
                for _ in range(2 if number % 5 == 4 else 1):
                    self._schedule(self._after(step), self._second(ballot))
            elif what is ExpectedVerdict.REPEAT:
                self._schedule(self._after(step), message)
            elif what is ExpectedVerdict.UNKNOWN:
                yield self._stranger(number)
            elif what is ExpectedVerdict.BAD_CHOICE:
                # From the other end of the pairs, so that these voters cast no other vote.
                pair = self._pair(self._pairs - 1 - number)
                yield self._message(self._election.law_ballot(pair, "peut-etre"), what)
            else:
                yield self._fault(number)

    def _pair(self, number: int) -> int:
        """A permutation of all pairs of citizen and law that scatters neighbours."""
        return number * self._pair_step % self._pairs

    def _law_ballot(self, number: int) -> SyntheticBallot:
        pair = self._pair(number)
        return self._election.law_ballot(pair, self._law_choice(pair % self._plan.laws))

    def _law_choice(self, law: int) -> str:
        share = OUI_SHARES[law % len(OUI_SHARES)]
        return "oui" if self._random.random() < share else "non"

    def _candidate(self) -> str:
        numbers = range(1, CANDIDATES + 1)
        return str(self._random.choices(numbers, CANDIDATE_WEIGHTS)[0])

    def _second(self, ballot: SyntheticBallot) -> SyntheticBallot:
        if not self._plan.conflicting:
            return ballot
        if ballot.contest.startswith("election:"):
            return ballot._replace(choice=self._candidate())
        return ballot._replace(choice="oui" if self._random.random() < 0.5 else "non")

    def _after(self, step: int) -> int:
        return step + self._random.randrange(1, self._spread)

    def _schedule(
        self, step: int, what: ExpectedVerdict | ScriptedMessage | SyntheticBallot
    ) -> None:
        self._scheduled += 1
        heapq.heappush(self._events, (step, self._scheduled, what))

    def _stranger(self, number: int) -> ScriptedMessage:
        choice = self._law_choice(number % self._plan.laws)
        ballot = self._election.unknown_ballot(number, choice)
        known = self._plan.queue == AGGREGATION
        return self._message(ballot, ExpectedVerdict.COUNTED if known else ExpectedVerdict.UNKNOWN)

    def _message(self, ballot: SyntheticBallot, fate: ExpectedVerdict) -> ScriptedMessage:
        number = self._sent
        self._sent = number + 1
        when = self._clock(number)
        if ballot.contest.startswith("election:"):
            body = candidate_body(ballot, when, self._stamp)
        else:
            body = self._forms[number % len(self._forms)](ballot, when, self._stamp)
        return ScriptedMessage(
            body.encode(),
            f"{self._plan.seed:x}-{number:x}",
            fate,
            ballot.contest,
            ballot.choice,
            ballot.hash,
            stored_hash(ballot),
        )

    def _fault(self, number: int) -> ScriptedMessage:
        message_id = f"{self._plan.seed:x}-{self._sent:x}"
        self._sent += 1
        fault = FAULTS[number % len(FAULTS)]
        ballot = self._election.unknown_ballot(number, "oui")
        body = fault.body(ballot, number, self._plan.max_body_bytes)
        return ScriptedMessage(
            body, message_id, ExpectedVerdict.MALFORMED, "", "", "", "", fault.reason
        )


def _coprime(modulus: int) -> int:
    """A step coprime to `modulus`, near its golden section."""
    step = max(1, round(modulus * 0.618))
    while math.gcd(step, modulus) != 1:
        step += 1
    return step
