"""Small encrypted elections with everything in them, secrets too."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from streams.tally.crypto.ballots import Ballot, BallotState, encrypt_ballot
from streams.tally.crypto.ceremony import (
    GuardianKey,
    GuardianSecret,
    joint_key,
    make_backup,
    make_guardian,
    open_backup,
)
from streams.tally.crypto.documents import from_json, to_json
from streams.tally.crypto.election import Election, make_context
from streams.tally.crypto.manifest import Manifest
from streams.tally.crypto.shares import (
    CompensatedShare,
    Share,
    make_compensated_share,
    make_share,
)
from streams.tally.crypto.tallies import Accumulator, BallotLines, EncryptedTally


@dataclass
class SmallElection:
    """An election and what its votes were."""

    election: Election
    secrets: list[GuardianSecret]
    keys: list[GuardianKey]
    ballots: list[Ballot]
    tally: EncryptedTally
    counts: dict[str, int]
    """Of the cast ballots, by selection."""
    spoiled_counts: dict[str, dict[str, int]]
    """By spoiled ballot."""

    def shares(
        self, tally: EncryptedTally, present: Sequence[int]
    ) -> tuple[list[Share], list[CompensatedShare]]:
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


def make_election(
    manifest: Manifest,
    rng: random.Random,
    *,
    guardians: int,
    quorum: int,
    cast: int,
    spoiled: int,
) -> SmallElection:
    """Hold an election: random votes, undervotes among them, of the first ballot style."""
    pairs = [make_guardian(f"guardian-{i}", i, quorum) for i in range(1, guardians + 1)]
    keys = [key for _, key in pairs]
    public_key, commitment_hash = joint_key(keys)
    context = make_context(
        manifest, public_key, commitment_hash, guardians=guardians, quorum=quorum
    )
    election = Election(manifest, context)
    style = manifest.ballot_styles[0].object_id
    accumulator, ballots = Accumulator(election), []
    lines = [line.object_id for c in election.contests.values() for line in c.real_lines]
    counts, spoiled_counts = dict.fromkeys(lines, 0), {}
    for number in range(cast + spoiled):
        choices = {
            name: rng.sample(
                [line.object_id for line in contest.real_lines], rng.randint(0, contest.limit)
            )
            for name, contest in election.contests.items()
        }
        state = BallotState.CAST if number < cast else BallotState.SPOILED
        ballot = encrypt_ballot(election, f"ballot-{number}", style, choices, state=state)
        ballots.append(ballot)
        chosen = [name for names in choices.values() for name in names]
        if state == BallotState.CAST:
            accumulator.add(from_json(BallotLines, to_json(ballot)).lines())
            for name in chosen:
                counts[name] += 1
        else:
            spoiled_counts[ballot.object_id] = {name: int(name in chosen) for name in lines}
    return SmallElection(
        election,
        [secret for secret, _ in pairs],
        keys,
        ballots,
        accumulator.result("tally"),
        counts,
        spoiled_counts,
    )
