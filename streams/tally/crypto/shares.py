"""Guardians' decryption shares: computed, reconstructed and verified ("Decryption of tallies")."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from gmpy2 import mpz

from streams.tally.crypto.batch import ShareBatch, square_like
from streams.tally.crypto.ceremony import GuardianKey, GuardianSecret, recovery_key
from streams.tally.crypto.chaum_pedersen import ShareProof, prove_share
from streams.tally.crypto.elgamal import Ciphertext
from streams.tally.crypto.group import P, Q, power, random_exponent, secret_power
from streams.tally.crypto.tallies import EncryptedTally
from streams.tally.refusals import RefusalCheck, Refused, require


class CompensatedSelection(msgspec.Struct, frozen=True):
    """A^{P_i(l)}: guardian l's part of the share of the missing guardian i."""

    object_id: str
    guardian_id: str
    missing_guardian_id: str
    share: mpz
    recovery_key: mpz
    proof: ShareProof


class CompensatedContest(msgspec.Struct, frozen=True):
    """A contest's compensated shares."""

    object_id: str
    guardian_id: str
    missing_guardian_id: str
    description_hash: mpz
    selections: dict[str, CompensatedSelection]


class CompensatedShare(msgspec.Struct, frozen=True):
    """Guardian l's parts for the missing guardian i, of one tally."""

    object_id: str
    guardian_id: str
    missing_guardian_id: str
    public_key: mpz
    """The key of guardian l, as in the reference."""
    contests: dict[str, CompensatedContest]


class ShareSelection(msgspec.Struct, frozen=True):
    """M_i = A^{s_i} with its proof, or reconstructed from compensated parts."""

    object_id: str
    guardian_id: str
    share: mpz
    proof: ShareProof | None = None
    recovered_parts: dict[str, CompensatedSelection] | None = None


class ShareContest(msgspec.Struct, frozen=True):
    """A contest's shares."""

    object_id: str
    guardian_id: str
    description_hash: mpz
    selections: dict[str, ShareSelection]


class DecryptionShare(msgspec.Struct, frozen=True):
    """Guardian i's shares of one tally."""

    object_id: str
    guardian_id: str
    public_key: mpz
    contests: dict[str, ShareContest]


def make_share(
    tally: EncryptedTally, secret: GuardianSecret, key: GuardianKey, extended_hash: mpz
) -> DecryptionShare:
    """Compute guardian i's share of every line, with proofs.

    Raises:
        Refused: `subgroup`, for a tally that could reveal a bit of the key.
    """
    _check_group(tally)
    contests = {}
    for name, contest in tally.contests.items():
        selections = {}
        for line, selection in contest.selections.items():
            share, proof = _decrypt(selection.ciphertext, secret.key, extended_hash)
            selections[line] = ShareSelection(line, secret.owner_id, share, proof)
        contests[name] = ShareContest(name, secret.owner_id, contest.description_hash, selections)
    return DecryptionShare(tally.object_id, secret.owner_id, key.key, contests)


def make_compensated_share(
    tally: EncryptedTally,
    coordinate: mpz,
    key: GuardianKey,
    missing: GuardianKey,
    extended_hash: mpz,
) -> CompensatedShare:
    """Compute the shares of guardian `key` for `missing`, with the decrypted backup P_i(l).

    Raises:
        Refused: `subgroup`.
    """
    _check_group(tally)
    recovery = recovery_key(missing, key.sequence_order)
    names = (key.owner_id, missing.owner_id)
    contests = {}
    for name, contest in tally.contests.items():
        selections = {}
        for line, selection in contest.selections.items():
            share, proof = _decrypt(selection.ciphertext, coordinate, extended_hash)
            selections[line] = CompensatedSelection(line, *names, share, recovery, proof)
        contests[name] = CompensatedContest(name, *names, contest.description_hash, selections)
    return CompensatedShare(tally.object_id, *names, key.key, contests)


def _check_group(tally: EncryptedTally) -> None:
    """Check that a share reveals nothing about the key beyond the share itself.

    p - 1 is 2 q times a prime of 3840 bits. A component of order 2 would reveal whether the key is
    odd, and squares have none; in a component of either large order the discrete logarithm is
    equally hard. The combination checks that the pads have order q, with the shares.
    """
    pads = [ciphertext.pad for ciphertext in tally.lines().values()]
    require(all(map(square_like, pads)), RefusalCheck.SUBGROUP, "a tally is outside the group")


def _decrypt(message: Ciphertext, secret: mpz, extended_hash: mpz) -> tuple[mpz, ShareProof]:
    share = secret_power(message.pad, secret)
    return share, prove_share(message, share, secret, extended_hash, random_exponent())


def verify_share(
    share: DecryptionShare, tally: EncryptedTally, key: GuardianKey, extended_hash: mpz
) -> None:
    """Check that a guardian's share is complete and made with its key.

    Raises:
        Refused: `share`, or a check of :class:`ShareProof`, with guardian and selection.
    """
    require(
        share.guardian_id == key.owner_id and share.public_key == key.key,
        RefusalCheck.SHARE,
        "a share is from another guardian",
        guardian=key.owner_id,
    )
    _same_lines(share, tally)
    claims = []
    for contest in share.contests.values():
        for name, selection in contest.selections.items():
            message = tally.contests[contest.object_id].selections[name].ciphertext
            where = {"guardian": key.owner_id, "selection": name}
            require(
                selection.guardian_id == key.owner_id and selection.recovered_parts is None,
                RefusalCheck.SHARE,
                "a share is from another guardian",
                **where,
            )
            claims.append(_Claim(selection.proof, message, key.key, selection.share, where))
    _verify(claims, extended_hash)


def verify_compensated_share(
    share: CompensatedShare,
    tally: EncryptedTally,
    key: GuardianKey,
    missing: GuardianKey,
    extended_hash: mpz,
) -> None:
    """Check that a guardian's share for a missing one is complete and made with its backup.

    Raises:
        Refused: `share`, `key`, or a check of :class:`ShareProof`, with guardians and selection.
    """
    require(
        (share.guardian_id, share.missing_guardian_id, share.public_key)
        == (key.owner_id, missing.owner_id, key.key),
        RefusalCheck.SHARE,
        "a share is from or for another guardian",
        guardian=key.owner_id,
        missing=missing.owner_id,
    )
    _same_lines(share, tally)
    recovery = recovery_key(missing, key.sequence_order)
    claims = []
    for contest in share.contests.values():
        for name, part in contest.selections.items():
            message = tally.contests[contest.object_id].selections[name].ciphertext
            where = {"guardian": key.owner_id, "missing": missing.owner_id, "selection": name}
            require(
                (part.guardian_id, part.missing_guardian_id) == (key.owner_id, missing.owner_id),
                RefusalCheck.SHARE,
                "a share is from or for another guardian",
                **where,
            )
            require(
                part.recovery_key == recovery,
                RefusalCheck.KEY,
                "a recovery key does not follow from the missing guardian's commitments",
                **where,
            )
            claims.append(_Claim(part.proof, message, recovery, part.share, where))
    _verify(claims, extended_hash)


class _Claim(NamedTuple):
    """The claim that a share was made with a key, and its place for messages."""

    proof: ShareProof | None
    message: Ciphertext
    key: mpz
    share: mpz
    where: dict[str, str]


def _verify(claims: Sequence[_Claim], extended_hash: mpz) -> None:
    """Check proofs in one batch, and one by one if that fails."""
    if not _verify_batch(claims, extended_hash):
        for proof, message, key, share, where in claims:
            if proof is None:
                raise Refused(RefusalCheck.EQUATION, "a share has no proof", where=dict(where))
            try:
                proof.verify(message, key, share, extended_hash)
            except Refused as refused:
                raise Refused(refused.check, refused.what, where=dict(where)) from refused


def _verify_batch(claims: Sequence[_Claim], extended_hash: mpz) -> bool:
    batch = ShareBatch(extended_hash)
    try:
        for proof, message, key, share, _ in claims:
            if proof is None:
                return False
            batch.add(message, key, share, proof)
    except Refused:
        return False
    return batch.holds()


def _same_lines(share: DecryptionShare | CompensatedShare, tally: EncryptedTally) -> None:
    expected = [
        (tally.object_id, contest.object_id, contest.description_hash, line)
        for contest in tally.contests.values()
        for line in contest.selections
    ]
    found = [
        (share.object_id, contest.object_id, contest.description_hash, line)
        for contest in share.contests.values()
        for line in contest.selections
    ]
    require(
        sorted(expected) == sorted(found)
        and all(key == contest.object_id for key, contest in share.contests.items())
        and all(
            name == selection.object_id
            for contest in share.contests.values()
            for name, selection in contest.selections.items()
        ),
        RefusalCheck.SHARE,
        "a share does not have exactly this tally's selections",
        guardian=share.guardian_id,
        tally=tally.object_id,
    )


def lagrange(order: int, others: Sequence[int]) -> mpz:
    """w_l = prod j / (j - l) mod q over the other available guardians' numbers j."""
    numerator = denominator = mpz(1)
    for other in others:
        numerator = numerator * other % Q
        denominator = denominator * (other - order) % Q
    return numerator * pow(denominator, -1, Q) % Q


def reconstruct_share(
    tally: EncryptedTally,
    missing: GuardianKey,
    parts: Sequence[CompensatedShare],
    keys: Sequence[GuardianKey],
) -> DecryptionShare:
    """Reconstruct a missing guardian's share from verified parts: M_i = prod M_{i,l}^{w_l}.

    Args:
        keys: the guardians of the parts, at least a quorum.
    """
    orders = {key.owner_id: key.sequence_order for key in keys}
    weights = {
        part.guardian_id: lagrange(
            orders[part.guardian_id],
            [order for name, order in orders.items() if name != part.guardian_id],
        )
        for part in parts
    }
    contests = {}
    for name, contest in tally.contests.items():
        selections = {}
        for line in contest.selections:
            pieces = {part.guardian_id: part.contests[name].selections[line] for part in parts}
            share = mpz(1)
            for guardian, piece in pieces.items():
                share = share * power(piece.share, weights[guardian]) % P
            selections[line] = ShareSelection(line, missing.owner_id, share, recovered_parts=pieces)
        contests[name] = ShareContest(name, missing.owner_id, contest.description_hash, selections)
    return DecryptionShare(tally.object_id, missing.owner_id, missing.key, contests)
