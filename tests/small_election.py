"""Small encrypted elections with everything in them, secrets too."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from streams.tally.crypto.ballots import BallotState, EncryptedBallot, encrypt_ballot
from streams.tally.crypto.ceremony import (
    GuardianKey,
    GuardianSecret,
    joint_key,
    make_backup,
    make_guardian,
    open_backup,
)
from streams.tally.crypto.documents import from_json, to_json
from streams.tally.crypto.election import CryptoElection, make_context
from streams.tally.crypto.manifest import Manifest
from streams.tally.crypto.shares import (
    CompensatedShare,
    DecryptionShare,
    make_compensated_share,
    make_share,
)
from streams.tally.crypto.tallies import Accumulator, BallotLines, EncryptedTally


@dataclass
class Voting:
    """An election and what its votes are; ballots come one at a time."""

    election: CryptoElection
    secrets: list[GuardianSecret]
    keys: list[GuardianKey]
    rng: random.Random
    counts: dict[str, int] = field(default_factory=dict)
    """Of the ballots cast so far, by selection."""
    spoiled_counts: dict[str, dict[str, int]] = field(default_factory=dict)
    """By spoiled ballot."""

    def ballots(self, *, cast: int, spoiled: int = 0) -> Iterator[EncryptedBallot]:
        """Random votes, undervotes among them, of the first ballot style."""
        style = self.election.manifest.ballot_styles[0].object_id
        for number in range(cast + spoiled):
            choices = {
                name: self.rng.sample(
                    [line.object_id for line in contest.real_lines],
                    self.rng.randint(0, contest.limit),
                )
                for name, contest in self.election.contests.items()
            }
            state = BallotState.CAST if number < cast else BallotState.SPOILED
            name = f"ballot-{number}"
            ballot = encrypt_ballot(self.election, name, style, choices, state=state)
            chosen = {line for lines in choices.values() for line in lines}
            votes = {line: int(line in chosen) for line in self.election.line_names}
            if state == BallotState.CAST:
                self.counts = {line: self.counts.get(line, 0) + votes[line] for line in votes}
            else:
                self.spoiled_counts[name] = votes
            yield ballot

    def shares(
        self, tally: EncryptedTally, present: Sequence[int]
    ) -> tuple[list[DecryptionShare], list[CompensatedShare]]:
        """Shares of these guardians, and what they give for the others."""
        extended_hash = self.election.extended_hash
        shares, compensated = [], []
        for index in present:
            secret, key = self.secrets[index], self.keys[index]
            shares.append(make_share(tally, secret, key, extended_hash))
            for missing, owner in enumerate(self.keys):
                if missing not in present:
                    backup = make_backup(self.secrets[missing], key)
                    coordinate = open_backup(backup, secret, owner)
                    compensated.append(
                        make_compensated_share(tally, coordinate, key, owner, extended_hash)
                    )
        return shares, compensated


@dataclass
class SmallElection:
    """An election whose ballots are in memory, and their product."""

    voting: Voting
    ballots: list[EncryptedBallot]
    tally: EncryptedTally

    @property
    def election(self) -> CryptoElection:
        """Manifest and context."""
        return self.voting.election

    @property
    def secrets(self) -> list[GuardianSecret]:
        """Of all guardians."""
        return self.voting.secrets

    @property
    def keys(self) -> list[GuardianKey]:
        """Of all guardians."""
        return self.voting.keys

    @property
    def counts(self) -> dict[str, int]:
        """Of the cast ballots, by selection."""
        return self.voting.counts

    @property
    def spoiled_counts(self) -> dict[str, dict[str, int]]:
        """By spoiled ballot."""
        return self.voting.spoiled_counts

    def shares(
        self, tally: EncryptedTally, present: Sequence[int]
    ) -> tuple[list[DecryptionShare], list[CompensatedShare]]:
        """Shares of these guardians, and what they give for the others."""
        return self.voting.shares(tally, present)


def begin_election(
    manifest: Manifest, rng: random.Random, *, guardians: int, quorum: int
) -> Voting:
    """Make the keys."""
    pairs = [make_guardian(f"guardian-{i}", i, quorum) for i in range(1, guardians + 1)]
    keys = [key for _, key in pairs]
    public_key, commitment_hash = joint_key(keys)
    context = make_context(
        manifest, public_key, commitment_hash, guardians=guardians, quorum=quorum
    )
    election = CryptoElection(manifest, context)
    voting = Voting(election, [secret for secret, _ in pairs], keys, rng)
    voting.counts = dict.fromkeys(election.line_names, 0)
    return voting


def make_election(
    manifest: Manifest,
    rng: random.Random,
    *,
    guardians: int,
    quorum: int,
    cast: int,
    spoiled: int,
) -> SmallElection:
    """Hold a small election."""
    voting = begin_election(manifest, rng, guardians=guardians, quorum=quorum)
    accumulator, ballots = Accumulator(voting.election), []
    for ballot in voting.ballots(cast=cast, spoiled=spoiled):
        ballots.append(ballot)
        if ballot.state == BallotState.CAST:
            accumulator.add(from_json(BallotLines, to_json(ballot)).lines())
    return SmallElection(voting, ballots, accumulator.result("tally"))
