"""Receipts: what a voter gets for a vote that RabbitMQ has confirmed, to ask for its fate.

A receipt is the place of the vote in the result database, sealed: nobody who sees one in a log or a
history learns whose it is, and no gateway has to remember any.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES: Final = 12
MAX_RECEIPT_CHARACTERS: Final = 400
_PURPOSE: Final = b"scrutin receipt/1"


class Submission(msgspec.Struct, array_like=True, frozen=True):
    """One vote as it was sent, as far as its fate can be told by it."""

    stored_hash: str
    """`vote_audit.vote_hash`."""
    timestamp_us: int
    """Unix time in microseconds; tells this submission from others of the voter."""
    identity: bytes
    """As :func:`streams.messages.decode.identity_of` computes it."""
    contest: str


class BadReceipt(ValueError):
    """No receipt of ours."""


class Receipts:
    """Makes and reads receipts.

    Args:
        secret: shared by all gateways; without one receipts are good until this process ends.
    """

    def __init__(self, secret: bytes) -> None:
        key = hashlib.blake2b(_PURPOSE, key=secret[:64], digest_size=32).digest()
        self._cipher = AESGCM(key if secret else os.urandom(32))
        self._decoder = msgspec.msgpack.Decoder(Submission)

    def seal(self, submission: Submission) -> str:
        """A receipt, fit for an address."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, msgspec.msgpack.encode(submission), _PURPOSE)
        return base64.urlsafe_b64encode(nonce + sealed).rstrip(b"=").decode()

    def open(self, receipt: str) -> Submission:
        """What a receipt stands for.

        Raises:
            BadReceipt: it was not made with this secret.
        """
        if len(receipt) > MAX_RECEIPT_CHARACTERS:
            raise BadReceipt
        try:
            raw = base64.urlsafe_b64decode(receipt + "=" * (-len(receipt) % 4))
            if len(raw) <= _NONCE_BYTES:
                raise BadReceipt
            opened = self._cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _PURPOSE)
            return self._decoder.decode(opened)
        except (binascii.Error, ValueError, InvalidTag, msgspec.DecodeError) as error:
            raise BadReceipt from error
