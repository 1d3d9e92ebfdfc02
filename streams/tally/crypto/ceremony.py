"""The key ceremony: guardians create the joint key and exchange backups ("Key generation").

Guardian i has a secret polynomial P_i of degree k - 1; its key is g^{P_i(0)}, and guardian l
receives P_i(l), encrypted, so that any k of them can replace i.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec
from gmpy2 import mpz

from streams.tally.crypto.elgamal import HashedCiphertext, hashed_decrypt, hashed_encrypt
from streams.tally.crypto.group import (
    ONE,
    G,
    P,
    Q,
    power,
    product,
    random_exponent,
    secret_power,
    to_hex,
)
from streams.tally.crypto.hashing import hash_elements
from streams.tally.crypto.schnorr import SchnorrProof, prove_key
from streams.tally.refusals import RefusalCheck, Refused, plain_name, require

MAX_ORDER = 65_535
"""Highest number of a guardian. Its powers are part of many computations."""
_BACKUP_BYTES = 512
_LENGTH_BYTES = 2


class GuardianKey(msgspec.Struct, frozen=True):
    """The public part of a guardian's key."""

    owner_id: str
    sequence_order: int
    """l, from 1: the point at which the others' polynomials are evaluated for its backups."""
    key: mpz
    """K_i = g^{a_i0}"""
    coefficient_commitments: list[mpz]
    """K_ij = g^{a_ij}"""
    coefficient_proofs: list[SchnorrProof]


class GuardianSecret(msgspec.Struct, frozen=True):
    """The secret part of a guardian's key."""

    owner_id: str
    sequence_order: int
    coefficients: list[mpz]
    """a_ij; the first is the secret key."""

    def __repr__(self) -> str:
        return f"GuardianSecret({self.owner_id!r}, …)"

    @property
    def key(self) -> mpz:
        """s_i = a_i0"""
        return self.coefficients[0]


class Backup(msgspec.Struct, frozen=True):
    """P_i(l), encrypted for guardian l."""

    owner_id: str
    designated_id: str
    designated_sequence_order: int
    encrypted_coordinate: HashedCiphertext


def make_guardian(
    owner_id: str, sequence_order: int, quorum: int
) -> tuple[GuardianSecret, GuardianKey]:
    """Create a random polynomial with proofs that its coefficients are known."""
    coefficients = [random_exponent() for _ in range(quorum)]
    commitments = [secret_power(G, coefficient) for coefficient in coefficients]
    proofs = [
        prove_key(coefficient, commitment, random_exponent())
        for coefficient, commitment in zip(coefficients, commitments, strict=True)
    ]
    public = GuardianKey(owner_id, sequence_order, commitments[0], commitments, proofs)
    return GuardianSecret(owner_id, sequence_order, coefficients), public


def verify_guardians(keys: Sequence[GuardianKey], quorum: int) -> None:
    """Check names, numbers and every proof.

    Raises:
        Refused: `guardians`, `key`, or a check of :class:`SchnorrProof`.
    """
    orders = [key.sequence_order for key in keys]
    require(
        len({key.owner_id for key in keys}) == len(keys) == len(set(orders))
        and all(1 <= order <= MAX_ORDER for order in orders)
        # Files are called after guardians.
        and all(plain_name(key.owner_id) and "/" not in key.owner_id for key in keys),
        RefusalCheck.GUARDIANS,
        f"guardians' names or numbers are not unique, not printable, or not 1 to {MAX_ORDER}",
    )
    for key in keys:
        where = {"guardian": key.owner_id}
        require(
            len(key.coefficient_commitments) == len(key.coefficient_proofs) == quorum
            and key.key == key.coefficient_commitments[0],
            RefusalCheck.KEY,
            "a guardian's key and commitments do not match the quorum",
            **where,
        )
        for commitment, proof in zip(
            key.coefficient_commitments, key.coefficient_proofs, strict=True
        ):
            try:
                proof.verify(commitment)
            except Refused as refused:
                raise Refused(refused.check, refused.what, where=dict(where)) from refused


def joint_key(keys: Sequence[GuardianKey]) -> tuple[mpz, mpz]:
    """K = prod K_i, and the hash of all commitments, guardians in order of their numbers."""
    ordered = sorted(keys, key=lambda key: key.sequence_order)
    commitments = [commitment for key in ordered for commitment in key.coefficient_commitments]
    return product([key.key for key in ordered]), hash_elements(commitments)


def make_backup(secret: GuardianSecret, receiver: GuardianKey) -> Backup:
    """Encrypt P_i(l) for guardian l."""
    text = json.dumps({"coordinate": to_hex(coordinate(secret, receiver.sequence_order))}).encode()
    padding = _BACKUP_BYTES - _LENGTH_BYTES - len(text)
    message = padding.to_bytes(_LENGTH_BYTES) + text + bytes(padding)
    encrypted = hashed_encrypt(message, random_exponent(), receiver.key, _seed(receiver))
    return Backup(secret.owner_id, receiver.owner_id, receiver.sequence_order, encrypted)


def open_backup(backup: Backup, receiver: GuardianSecret, owner: GuardianKey) -> mpz:
    """Decrypt P_i(l) and check that g^{P_i(l)} = prod K_ij^{l^j}.

    Raises:
        Refused: `backup`, `subgroup`.
    """
    where: dict[str, object] = {"owner": owner.owner_id, "guardian": receiver.owner_id}
    require(
        (backup.owner_id, backup.designated_id, backup.designated_sequence_order)
        == (owner.owner_id, receiver.owner_id, receiver.sequence_order),
        RefusalCheck.BACKUP,
        "a backup is from or for another guardian",
        **where,
    )
    message = hashed_decrypt(
        backup.encrypted_coordinate, receiver.key, _seed(receiver), length_bytes=_BACKUP_BYTES
    )
    try:
        padding = int.from_bytes(message[:_LENGTH_BYTES])
        content = json.loads(message[_LENGTH_BYTES : _BACKUP_BYTES - padding])
        value = mpz(content["coordinate"], 16)
    except (ValueError, KeyError, TypeError) as error:
        raise Refused(RefusalCheck.BACKUP, "a backup holds no coordinate", where=where) from error
    require(
        bool(0 <= value < Q)
        and secret_power(G, value) == recovery_key(owner, receiver.sequence_order),
        RefusalCheck.BACKUP,
        "a backup is not on its owner's polynomial",
        **where,
    )
    return value


def coordinate(secret: GuardianSecret, order: int) -> mpz:
    """P_i(order) mod q."""
    value = mpz(0)
    for coefficient in reversed(secret.coefficients):
        value = (value * order + coefficient) % Q
    return value


def recovery_key(owner: GuardianKey, order: int) -> mpz:
    """g^{P_i(l)} from public values: prod K_ij^{l^j} over j."""
    result = ONE
    for index, commitment in enumerate(owner.coefficient_commitments):
        result = result * power(commitment, pow(mpz(order), index, Q)) % P
    return result


def _seed(receiver: GuardianKey | GuardianSecret) -> mpz:
    return hash_elements(receiver.owner_id, receiver.sequence_order)
