"""Encrypted ballots: their submitted form, and encryption ("Ballot encryption")."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Final

import msgspec
from gmpy2 import mpz

from streams.tally.crypto.chaum_pedersen import (
    ConstantProof,
    DisjunctiveProof,
    prove_selection,
    prove_sum,
)
from streams.tally.crypto.documents import plain_json
from streams.tally.crypto.election import CryptoContest, CryptoElection, Line
from streams.tally.crypto.elgamal import Ciphertext, HashedCiphertext, accumulate, encrypt
from streams.tally.crypto.group import G, Q, fixed_base, random_exponent
from streams.tally.crypto.hashing import hash_elements, nonce
from streams.tally.refusals import RefusalCheck, require

_POWERS_OF_A_LINE: Final = 4
"""Of g; the key has one less."""


class BallotState(IntEnum):
    """What the voter did with the ballot."""

    CAST = 1
    SPOILED = 2
    UNKNOWN = 999


class EncryptedSelection(msgspec.Struct, frozen=True):
    """One line: an encryption of 0 or 1."""

    object_id: str
    sequence_order: int
    description_hash: mpz
    ciphertext: Ciphertext
    crypto_hash: mpz
    """H(id, description hash, H(alpha, beta))"""
    is_placeholder_selection: bool = False
    nonce: mpz | None = None
    """Always absent; declared so that a selection that reveals it can be refused."""
    proof: DisjunctiveProof | None = None


class EncryptedContest(msgspec.Struct, frozen=True):
    """One contest: its lines, placeholders last, add up to its limit."""

    object_id: str
    sequence_order: int
    description_hash: mpz
    ballot_selections: list[EncryptedSelection]
    ciphertext_accumulation: Ciphertext
    crypto_hash: mpz
    """H(id, description hash, selections' hashes in sequence order)"""
    nonce: mpz | None = None
    proof: ConstantProof | None = None
    extended_data: HashedCiphertext | None = None
    """The reference's notes on over- and undervotes; not tallied, and never written here."""


class EncryptedBallot(msgspec.Struct, frozen=True):
    """A submitted ballot."""

    object_id: str
    style_id: str
    manifest_hash: mpz
    code_seed: mpz
    contests: list[EncryptedContest]
    code: mpz
    """The voter's confirmation code: H(seed, time, ballot hash)."""
    timestamp: int
    """Seconds since 1970."""
    crypto_hash: mpz
    """H(id, manifest hash, contests' hashes in sequence order)"""
    nonce: mpz | None = None
    state: BallotState = BallotState.UNKNOWN

    def lines(self) -> dict[str, Ciphertext]:
        """Ciphertexts by selection id, placeholders included."""
        return {
            selection.object_id: selection.ciphertext
            for contest in self.contests
            for selection in contest.ballot_selections
        }


def selection_hash(object_id: str, description_hash: mpz, ciphertext: Ciphertext) -> mpz:
    """H(id, description hash, H(alpha, beta))."""
    return hash_elements(object_id, description_hash, ciphertext.crypto_hash())


def ballot_code(seed: mpz, timestamp_s: int, ballot_hash: mpz) -> mpz:
    """The confirmation code H(seed, time, ballot hash)."""
    return hash_elements(seed, timestamp_s, ballot_hash)


def encrypt_many(election: CryptoElection, ballots: int) -> None:
    """Fit the tables to so many ballots of all contests: at most 660 MiB, in 7 s of a core."""
    lines = sum(len(contest.lines) for contest in election.contests.values())
    for base in (G, election.public_key):
        fixed_base(base).widen(_POWERS_OF_A_LINE * lines * ballots)


def encrypt_ballot(
    election: CryptoElection,
    object_id: str,
    style_id: str,
    choices: Mapping[str, Sequence[str]],
    *,
    state: BallotState = BallotState.CAST,
    code_seed: mpz | None = None,
    timestamp_s: int | None = None,
    master_nonce: mpz | None = None,
) -> EncryptedBallot:
    """Encrypt a voter's choices. Other selections are 0; placeholders take open seats.

    Args:
        choices: ids of the chosen selections by contest.
        code_seed: code of the previous ballot of the same device; manifest hash by default.
        master_nonce: secret from which all nonces of the ballot derive; random by default.

    Raises:
        Refused: `style`, `overvote` or `unknown_choice`.
    """
    contests = election.style(style_id)
    unknown = set(choices) - {contest.object_id for contest in contests}
    require(not unknown, RefusalCheck.UNKNOWN_CHOICE, "a chosen contest is not on the ballot")
    context = election.context
    seed = hash_elements(context.manifest_hash, object_id, master_nonce or random_exponent())
    encrypted = [
        _encrypt_contest(election, contest, choices.get(contest.object_id, ()), seed)
        for contest in contests
    ]
    crypto_hash = hash_elements(
        object_id, context.manifest_hash, *(contest.crypto_hash for contest in encrypted)
    )
    code_seed = context.manifest_hash if code_seed is None else code_seed
    timestamp_s = int(time.time()) if timestamp_s is None else timestamp_s
    code = ballot_code(code_seed, timestamp_s, crypto_hash)
    return EncryptedBallot(
        object_id,
        style_id,
        context.manifest_hash,
        code_seed,
        encrypted,
        code,
        timestamp_s,
        crypto_hash,
        state=state,
    )


def _encrypt_contest(
    election: CryptoElection, contest: CryptoContest, chosen: Sequence[str], ballot_seed: mpz
) -> EncryptedContest:
    ids = {line.object_id for line in contest.real_lines}
    require(set(chosen) <= ids, RefusalCheck.UNKNOWN_CHOICE, "a choice is not on the ballot")
    require(
        len(set(chosen)) == len(chosen) <= contest.limit,
        RefusalCheck.OVERVOTE,
        "more choices than the contest allows",
        contest=contest.object_id,
    )
    seed = nonce(ballot_seed, contest.order, contest.description_hash)
    open_seats = contest.limit - len(chosen)
    selections, secrets = [], []
    for line in contest.lines:
        vote = int(open_seats > 0) if line.placeholder else int(line.object_id in chosen)
        open_seats -= vote if line.placeholder else 0
        secret = nonce(seed, line.order, line.description_hash)
        # A separate seed: the reference's equals the nonce if lines are numbered from 0.
        proof_seed = hash_elements(seed, line.description_hash, "selection-proof")
        selections.append(_encrypt_line(election, line, vote, secret, proof_seed))
        secrets.append(secret)
    total = accumulate(selection.ciphertext for selection in selections)
    proof = prove_sum(
        total,
        contest.limit,
        sum(secrets, mpz(0)) % Q,
        election.public_key,
        election.extended_hash,
        seed=hash_elements(seed, contest.description_hash, "contest-proof"),
    )
    crypto_hash = hash_elements(
        contest.object_id,
        contest.description_hash,
        *(selection.crypto_hash for selection in selections),
    )
    return EncryptedContest(
        contest.object_id,
        contest.order,
        contest.description_hash,
        selections,
        total,
        crypto_hash,
        proof=proof,
    )


def _encrypt_line(
    election: CryptoElection, line: Line, vote: int, secret: mpz, proof_seed: mpz
) -> EncryptedSelection:
    ciphertext = encrypt(vote, secret, election.public_key)
    proof = prove_selection(
        ciphertext, vote, secret, election.public_key, election.extended_hash, seed=proof_seed
    )
    return EncryptedSelection(
        line.object_id,
        line.order,
        line.description_hash,
        ciphertext,
        selection_hash(line.object_id, line.description_hash, ciphertext),
        line.placeholder,
        proof=proof,
    )


def submitted(document: bytes, *, cast: bool = False) -> bytes:
    """The document of a ballot as JSON, from any form that :func:`plain_json` reads.

    Args:
        document: of the ballot.
        cast: whether a ballot that has no state was cast.
    """
    document = plain_json(document)
    if not cast:
        return document
    try:
        fields = msgspec.json.decode(document, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return document
    fields.setdefault("state", msgspec.Raw(b"%d" % BallotState.CAST))
    return msgspec.json.encode(fields)
