"""The documents of a record of ElectionGuard 2; bytes are Base64."""

from __future__ import annotations

import msgspec


class Config(msgspec.Struct, frozen=True):
    """`election_config.json`."""

    number_of_guardians: int
    quorum: int
    parameter_base_hash: bytes
    manifest_hash: bytes
    election_base_hash: bytes
    chain_confirmation_codes: bool = False
    baux0: bytes = b""


class CoefficientProof(msgspec.Struct, frozen=True):
    """That a guardian knows a coefficient of its polynomial."""

    public_key: bytes
    challenge: bytes
    response: bytes


class SecondGuardian(msgspec.Struct, frozen=True):
    """A guardian's keys."""

    guardian_id: str
    x_coordinate: int
    coefficient_proofs: list[CoefficientProof]


class Initialized(msgspec.Struct, frozen=True):
    """`election_initialized.json`."""

    joint_public_key: bytes
    extended_base_hash: bytes
    guardians: list[SecondGuardian]


class SecondSelection(msgspec.Struct, frozen=True):
    """A line of a contest."""

    object_id: str
    sequence_order: int


class SecondContest(msgspec.Struct, frozen=True):
    """A contest."""

    object_id: str
    sequence_order: int
    electoral_district_id: str
    ballot_selections: list[SecondSelection]
    votes_allowed: int = 1
    option_selection_limit: int = 1


class SecondStyle(msgspec.Struct, frozen=True):
    """A kind of ballot."""

    object_id: str
    geopolitical_unit_ids: list[str]


class SecondManifest(msgspec.Struct, frozen=True):
    """The part of a manifest that proofs are about; its hash is that of the file."""

    election_scope_id: str
    ballot_styles: list[SecondStyle]
    contests: list[SecondContest]


class SecondPair(msgspec.Struct, frozen=True):
    """A ciphertext."""

    pad: bytes
    data: bytes


class SecondAnswer(msgspec.Struct, frozen=True):
    """A challenge with its response."""

    challenge: bytes
    response: bytes


class RangeProof(msgspec.Struct, frozen=True):
    """That a ciphertext holds 0 to a limit: one answer for each of these numbers."""

    proofs: list[SecondAnswer]


class EncryptedLine(msgspec.Struct, frozen=True):
    """A line of a ballot."""

    selection_id: str
    sequence_order: int
    encrypted_vote: SecondPair
    proof: RangeProof


class HashedPair(msgspec.Struct, frozen=True):
    """Encrypted notes on a contest."""

    c0: bytes
    c1: bytes
    c2: bytes


class EncryptedPart(msgspec.Struct, frozen=True):
    """A contest of a ballot."""

    contest_id: str
    sequence_order: int
    contest_hash: bytes
    selections: list[EncryptedLine]
    proof: RangeProof
    encrypted_contest_data: HashedPair


class SecondBallot(msgspec.Struct, frozen=True):
    """An encrypted ballot."""

    ballot_id: str
    ballot_style_id: str
    encrypting_device: str
    code_baux: str
    """Hexadecimal."""
    confirmation_code: bytes
    election_id: bytes
    contests: list[EncryptedPart]
    state: str
    is_preencrypt: bool = False


class Chain(msgspec.Struct, frozen=True):
    """`ballot_chain.json` of a device."""

    ballot_ids: list[str]
    closing_hash: bytes


class SummedLine(msgspec.Struct, frozen=True):
    """A line of the encrypted tally."""

    selection_id: str
    encrypted_vote: SecondPair


class SummedPart(msgspec.Struct, frozen=True):
    """A contest of the encrypted tally."""

    contest_id: str
    selections: list[SummedLine]


class SecondTally(msgspec.Struct, frozen=True):
    """`encrypted_tally.json`."""

    contests: list[SummedPart]
    cast_ballot_ids: list[str]
    election_id: bytes


class DecryptedLine(msgspec.Struct, frozen=True):
    """A decrypted line."""

    selection_id: str
    tally: int
    b_over_m: bytes
    encrypted_vote: SecondPair
    proof: SecondAnswer


class DecryptedNotes(msgspec.Struct, frozen=True):
    """Decrypted notes on a contest of a challenged ballot."""

    encrypted_contest_data: HashedPair
    proof: SecondAnswer
    beta: bytes


class DecryptedPart(msgspec.Struct, frozen=True):
    """A decrypted contest."""

    contest_id: str
    selections: list[DecryptedLine]
    decrypted_contest_data: DecryptedNotes | None = None


class Decrypted(msgspec.Struct, frozen=True):
    """`tally.json`, or a challenged ballot."""

    id: str
    contests: list[DecryptedPart]
    election_id: bytes
