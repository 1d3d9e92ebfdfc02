"""What a recount finds, and what one partition adds to the whole. Pure."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import zip_longest
from typing import Any, Final

import msgspec

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(list[int]).decode

Totals = Counter[tuple[str, str]]
"""Votes by (contest, choice)."""
Window = tuple[str, str, int]
"""Contest, choice, and start in Unix milliseconds."""


class DifferenceKind(StrEnum):
    """What differs."""

    LOG_TRUNCATED = "log-truncated"
    """The log lacks records that were counted."""
    LOG_REPLACED = "log-replaced"
    """The log is another one than that which was counted."""
    LOG_UNREADABLE = "log-unreadable"
    """A record cannot be decoded, and nobody decided to skip it."""
    SECRET = "secret"  # noqa: S105 - a name
    """The trees were made with another secret."""
    TREE = "tree"
    """The log's verdicts do not give the root that was signed."""
    STORED_TREE = "stored-tree"
    """The stored tree, from which proofs are made, is not that of the log."""
    VOTED_TABLE = "voted-table"
    """The changelog of the voted table is not what follows from the log."""
    ROW_CHANGED = "row-changed"
    ROW_MISSING = "row-missing"
    ROW_ADDED = "row-added"
    ROW_REORDERED = "row-reordered"
    """Rows are numbered in another order than that of the log."""
    ROW_SURPLUS = "row-surplus"
    """The sink found the voter's row in place, where the log had counted none."""
    TOTALS = "totals"
    WINDOWS = "windows"
    DUPLICATES = "duplicates"
    CLOSING = "closing"
    """The database says another closing point than the log."""
    CHECKPOINT_SIGNATURE = "checkpoint-signature"
    CHECKPOINT_CHAIN = "checkpoint-chain"
    """A checkpoint does not continue the one before."""
    CHECKPOINT_TOTALS = "checkpoint-totals"
    """Signed totals are not those of the log at that point."""
    CHECKPOINT_CLOSING = "checkpoint-closing"
    CHECKPOINT_MISSING = "checkpoint-missing"
    """A checkpoint that others have is not in the database."""
    SPLIT_VIEW = "split-view"
    """Others have another checkpoint of the same number."""


@dataclass(frozen=True, slots=True)
class RecountFinding:
    """The first difference of its kind in its place."""

    kind: str
    """A :class:`DifferenceKind`."""
    what: str
    """One sentence without a voter's identity or choice."""
    table: str = ""
    partition: int | None = None
    offset: int | None = None
    item: int | None = None
    checkpoint: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        fields = ("kind", "what", "table", "partition", "offset", "item", "checkpoint")
        values = {name: getattr(self, name) for name in fields}
        return {name: value for name, value in values.items() if value not in {None, ""}}


@dataclass(frozen=True, slots=True)
class Mark:
    """What a checkpoint says about one partition."""

    checkpoint: int
    """Its number."""
    log_id: bytes
    offset: int
    size: int
    root: bytes


@dataclass
class PartitionRecount:
    """What one partition adds to the whole."""

    partition: int
    records: int = 0
    votes: int = 0
    """Accepted and counted, before weights."""
    leaves: int = 0
    audit_rows: int = 0
    rejected_rows: int = 0
    laws: Totals = field(default_factory=Counter)
    contests: Totals = field(default_factory=Counter)
    windows: dict[str, int] = field(default_factory=dict)
    """By contest: sum of the digests of its windows, each as often as it has votes."""
    steps: dict[int, bytes] = field(default_factory=dict)
    """By the number of a checkpoint: what was added to each of :attr:`contests`, in their order,
    since the one before."""
    revoted: set[str] = field(default_factory=set)
    """Contests in which the last vote counts; totals may fall there."""
    duplicates: int = 0
    """Sum of the digests of the rows of `duplicate_attempts` that follow from the log."""
    closings: dict[tuple[bytes, str], int] = field(default_factory=dict)
    """(command, contest) -> offset of the command that closed it."""
    findings: list[RecountFinding] = field(default_factory=list)

    def find(self, kind: DifferenceKind, what: str, **place: Any) -> None:
        """Note a difference, if it is the first of its kind and table here."""
        found = RecountFinding(kind, what, partition=self.partition, **place)
        if all((f.kind, f.table) != (kind, found.table) for f in self.findings):
            self.findings.append(found)

    def note_step(self, checkpoint: int, before: list[int], now: list[int]) -> None:
        """Note the totals of all contests at a checkpoint, and at the one before."""
        step = [n - earlier for n, earlier in zip_longest(now, before, fillvalue=0)]
        self.steps[checkpoint] = _pack(step)

    def step(self, checkpoint: int) -> Totals:
        """What was added at a checkpoint, if it is of this partition."""
        packed = self.steps.get(checkpoint)
        return (
            Counter()
            if packed is None
            else Counter(dict(zip(self.contests, _unpack(packed), strict=False)))
        )


_DIGEST_BYTES: Final = 32
_MODULUS: Final = 1 << 8 * _DIGEST_BYTES


def digest_of(key: bytes, *parts: object) -> int:
    """A number for a row; sums of them are equal if, as good as certainly, the rows are.

    Args:
        key: drawn for this recount alone. Rows whose sums are equal could otherwise be computed.
        parts: of the row.
    """
    text = "\0".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, key=key, digest_size=_DIGEST_BYTES).digest(), "big")


def added(total: int, digest: int, *, times: int = 1) -> int:
    """A sum with so many of a digest more, or less."""
    return (total + times * digest) % _MODULUS


def add_windows(sums: dict[str, int], key: bytes, windows: Mapping[Window, int]) -> None:
    """Add votes of windows to the sums of their contests, which take no memory for a window."""
    for (contest, choice, start_ms), votes in windows.items():
        digest = digest_of(key, choice, start_ms)
        sums[contest] = added(sums.get(contest, 0), digest, times=votes)
