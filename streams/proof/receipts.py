"""Receipts and consistency proofs as JSON, and what they show. Pure.

`proof/SPECIFICATION.md` describes the formats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from streams.core.leaves import IDENTITY_BYTES, SALT_BYTES, STATUS_CODES, Leaf, commit
from streams.core.merkle import HASH_BYTES, continues, includes
from streams.proof.checkpoints import Checkpoint, TreeHead
from streams.proof.notes import BadNote, Verifier

RECEIPT_FORMAT: Final = "scrutin-receipt/1"
CONSISTENCY_FORMAT: Final = "scrutin-consistency/1"
MAX_RECEIPT_BYTES: Final = 32 * 1024 * 1024
"""A checkpoint has a line for each choice of each contest."""

_MAX_PATH: Final = 64


class BadProof(ValueError):
    """A receipt or proof that does not show what it says."""


class OpeningFields(msgspec.Struct, frozen=True):
    """What opens a commitment."""

    salt: str
    opening: str


class LeafFields(msgspec.Struct, frozen=True):
    """A leaf in JSON."""

    status: str
    epoch: int
    contest: str
    reason: str
    commitment: str

    @classmethod
    def of(cls, leaf: Leaf) -> LeafFields:
        """The fields of a leaf."""
        fields = (leaf.status, leaf.epoch, leaf.contest, leaf.reason)
        return cls(*fields, leaf.commitment.hex())

    def leaf(self) -> Leaf:
        """The leaf of these fields.

        Raises:
            BadProof: they are of none.
        """
        if self.status not in STATUS_CODES or not 0 <= self.epoch < 1 << 32:
            raise BadProof("the leaf has an unknown status or epoch")
        commitment = _bytes(self.commitment, HASH_BYTES)
        return Leaf(self.status, self.epoch, self.contest, self.reason, commitment)


class Receipt(msgspec.Struct, frozen=True, omit_defaults=True):
    """Shows that a verdict is in the log, and with the opening on which choice."""

    format: str
    checkpoint: str
    tree: int
    index: int
    leaf: LeafFields
    path: list[str]
    opening: OpeningFields | None = None

    def check(self, keys: Sequence[Verifier], identity: bytes | None = None) -> CheckedReceipt:
        """Check the receipt against keys of the log.

        Args:
            keys: trusted ones.
            identity: of the voter's message; None: it is not known.

        Raises:
            BadProof: the receipt does not hold; the message says why.
        """
        if self.format != RECEIPT_FORMAT:
            raise BadProof(f"the format is not {RECEIPT_FORMAT}")
        try:
            checkpoint = Checkpoint.parse(self.checkpoint)
            signer = checkpoint.signer(keys)
        except BadNote as error:
            raise BadProof(str(error)) from error
        tree = tree_of(checkpoint, self.tree)
        path = [_bytes(each, HASH_BYTES) for each in self.path[: _MAX_PATH + 1]]
        leaf = self.leaf.leaf()
        if not includes(leaf.hash(), self.index, tree.size, path, tree.root):
            raise BadProof("the leaf is not in the tree of the checkpoint")
        choice = None
        if self.opening is not None:
            salt = _bytes(self.opening.salt, SALT_BYTES)
            choice = _bytes(self.opening.opening)
            if commit(salt, choice) != leaf.commitment:
                raise BadProof("salt and opening are not those of the leaf")
            if identity is not None and salt[-IDENTITY_BYTES:] != identity:
                raise BadProof("the receipt is of another message")
        elif identity is not None:
            raise BadProof("without its opening a receipt cannot be joined to a message")
        return CheckedReceipt(checkpoint, signer, leaf, choice)


@dataclass(frozen=True, slots=True)
class CheckedReceipt:
    """What a receipt shows."""

    checkpoint: Checkpoint
    signer: Verifier
    leaf: Leaf
    opening: bytes | None
    """None: it shows no choice."""

    @property
    def choice(self) -> str | None:
        """The opening as people read it; None if it shows none."""
        if self.opening is None:
            return None
        if not self.leaf.contest:
            return self.opening.hex()
        return self.opening.decode("utf-8", "replace").replace("\0", ", ")


class Consistency(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """Shows that a later tree continues an earlier one; `tree` is null for that of statements."""

    format: str
    tree: int | None
    from_: int
    to: int
    path: list[str]

    def check(self, earlier: Checkpoint, later: Checkpoint) -> None:
        """Check the proof against two checkpoints.

        Raises:
            BadProof: the later one does not continue the earlier one.
        """
        if self.format != CONSISTENCY_FORMAT:
            raise BadProof(f"the format is not {CONSISTENCY_FORMAT}")
        if self.tree is None:
            ends = [(each.size, each.root) for each in (earlier, later)]
        else:
            trees = [tree_of(each, self.tree) for each in (earlier, later)]
            if trees[0].log_id != trees[1].log_id:
                raise BadProof("the checkpoints are of two different logs")
            ends = [(tree.size, tree.root) for tree in trees]
        if [size for size, _ in ends] != [self.from_, self.to]:
            raise BadProof("the proof is of other sizes than the checkpoints")
        path = [_bytes(each, HASH_BYTES) for each in self.path[: 2 * _MAX_PATH]]
        if not continues(*ends[0], *ends[1], path):
            raise BadProof("the later tree does not continue the earlier one")


def tree_of(checkpoint: Checkpoint, partition: int) -> TreeHead:
    """The head of a partition's tree.

    Raises:
        BadProof: the checkpoint has none.
    """
    for tree in checkpoint.statement.trees:
        if tree.partition == partition:
            return tree
    raise BadProof(f"the checkpoint has no tree {partition}")


def read_receipt(text: bytes) -> Receipt:
    """The receipt of a file.

    Raises:
        BadProof: it is none.
    """
    receipt: Receipt = _read(text, Receipt)
    return receipt


def read_consistency(text: bytes) -> Consistency:
    """The consistency proof of a file.

    Raises:
        BadProof: it is none.
    """
    consistency: Consistency = _read(text, Consistency)
    return consistency


def _read(text: bytes, kind: type[Any]) -> Any:
    if len(text) > MAX_RECEIPT_BYTES:
        raise BadProof("the file is too long")
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadProof(f"the file is not a proof: {error}") from None


def _bytes(text: str, length: int | None = None) -> bytes:
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raise BadProof("a value is not hexadecimal") from None
    if raw.hex() != text or (length is not None and len(raw) != length):
        raise BadProof("a value has another length, or is not in small letters")
    return raw
