"""What a ballot file holds: ballots, comments, and lines that are refused, each with its number.

Nothing is left out silently: every line or record of a file becomes exactly one item.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from streams.errors import ScrutinError

MAX_LINE_BYTES: Final = 1 << 20
"""A longer line is refused."""
MAX_NUMBER: Final = 10_000_000
"""Most ballots that one line may stand for."""

Marks = tuple[tuple[str, ...], ...]
"""Labels marked at each rank, most preferred first."""


class FileRefused(ScrutinError):
    """A ballot file cannot be read as what it is said to be."""


@dataclass(frozen=True)
class FileBallot:
    """One line or record with a ballot."""

    row: int
    """Of the line or record, from 1."""
    marks: Marks
    number: int = 1
    """Ballots that it stands for."""


@dataclass(frozen=True)
class Comment:
    """A line without a ballot: a header, a name, a remark, or a record of other contests."""

    row: int


@dataclass(frozen=True)
class RefusedLine:
    """A line that should hold a ballot, and does not."""

    row: int
    why: str


Item = FileBallot | Comment | RefusedLine


@dataclass(frozen=True)
class FileLayout:
    """What a file says of its contest."""

    names: dict[str, str] = field(default_factory=dict)
    """Label in ballots -> name of the candidate, in the order of the file."""
    seats: int | None = None
    withdrawn: frozenset[str] = frozenset()
    """Labels of candidates who withdrew: their marks are passed over."""
    open_names: bool = False
    """Whether labels that are not among the names may occur, and are names themselves."""


class BallotFile(Protocol):
    """A format's reader of one file."""

    def layout(self) -> FileLayout:
        """What the file says of its contest; reads the file once.

        Raises:
            FileRefused: it is not of this format.
        """

    def items(self) -> Iterator[Item]:
        """Each line or record in order, in flat memory."""


class NoBallot(ValueError):
    """A line holds no ballot; says why."""


def lines(path: Path) -> Iterator[tuple[int, str | None]]:
    """(number, text without its end) of each line; None if it is too long or not UTF-8."""
    with path.open("rb") as stream:
        for number, raw in enumerate(_bounded(stream), 1):
            try:
                text = None if raw is None else raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError:
                text = None
            yield number, None if text is None else text.rstrip("\r\n")


def _bounded(stream: BinaryIO) -> Iterator[bytes | None]:
    while raw := stream.readline(MAX_LINE_BYTES):
        if len(raw) < MAX_LINE_BYTES or raw.endswith(b"\n"):
            yield raw
            continue
        while (more := stream.readline(MAX_LINE_BYTES)) and not more.endswith(b"\n"):
            pass
        yield None


UNREADABLE: Final = f"longer than {MAX_LINE_BYTES:,} bytes, or not UTF-8"


def whole(text: str, least: int = 1) -> int:
    """A number of ballots.

    Raises:
        NoBallot: it is none.
    """
    if not (text.isascii() and text.isdigit()) or not least <= int(text[:12]) <= MAX_NUMBER:
        raise NoBallot(
            f"the number of ballots is not a whole number from {least} to {MAX_NUMBER:,}"
        )
    return int(text)


@dataclass
class LineAccount:
    """How the lines of one file add up."""

    lines: int = 0
    ballot_lines: int = 0
    ballots: int = 0
    """With the numbers that lines stand for."""
    comments: int = 0
    refused: int = 0

    def add(self, item: Item) -> None:
        """Count an item."""
        self.lines += 1
        match item:
            case FileBallot():
                self.ballot_lines += 1
                self.ballots += item.number
            case Comment():
                self.comments += 1
            case RefusedLine():
                self.refused += 1
