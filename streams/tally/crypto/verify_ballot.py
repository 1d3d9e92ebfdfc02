"""Verifies a submitted ballot: form, hashes, code and every proof.

Stricter than the reference, which checks neither the number of votes that a contest's proof is
about, nor additional contests and selections, nor the confirmation code.
"""

from __future__ import annotations

from streams.tally.crypto.ballots import (
    BallotState,
    EncryptedBallot,
    EncryptedContest,
    ballot_code,
    selection_hash,
)
from streams.tally.crypto.election import CryptoContest, CryptoElection
from streams.tally.crypto.elgamal import accumulate
from streams.tally.crypto.hashing import hash_elements
from streams.tally.refusals import RefusalCheck, Refused, plain_name, require


def verify_ballot(ballot: EncryptedBallot, election: CryptoElection) -> None:
    """Verify one ballot completely.

    Raises:
        Refused: with the check and the place (ballot, contest, selection).
    """
    verify_form(ballot, election)
    verify_proofs(ballot, election, powers=True)


def verify_proofs(ballot: EncryptedBallot, election: CryptoElection, *, powers: bool) -> None:
    """Check the proofs of a ballot whose form is right.

    Args:
        powers: check the equations too, not only numbers and challenges.

    Raises:
        Refused: with the check and the place.
    """
    key, extended_hash = election.public_key, election.extended_hash
    for contest, description in zip(ballot.contests, election.style(ballot.style_id), strict=True):
        where: dict[str, object] = {"ballot": ballot.object_id, "contest": contest.object_id}
        try:
            for selection in contest.ballot_selections:
                where["selection"] = selection.object_id
                assert selection.proof is not None
                if powers:
                    selection.proof.verify(selection.ciphertext, key, extended_hash)
                else:
                    selection.proof.verify_challenge(selection.ciphertext, extended_hash)
            del where["selection"]
            assert contest.proof is not None
            total, limit = contest.ciphertext_accumulation, description.limit
            if powers:
                contest.proof.verify(total, limit, key, extended_hash)
            else:
                contest.proof.verify_challenge(total, limit, extended_hash)
        except Refused as refused:
            raise Refused(refused.check, refused.what, where=where) from refused


def verify_form(ballot: EncryptedBallot, election: CryptoElection) -> None:
    """Check all that needs no exponentiation: lines, hashes, code, products, presence of proofs.

    Raises:
        Refused: `format`, `state`, `nonce`, `style`, `hash`, `accumulation`, `equation` or `code`.
    """
    name = ballot.object_id
    require(
        plain_name(name), RefusalCheck.FORMAT, "a ballot's id is empty, too long or not printable"
    )
    contests = election.style(ballot.style_id)
    require(
        ballot.state != BallotState.UNKNOWN,
        RefusalCheck.STATE,
        "a ballot is neither cast nor spoiled",
        ballot=name,
    )
    require(ballot.nonce is None, RefusalCheck.NONCE, "a ballot reveals its nonce", ballot=name)
    require(
        [contest.object_id for contest in ballot.contests]
        == [contest.object_id for contest in contests],
        RefusalCheck.STYLE,
        "a ballot does not have exactly the contests of its style",
        ballot=name,
    )
    for contest, description in zip(ballot.contests, contests, strict=True):
        _verify_contest(contest, description, name)
    expected = hash_elements(
        name, election.context.manifest_hash, *(contest.crypto_hash for contest in ballot.contests)
    )
    require(
        ballot.manifest_hash == election.context.manifest_hash and ballot.crypto_hash == expected,
        RefusalCheck.HASH,
        "a ballot's hash does not match its content",
        ballot=name,
    )
    require(
        ballot.code == ballot_code(ballot.code_seed, ballot.timestamp, ballot.crypto_hash),
        RefusalCheck.CODE,
        "a ballot's code does not match its content",
        ballot=name,
    )


def _verify_contest(contest: EncryptedContest, description: CryptoContest, ballot: str) -> None:
    where: dict[str, object] = {"ballot": ballot, "contest": contest.object_id}
    # The reference lists selections in manifest order and hashes them in sequence order.
    selections = sorted(contest.ballot_selections, key=lambda selection: selection.sequence_order)
    lines = [
        (selection.object_id, selection.sequence_order, selection.is_placeholder_selection)
        for selection in selections
    ]
    require(
        contest.sequence_order == description.order
        and lines == [(line.object_id, line.order, line.placeholder) for line in description.lines],
        RefusalCheck.STYLE,
        "a contest does not have exactly the selections of its description",
        **where,
    )
    require(contest.nonce is None, RefusalCheck.NONCE, "a contest reveals its nonce", **where)
    for selection, line in zip(selections, description.lines, strict=True):
        here = {**where, "selection": selection.object_id}
        require(
            selection.nonce is None, RefusalCheck.NONCE, "a selection reveals its nonce", **here
        )
        require(
            selection.description_hash == line.description_hash
            and selection.crypto_hash
            == selection_hash(line.object_id, line.description_hash, selection.ciphertext),
            RefusalCheck.HASH,
            "a selection's hash does not match its content",
            **here,
        )
        require(
            selection.proof is not None, RefusalCheck.EQUATION, "a selection has no proof", **here
        )
    expected = hash_elements(
        contest.object_id,
        description.description_hash,
        *(selection.crypto_hash for selection in selections),
    )
    require(
        contest.description_hash == description.description_hash
        and contest.crypto_hash == expected,
        RefusalCheck.HASH,
        "a contest's hash does not match its content",
        **where,
    )
    require(contest.proof is not None, RefusalCheck.EQUATION, "a contest has no proof", **where)
    require(
        contest.ciphertext_accumulation
        == accumulate(selection.ciphertext for selection in selections),
        RefusalCheck.ACCUMULATION,
        "a contest's sum is not the product of its selections",
        **where,
    )
