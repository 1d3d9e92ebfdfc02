"""A seeded, reproducible election: its plan, its voters and its roll. Pure.

Citizen `i` has one hash for each law and one for elections. The roll holds the hashes of all
citizens; people numbered from 450,000,000 on are on no roll. :mod:`streams.load.script` makes its
messages.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

from streams.errors import SettingsError
from streams.load.forms import SyntheticBallot

VALIDATION: Final = "votes.validation"
AGGREGATION: Final = "votes.aggregation"

ELECTIONS: Final = ("election:", "election:municipal-2026")
"""Contests of candidate votes: unnamed as in the documented message, and named."""

_NAS_RANGE: Final = 900_000_000
_STRANGERS: Final = _NAS_RANGE // 2
"""People from this number on are on no plan's roll."""


@dataclass(frozen=True)
class LoadPlan:
    """An election to simulate.

    Args:
        votes: voters to be counted; all other messages come on top.
        laws: number of laws, from `law-001`.
        citizens: on the roll; 0 for a quarter more than needed.
        seed: plans with different seeds share no voter.
        duplicates: share of `votes` that vote again, every fifth of them twice.
        repeats: share of messages published twice under one `message_id`.
        unknown: share of votes by people who are not on the roll.
        bad_choice: share of votes with a choice that no law has.
        malformed: share of messages that are not votes, cycling over all kinds.
        candidates: share of `votes` for candidates instead of laws.
        conflicting: later submissions choose again; totals per choice are then bounds.
        mixture: votes are a third each plain, with `metadata` and with an unknown field, instead of
            every form of deployed senders in turn.
        queue: documented name of the destination.
        max_body_bytes: limit that `too_large` messages exceed.

    Raises:
        SettingsError: a number is out of range, or there are too few citizens.
    """

    votes: int = 50_000
    laws: int = 5
    citizens: int = 0
    seed: int = 1
    duplicates: float = 0.01
    repeats: float = 0.002
    unknown: float = 0.005
    bad_choice: float = 0.002
    malformed: float = 0.002
    candidates: float = 0.0
    conflicting: bool = False
    mixture: bool = False
    queue: str = VALIDATION
    max_body_bytes: int = 65536

    def __post_init__(self) -> None:
        for name, low, high in (
            ("votes", 0, 100_000_000),
            ("laws", 1, 999),
            ("citizens", 0, _STRANGERS),
            ("seed", 0, 2**31),
            ("duplicates", 0, 1),
            ("repeats", 0, 1),
            ("unknown", 0, 1),
            ("bad_choice", 0, 1),
            ("malformed", 0, 1),
            ("candidates", 0, 1),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise SettingsError(
                    f"{value} is not between {low} and {high}", where={"election": name}
                )
        if self.queue not in {VALIDATION, AGGREGATION}:
            raise SettingsError(
                f"{self.queue!r} is not a queue for votes",
                todo=f"Use {VALIDATION} or {AGGREGATION}",
            )
        needed = self._needed_citizens()
        if not self.citizens:
            object.__setattr__(self, "citizens", max(needed, math.ceil(needed * 1.25)))
        elif self.citizens < needed:
            raise SettingsError(
                f"{self.citizens} citizens cannot cast these votes, one for each law",
                where={"election": "citizens", "needed": needed},
                todo=f"Raise the citizens to {needed}, or the laws, or lower the votes",
            )

    def _needed_citizens(self) -> int:
        law_votes = self.votes - self.candidate_votes + self.count(self.bad_choice)
        return max(1, math.ceil(law_votes / self.laws), self.candidate_votes)

    def count(self, share: float) -> int:
        """Number of messages that a share of the votes means."""
        return round(self.votes * share)

    @property
    def candidate_votes(self) -> int:
        """How many of `votes` are for candidates."""
        return self.count(self.candidates)

    @property
    def messages(self) -> int:
        """Number of messages of the plan."""
        twice = self.count(self.duplicates) // 5
        extras = (self.duplicates, self.repeats, self.unknown, self.bad_choice, self.malformed)
        return self.votes + twice + sum(self.count(share) for share in extras)

    @property
    def law_names(self) -> list[str]:
        """Names from `law-001`."""
        return [f"law-{n:03d}" for n in range(1, self.laws + 1)]

    @property
    def roll_size(self) -> int:
        """Number of hashes on the roll."""
        return self.citizens * (self.laws + (1 if self.candidates else 0))

    def as_dict(self) -> dict[str, Any]:
        """All arguments by name."""
        return asdict(self)


class SyntheticElection:
    """The voters and ballots of a plan."""

    def __init__(self, plan: LoadPlan) -> None:
        self.plan = plan
        self._laws = plan.law_names
        # Different seeds must not share voters: each seed has its own codes.
        self._code_salt = int.from_bytes(hashlib.sha256(b"seed %d" % plan.seed).digest()[:8])

    def identity(self, citizen: int) -> tuple[int, str]:
        """(nas, code) of a person."""
        # Prime to the range, so that no two citizens share a number.
        nas = 100_000_000 + (citizen * 7_654_321 + self.plan.seed) % _NAS_RANGE
        return nas, f"{(citizen * 2_654_435_761 + self._code_salt) & 0xFFFFFF:06X}"

    def law_hash(self, citizen: int, law: str) -> str:
        """SHA-256 of `nas|CODE|law_id`."""
        nas, code = self.identity(citizen)
        return hashlib.sha256(f"{nas}|{code}|{law}".encode()).hexdigest()

    def election_hash(self, citizen: int) -> str:
        """SHA-256 of nas and code."""
        nas, code = self.identity(citizen)
        return hashlib.sha256(f"{nas}{code}".encode()).hexdigest()

    def roll(self) -> Iterator[str]:
        """Every hash on the roll, once."""
        for citizen in range(self.plan.citizens):
            for law in self._laws:
                yield self.law_hash(citizen, law)
            if self.plan.candidates:
                yield self.election_hash(citizen)

    def law_ballot(self, pair: int, choice: str) -> SyntheticBallot:
        """Ballot number `pair`: every citizen once per law."""
        citizen, law = divmod(pair, self.plan.laws)
        return self._ballot(citizen, self._laws[law], choice)

    def unknown_ballot(self, number: int, choice: str) -> SyntheticBallot:
        """Ballot of a person who is not on the roll."""
        law = self._laws[number % self.plan.laws]
        return self._ballot(_STRANGERS + number, law, choice)

    def candidate_ballot(self, citizen: int, choice: str) -> SyntheticBallot:
        """A citizen's ballot in the election assigned to the citizen."""
        nas, code = self.identity(citizen)
        contest = ELECTIONS[citizen % len(ELECTIONS)]
        return SyntheticBallot(
            self.election_hash(citizen), nas, code, f"citizen-{citizen}", contest, choice
        )

    def _ballot(self, citizen: int, law: str, choice: str) -> SyntheticBallot:
        nas, code = self.identity(citizen)
        digest = hashlib.sha256(f"{nas}|{code}|{law}".encode()).hexdigest()
        return SyntheticBallot(digest, nas, code, f"citizen-{citizen}", law, choice)


def stored_hash(ballot: SyntheticBallot) -> str:
    """Unique id of a voter in a contest: for a law the hash itself, which covers the law."""
    if ballot.contest.startswith("election:"):
        text = b"contest\0" + ballot.contest.encode() + b"\0" + ballot.hash.encode()
        return hashlib.sha256(text).hexdigest()
    return ballot.hash
