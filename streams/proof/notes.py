"""Signed notes and cosignatures, as C2SP's signed-note and tlog-cosignature describe them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

ED25519: Final = 1
COSIGNATURE: Final = 4

MAX_NOTE_BYTES: Final = 16 * 1024 * 1024
MAX_SIGNATURES: Final = 100

_PRIVATE: Final = "PRIVATE+KEY+"
_ID_BYTES: Final = 4
_KEY_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64
_TIME_BYTES: Final = 8
_SIGNATURE_LINE: Final = re.compile(r"— (\S+) ([A-Za-z0-9+/]+={0,2})")


class BadNote(ValueError):
    """A text that is not a note, a key that is not a key, or a signature that does not hold."""


@dataclass(frozen=True, slots=True)
class Verifier:
    """A public key with its name.

    Args:
        name: of the signer.
        algorithm: :data:`ED25519`, or :data:`COSIGNATURE` for a witness.
        key: 32 bytes.
    """

    name: str
    algorithm: int
    key: bytes

    @property
    def id(self) -> bytes:
        """4 bytes that signatures of this key begin with."""
        return _key_id(self.name, self.algorithm, self.key)

    @property
    def text(self) -> str:
        """The key as people copy it."""
        return f"{self.name}+{self.id.hex()}+{_base64(bytes([self.algorithm]) + self.key)}"

    @classmethod
    def parse(cls, text: str) -> Verifier:
        """The key of a text.

        Raises:
            BadNote: it is none.
        """
        name, algorithm, key, key_id = _key_of(text)
        verifier = cls(name, algorithm, key)
        if verifier.id != key_id:
            raise BadNote("the hash in the key is not that of the key")
        return verifier


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key with its name."""

    name: str
    algorithm: int
    seed: bytes

    @property
    def verifier(self) -> Verifier:
        """The public key."""
        public = Ed25519PrivateKey.from_private_bytes(self.seed).public_key()
        return Verifier(self.name, self.algorithm, public.public_bytes_raw())

    @property
    def text(self) -> str:
        """The key as its file holds it."""
        encoded = _base64(bytes([self.algorithm]) + self.seed)
        return f"{_PRIVATE}{self.name}+{self.verifier.id.hex()}+{encoded}"

    @classmethod
    def new(cls, name: str, algorithm: int = ED25519) -> Signer:
        """A new key.

        Raises:
            BadNote: a key cannot have this name.
        """
        _check_name(name)
        return cls(name, algorithm, os.urandom(_KEY_BYTES))

    @classmethod
    def parse(cls, text: str) -> Signer:
        """The key of a file.

        Raises:
            BadNote: it is none.
        """
        text = text.strip()
        if not text.startswith(_PRIVATE):
            raise BadNote(f"a private key begins with {_PRIVATE}")
        name, algorithm, seed, key_id = _key_of(text[len(_PRIVATE) :])
        signer = cls(name, algorithm, seed)
        if signer.verifier.id != key_id:
            raise BadNote("the hash in the key is not that of the key")
        return signer

    def line(self, body: str, time_s: int = 0) -> str:
        """The signature line of a note.

        Args:
            body: of the note, with its last line feed.
            time_s: Unix time; only cosignatures hold it.
        """
        key = Ed25519PrivateKey.from_private_bytes(self.seed)
        stamp = time_s.to_bytes(_TIME_BYTES, "big") if self.algorithm == COSIGNATURE else b""
        signature = key.sign(_signed(self.algorithm, body, time_s))
        return f"— {self.name} {_base64(self.verifier.id + stamp + signature)}\n"


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature line, read and not yet verified."""

    name: str
    key_id: bytes
    rest: bytes


@dataclass(frozen=True, slots=True)
class Note:
    """A text with signatures."""

    body: str
    """With its last line feed."""
    signatures: tuple[Signature, ...]

    @classmethod
    def parse(cls, text: str) -> Note:
        """The note of a text; verifies nothing.

        Raises:
            BadNote: it is none.
        """
        if len(text) > MAX_NOTE_BYTES or any(c < " " and c != "\n" for c in text):
            raise BadNote("the note is too long or has control characters")
        body, separator, tail = text.rpartition("\n\n")
        lines = tail.splitlines() if separator else []
        if not lines or not tail.endswith("\n") or len(lines) > MAX_SIGNATURES:
            raise BadNote("the text has no signature lines at its end, after an empty line")
        return cls(body + "\n", tuple(_signature_of(line) for line in lines))

    def text(self) -> str:
        """The note as it was read."""
        lines = (f"— {s.name} {_base64(s.key_id + s.rest)}\n" for s in self.signatures)
        return f"{self.body}\n{''.join(lines)}"

    def signed_by(self, verifier: Verifier) -> int | None:
        """Whether a key has signed, and when.

        Returns:
            None if it has not; else the Unix time of a cosignature, or 0.

        Raises:
            BadNote: there is a signature of the key, and it does not hold.
        """
        for signature in self.signatures:
            if signature.name == verifier.name and signature.key_id == verifier.id:
                return self._verify(signature, verifier)
        return None

    def line_of(self, verifier: Verifier) -> str:
        """The signature line of a key that has signed."""
        for s in self.signatures:
            if s.name == verifier.name and s.key_id == verifier.id:
                return f"— {s.name} {_base64(s.key_id + s.rest)}\n"
        raise BadNote(f"{verifier.name} has not signed")

    def _verify(self, signature: Signature, verifier: Verifier) -> int:
        rest, time_s = signature.rest, 0
        if verifier.algorithm == COSIGNATURE:
            time_s = int.from_bytes(rest[:_TIME_BYTES], "big")
            rest = rest[_TIME_BYTES:]
        try:
            if len(rest) != _SIGNATURE_BYTES:
                raise InvalidSignature
            key = Ed25519PublicKey.from_public_bytes(verifier.key)
            key.verify(rest, _signed(verifier.algorithm, self.body, time_s))
        except InvalidSignature:
            raise BadNote(f"the signature of {verifier.name} does not hold") from None
        return time_s


def sign(body: str, signers: Iterable[Signer], time_s: int = 0) -> str:
    """A note with signatures."""
    if not body.endswith("\n") or "\n\n" in f"\n{body}":
        raise BadNote("a body ends with a line feed and has no empty line")
    return body + "\n" + "".join(signer.line(body, time_s) for signer in signers)


def _signed(algorithm: int, body: str, time_s: int) -> bytes:
    if algorithm == COSIGNATURE:
        return f"cosignature/v1\ntime {time_s}\n{body}".encode()
    return body.encode()


def _signature_of(line: str) -> Signature:
    found = _SIGNATURE_LINE.fullmatch(line)
    raw = _decode(found[2]) if found else b""
    if found is None or len(raw) <= _ID_BYTES:
        raise BadNote("a signature line is malformed")
    return Signature(found[1], raw[:_ID_BYTES], raw[_ID_BYTES:])


def _key_of(text: str) -> tuple[str, int, bytes, bytes]:
    name, _, rest = text.strip().partition("+")
    key_id, _, encoded = rest.partition("+")
    raw = _decode(encoded)
    _check_name(name)
    if len(raw) != 1 + _KEY_BYTES or raw[0] not in {ED25519, COSIGNATURE}:
        raise BadNote("the key is not an Ed25519 key")
    try:
        return name, raw[0], raw[1:], bytes.fromhex(key_id)
    except ValueError:
        raise BadNote("the hash in the key is not hexadecimal") from None


def _check_name(name: str) -> None:
    if not name or "+" in name or any(c.isspace() or not c.isprintable() for c in name):
        raise BadNote("a key's name is a text without blanks and without `+`")


def _key_id(name: str, algorithm: int, key: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + bytes([algorithm]) + key).digest()[:_ID_BYTES]


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadNote("a part is not base64") from None
