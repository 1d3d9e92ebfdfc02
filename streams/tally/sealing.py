"""Guardians' secrets at rest: sealed to the workers' key, or locked with a passphrase.

No message, log line or table holds a secret in plain text. PyNaCl (libsodium) does the encryption.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from gmpy2 import mpz
from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox
from nacl.pwhash import argon2id
from nacl.secret import SecretBox

from streams.errors import SettingsError
from streams.tally.crypto.ceremony import GuardianKey, GuardianSecret
from streams.tally.crypto.documents import from_json, to_json
from streams.tally.crypto.group import G, secret_power
from streams.tally.refusals import RefusalCheck, Refused, require

_MODE = 0o600


class _Bound(msgspec.Struct, frozen=True):
    """A secret and its election."""

    election_id: str
    secret: GuardianSecret


class Locked(msgspec.Struct, frozen=True):
    """A guardian's own file: the secret, encrypted with a key that Argon2id derives from the
    passphrase."""

    election_id: str
    guardian_id: str
    salt: str
    box: str


def seal(secret: GuardianSecret, election_id: str, workers_key: str) -> bytes:
    """Seal a secret to the public key `workers_key` (hex).

    Raises:
        Refused: `key`, if that is not a public key.
    """
    try:
        box = SealedBox(PublicKey(bytes.fromhex(workers_key)))
    except (ValueError, CryptoError, TypeError) as error:
        raise Refused(RefusalCheck.KEY, "the workers' public key is not 64 hex digits") from error
    return box.encrypt(to_json(_Bound(election_id, secret)))


def open_sealed(
    sealed: bytes, key_file: Path, election_id: str, key: GuardianKey
) -> GuardianSecret:
    """Open a sealed secret, and check that it belongs to this guardian and election.

    Raises:
        Refused: `secret`.
        SettingsError: the workers' key file cannot be read.
    """
    try:
        bound = from_json(_Bound, SealedBox(read_key_file(key_file)).decrypt(sealed))
    except (CryptoError, Refused):
        # The error's text must not quote the content.
        raise Refused(
            RefusalCheck.SECRET,
            "a sealed secret cannot be opened",
            where={"guardian": key.owner_id},
            todo="Seal it to the public key that `scrutin guardian workers-key` shows",
        ) from None
    _check(bound, election_id, key)
    return bound.secret


def lock(secret: GuardianSecret, election_id: str, passphrase: str) -> Locked:
    """Lock a secret with a passphrase; deliberately takes about a second and 64 MiB."""
    salt = os.urandom(argon2id.SALTBYTES)
    box = SecretBox(_passphrase_key(passphrase, salt))
    text = box.encrypt(to_json(_Bound(election_id, secret)))
    return Locked(election_id, secret.owner_id, salt.hex(), text.hex())


def unlock(locked: Locked, passphrase: str, key: GuardianKey) -> GuardianSecret:
    """Open a guardian's file.

    Raises:
        Refused: `secret`, if the passphrase is wrong or the file belongs to another guardian.
    """
    try:
        box = SecretBox(_passphrase_key(passphrase, bytes.fromhex(locked.salt)))
        bound = from_json(_Bound, box.decrypt(bytes.fromhex(locked.box)))
    except (CryptoError, Refused, ValueError, TypeError):
        raise Refused(
            RefusalCheck.SECRET,
            "the guardian's file cannot be opened with this passphrase",
            where={"guardian": locked.guardian_id},
        ) from None
    _check(bound, locked.election_id, key)
    return bound.secret


def _check(bound: _Bound, election_id: str, key: GuardianKey) -> None:
    secret = bound.secret
    require(
        bound.election_id == election_id
        and (secret.owner_id, secret.sequence_order) == (key.owner_id, key.sequence_order)
        and bool(secret.coefficients)
        and secret_power(G, mpz(secret.key)) == key.key,
        RefusalCheck.SECRET,
        "a secret belongs to another guardian or election",
        guardian=key.owner_id,
    )


def _passphrase_key(passphrase: str, salt: bytes) -> bytes:
    return argon2id.kdf(
        SecretBox.KEY_SIZE,
        passphrase.encode(),
        salt,
        opslimit=argon2id.OPSLIMIT_INTERACTIVE,
        memlimit=argon2id.MEMLIMIT_INTERACTIVE,
    )


def make_key_file(path: Path) -> str:
    """Create the workers' private key, readable by its owner only; returns the public key in hex.

    Raises:
        SettingsError: the file exists already or cannot be written.
    """
    key = PrivateKey.generate()
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE)
    except OSError as error:
        raise SettingsError(
            f"The workers' key cannot be written: {error.strerror}",
            where={"file": path},
            todo="Keep an old key: secrets that are sealed to it need it",
        ) from error
    with os.fdopen(handle, "w") as file:
        file.write(bytes(key).hex() + "\n")
    return bytes(key.public_key).hex()


def read_key_file(path: Path) -> PrivateKey:
    """The workers' private key.

    Raises:
        SettingsError: the file is missing or not a key.
    """
    try:
        return PrivateKey(bytes.fromhex(path.read_text().strip()))
    except (OSError, ValueError, CryptoError) as error:
        raise SettingsError(
            "The workers' private key cannot be read",
            where={"variable": "SCRUTIN_TALLY_KEY_FILE", "file": path},
            todo="Create one with `scrutin guardian workers-key FILE`",
        ) from error


def public_key(path: Path) -> str:
    """The public key, in hex, that belongs to a private key file."""
    return bytes(read_key_file(path).public_key).hex()
