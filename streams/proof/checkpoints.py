"""Checkpoints: what the whole log holds at one moment, as text. Pure.

`proof/SPECIFICATION.md` describes the text.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote, unquote

from streams.core.merkle import HASH_BYTES, extend, leaf_hash, root_of
from streams.proof.notes import BadNote, Note, Verifier

FORMAT: Final = "scrutin/1"
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True)
class TreeHead:
    """One partition's tree."""

    partition: int
    log_id: bytes
    """Identity of the partition's log, 16 bytes."""
    size: int
    root: bytes
    offset: int
    """Of the last input record whose verdicts are in the tree; -1 if there is none."""


@dataclass(frozen=True, slots=True)
class ClosedContest:
    """Where the log closed a contest."""

    contest: str
    offsets: dict[int, int]
    """By partition: the input offset of the command."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What a checkpoint says about the log."""

    at: datetime
    epoch: int
    trees: tuple[TreeHead, ...]
    totals: dict[tuple[str, str], int]
    """Counted votes by (contest, choice)."""
    hidden: tuple[str, ...] = ()
    """Contests whose totals are not shown yet."""
    closings: tuple[ClosedContest, ...] = ()
    keys: tuple[Verifier, ...] = ()
    """The keys of which one signs the next checkpoint."""

    def text(self) -> str:
        """Its lines."""
        lines = [FORMAT, f"time {self.at.astimezone(UTC).strftime(_TIME)}", f"epoch {self.epoch}"]
        for tree in sorted(self.trees, key=lambda tree: tree.partition):
            root = base64.b64encode(tree.root).decode()
            lines.append(
                f"tree {tree.partition} {tree.log_id.hex()} {tree.size} {root} {tree.offset}"
            )
        totals = [
            (escape(contest), escape(choice), votes)
            for (contest, choice), votes in self.totals.items()
        ]
        lines += [f"total {contest} {choice} {votes}" for contest, choice, votes in sorted(totals)]
        lines += [f"hidden {name}" for name in sorted(map(escape, self.hidden))]
        for name, closing in sorted((escape(each.contest), each) for each in self.closings):
            places = ",".join(f"{p}:{offset}" for p, offset in sorted(closing.offsets.items()))
            lines.append(f"closed {name} {places or '-'}")
        lines += [f"key {key.text}" for key in self.keys]
        return "".join(f"{line}\n" for line in lines)

    @property
    def votes(self) -> int:
        """Counted votes of all contests whose totals are shown."""
        return sum(self.totals.values())


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A statement with its place among all statements of a log."""

    origin: str
    size: int
    """Number of statements, this one included."""
    root: bytes
    """Of the tree of all statements."""
    statement: Statement
    note: Note = field(compare=False, repr=False)

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """The checkpoint of a note; verifies no signature.

        Raises:
            BadNote: it is none.
        """
        note = Note.parse(text)
        lines = note.body.splitlines()
        if len(lines) < 4 or not lines[0] or lines[3] != FORMAT:
            raise BadNote(f"the note is not a checkpoint with a statement {FORMAT}")
        try:
            return cls(lines[0], _number(lines[1]), _hash(lines[2]), _statement(lines[4:]), note)
        except (ValueError, TypeError) as error:
            raise BadNote(f"the checkpoint has a malformed line: {error}") from None

    @property
    def text(self) -> str:
        """The lines of the statement, as they were signed."""
        return "".join(f"{line}\n" for line in self.note.body.splitlines()[3:])

    def is_final(self, contest: str) -> bool:
        """Whether every partition has passed the command that closed a contest."""
        for closing in self.statement.closings:
            if closing.contest == contest:
                offsets, trees = closing.offsets, self.statement.trees
                return bool(trees) and all(
                    tree.offset >= offsets.get(tree.partition, tree.offset + 1) for tree in trees
                )
        return False

    def signer(self, keys: Iterable[Verifier]) -> Verifier:
        """The first of some keys that signed.

        Raises:
            BadNote: none of them did.
        """
        for key in keys:
            if key.name == self.origin and self.note.signed_by(key) is not None:
                return key
        raise BadNote(f"no known key of {self.origin} signed the checkpoint")


def body_of(origin: str, size: int, root: bytes, statement: str) -> str:
    """The body of a checkpoint's note."""
    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n{statement}"


@dataclass(frozen=True, slots=True)
class Head:
    """The tree of all statements, as far as it has grown."""

    size: int = 0
    peaks: bytes = b""

    def after(self, statement: str) -> Head:
        """With one statement more."""
        peaks, _ = extend(self.size, self.peaks, [leaf_hash(statement.encode())])
        return Head(self.size + 1, peaks)

    @property
    def root(self) -> bytes:
        """Its root."""
        return root_of(self.peaks)


def escape(name: str) -> str:
    """A name as one word of a line: percent-encoded UTF-8; `%` alone for the empty name."""
    return quote(name, safe=":") or "%"


def _unescape(word: str) -> str:
    name = "" if word == "%" else unquote(word, errors="strict")
    if escape(name) != word:
        raise ValueError("a name is not encoded as it should be")
    return name


def _number(word: str) -> int:
    if _NUMBER.fullmatch(word) is None:
        raise ValueError("a number is malformed")
    return int(word)


def _hash(word: str) -> bytes:
    try:
        raw = base64.b64decode(word, validate=True)
    except binascii.Error:
        raise ValueError("a root is not base64") from None
    if len(raw) != HASH_BYTES:
        raise ValueError("a root is not a SHA-256")
    return raw


def _statement(lines: list[str]) -> Statement:
    words = [line.split(" ") for line in lines]
    (_, at), (_, epoch), *rest = words
    by_name: dict[str, list[list[str]]] = {}
    for name, *values in rest:
        by_name.setdefault(name, []).append(values)
    statement = Statement(
        at=datetime.strptime(at, _TIME).replace(tzinfo=UTC),
        epoch=_number(epoch),
        trees=tuple(_tree(*values) for values in by_name.get("tree", [])),
        totals={
            (_unescape(contest), _unescape(choice)): _number(votes)
            for contest, choice, votes in by_name.get("total", [])
        },
        hidden=tuple(_unescape(name) for (name,) in by_name.get("hidden", [])),
        closings=tuple(_closing(*values) for values in by_name.get("closed", [])),
        keys=tuple(Verifier.parse(text) for (text,) in by_name.get("key", [])),
    )
    # The text is the only one of its statement: no line is twice, unknown or in another place.
    if statement.text() != "".join(f"{line}\n" for line in [FORMAT, *lines]):
        raise ValueError("a line is unknown or not in its place")
    return statement


def _tree(partition: str, log_id: str, size: str, root: str, offset: str) -> TreeHead:
    last = -1 if offset == "-1" else _number(offset)
    return TreeHead(_number(partition), bytes.fromhex(log_id), _number(size), _hash(root), last)


def _closing(contest: str, places: str) -> ClosedContest:
    pairs = (place.partition(":") for place in places.split(",")) if places != "-" else ()
    return ClosedContest(
        _unescape(contest), {_number(p): _number(offset) for p, _, offset in pairs}
    )
