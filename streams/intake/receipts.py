"""Receipts: a voter gets one for a confirmed vote, to ask later whether it was counted.

A receipt is the encrypted place of the vote in the result database. So a receipt in a log or a
browser's history reveals no voter, and gateways need no memory of receipts.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
import os
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from schemas.votes import Malformed, Vote
from streams.core.keys import ELECTION_PREFIX, stored_hash
from streams.core.rows import MAX_TIMESTAMP_US
from streams.messages.decode import IDENTITY_BYTES
from streams.messages.fields import MAX_HASH_BYTES, MAX_ID_BYTES

_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_PURPOSE: Final = b"scrutin receipt/1"


class Submission(msgspec.Struct, array_like=True, frozen=True):
    """What identifies one vote as it was sent."""

    stored_hash: str
    """`vote_audit.vote_hash`."""
    timestamp_us: int
    """Unix time in microseconds; differs between the submissions of a voter."""
    identity: bytes
    """As :func:`streams.messages.decode.identity_of` computes it."""
    contest: str


_LONGEST: Final = Submission(
    "h" * MAX_HASH_BYTES,
    MAX_TIMESTAMP_US,
    bytes(IDENTITY_BYTES),
    ELECTION_PREFIX + "e" * MAX_ID_BYTES,
)
MAX_RECEIPT_CHARACTERS: Final = math.ceil(
    (_NONCE_BYTES + len(msgspec.msgpack.encode(_LONGEST)) + _TAG_BYTES) * 4 / 3
)
"""Of the receipt of the longest vote that is taken."""


class BadReceipt(ValueError):
    """A text that is not a receipt of this deployment."""


class Receipts:
    """Seals and opens receipts.

    Args:
        secret: shared by all gateways; without one, receipts are valid until this process ends.
    """

    def __init__(self, secret: bytes) -> None:
        key = hashlib.blake2b(_PURPOSE, key=secret[:64], digest_size=32).digest()
        self._cipher = AESGCM(key if secret else os.urandom(32))
        self._decoder = msgspec.msgpack.Decoder(Submission)

    def seal(self, submission: Submission) -> str:
        """A receipt, safe in URLs."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, msgspec.msgpack.encode(submission), _PURPOSE)
        return base64.urlsafe_b64encode(nonce + sealed).rstrip(b"=").decode()

    def seal_item(self, item: Vote | Malformed) -> str:
        """The receipt of an item of the log."""
        if not isinstance(item, Vote):
            return self.seal(Submission("", 0, item.identity, ""))
        stored = stored_hash(item.hash, item.contest, item.kind)
        return self.seal(Submission(stored, item.timestamp_us, item.identity, item.contest))

    def open(self, receipt: str) -> Submission:
        """The submission in a receipt.

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
