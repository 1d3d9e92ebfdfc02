"""A challenged ballot: what a device encrypted is opened, to show that it is what the voter chose.

A device commits to a ballot by its tracking code before it learns whether the voter casts or
challenges it. A device that cheats is caught by every challenge of a wrong ballot, if the opening
is checked on another device. A challenged ballot is spoiled and never cast.
"""

from __future__ import annotations

from typing import Any

import msgspec
from gmpy2 import mpz

from streams.tally.crypto.ballots import BallotState, EncryptedBallot
from streams.tally.crypto.ceremony import GuardianKey, joint_key, verify_guardians
from streams.tally.crypto.documents import from_json, to_json
from streams.tally.crypto.election import Context, CryptoElection
from streams.tally.crypto.elgamal import encrypt
from streams.tally.crypto.group import in_range
from streams.tally.crypto.manifest import Manifest, first_language
from streams.tally.crypto.verify_ballot import verify_ballot
from streams.tally.refusals import RefusalCheck, require
from streams.tally.work import DescribedElection


class Opening(msgspec.Struct, frozen=True):
    """What a ciphertext was made of."""

    vote: int
    nonce: mpz

    def __repr__(self) -> str:
        return "Opening(…)"


class Challenge(msgspec.Struct, frozen=True):
    """A spoiled ballot with the openings of all its lines."""

    ballot: EncryptedBallot
    openings: dict[str, Opening]
    """By selection, placeholders included."""


class Definition(msgspec.Struct, frozen=True):
    """An election as its devices and its voters need it."""

    manifest: Manifest
    context: Context
    guardians: list[GuardianKey]

    def checked(self) -> CryptoElection:
        """The election, whose key follows from its guardians' keys.

        Raises:
            Refused: it does not.
        """
        election = CryptoElection(self.manifest, self.context)
        verify_guardians(self.guardians, self.context.quorum)
        require(
            joint_key(self.guardians) == (election.public_key, self.context.commitment_hash),
            RefusalCheck.KEY,
            "the election's key does not follow from its guardians' keys",
        )
        return election


def definition_of(described: DescribedElection) -> dict[str, Any]:
    """An election as JSON: what :class:`Definition` reads, and the lines of each ballot style."""
    definition = Definition(
        from_json(Manifest, described.manifest),
        from_json(Context, described.context),
        from_json(list[GuardianKey], described.guardians),
    )
    election = CryptoElection(definition.manifest, definition.context)
    names = _names(election)
    styles = [
        {
            "id": style.object_id,
            "contests": [
                {
                    "id": contest.object_id,
                    "name": names[contest.object_id],
                    "order": contest.order,
                    "limit": contest.limit,
                    "hash": contest.description_hash,
                    "lines": [
                        {
                            "id": line.object_id,
                            "name": names.get(line.object_id, ""),
                            "order": line.order,
                            "hash": line.description_hash,
                            "placeholder": line.placeholder,
                        }
                        for line in contest.lines
                    ],
                }
                for contest in election.style(style.object_id)
            ],
        }
        for style in definition.manifest.ballot_styles
    ]
    shown: dict[str, Any] = msgspec.json.decode(
        to_json({**msgspec.structs.asdict(definition), "styles": styles})
    )
    return shown


def verify_challenge(challenge: Challenge, election: CryptoElection) -> dict[str, list[str]]:
    """Check a ballot with all its proofs, and that the openings are those of its ciphertexts.

    Returns:
        Names of the chosen lines by contest.

    Raises:
        Refused: `state`, if the ballot is not spoiled; `nonce`, if an opening is missing or is that
            of another ciphertext; or a check of the ballot.
    """
    ballot = challenge.ballot
    require(
        ballot.state == BallotState.SPOILED,
        RefusalCheck.STATE,
        "a challenged ballot is not spoiled",
        ballot=ballot.object_id,
    )
    verify_ballot(ballot, election)
    lines = ballot.lines()
    require(
        challenge.openings.keys() == lines.keys(),
        RefusalCheck.NONCE,
        "the openings are not those of the ballot's selections",
        ballot=ballot.object_id,
    )
    for name, ciphertext in lines.items():
        opening = challenge.openings[name]
        require(
            in_range(opening.nonce)
            and opening.vote in (0, 1)
            and encrypt(opening.vote, opening.nonce, election.public_key) == ciphertext,
            RefusalCheck.NONCE,
            "an opening is not that of its ciphertext",
            ballot=ballot.object_id,
            selection=name,
        )
    names = _names(election)
    return {
        names[contest.object_id]: [
            names[line.object_id]
            for line in contest.real_lines
            if challenge.openings[line.object_id].vote
        ]
        for contest in election.style(ballot.style_id)
    }


def _names(election: CryptoElection) -> dict[str, str]:
    """What voters read, by contest and by selection; the id where there is no name."""
    manifest = election.manifest
    candidates = {each.object_id: first_language(each.name) for each in manifest.candidates}
    names = {}
    for contest in manifest.contests:
        names[contest.object_id] = contest.name or contest.object_id
        for line in contest.ballot_selections:
            names[line.object_id] = candidates.get(line.candidate_id) or line.object_id
    return names
