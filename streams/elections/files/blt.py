"""BLT files, as OpenSTV, OpaVote and Scottish councils write them.

The first line has the numbers of candidates and seats. Lines that begin with a minus sign name
candidates who withdrew. A ballot is its number, candidates in order of preference, and 0; `2=3`
shares a rank and `-` skips one. A line with 0 ends the ballots; the names of candidates and the
title follow. `#` begins a comment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from streams.elections.files.items import (
    UNREADABLE,
    Comment,
    FileBallot,
    FileLayout,
    FileRefused,
    Item,
    Marks,
    NoBallot,
    RefusedLine,
    lines,
    whole,
)

MAX_CANDIDATES: Final = 10_000


@dataclass(frozen=True)
class BltFile:
    """One BLT file."""

    path: Path

    def layout(self) -> FileLayout:
        """Candidates by number, seats, and who withdrew."""
        texts = (_bare(text or "") for _, text in lines(self.path))
        kept = (text for text in texts if text)
        head = next(kept, "").split()
        if len(head) != 2 or not all(part.isascii() and part.isdigit() for part in head):
            raise self._refused("The first line has no numbers of candidates and seats")
        candidates, seats = int(head[0][:9]), int(head[1][:9])
        if not 1 <= candidates <= MAX_CANDIDATES or not seats:
            raise self._refused(f"A contest has 1 to {MAX_CANDIDATES:,} candidates and a seat")
        withdrawn: set[str] = set()
        for text in kept:
            if text == "0":
                break
            withdrawn |= _withdrawn(text) or set()
        else:
            raise self._refused("No line with 0 ends the ballots")
        names = [_unquoted(text) for text, _ in zip(kept, range(candidates), strict=False)]
        if len(names) < candidates:
            raise self._refused(f"{candidates} candidates, but only {len(names)} names")
        labels = [str(number) for number in range(1, candidates + 1)]
        return FileLayout(dict(zip(labels, names, strict=True)), seats, frozenset(withdrawn))

    def items(self) -> Iterator[Item]:
        """Each line."""
        candidates = 0
        ended = False
        for row, text in lines(self.path):
            if text is None:
                yield RefusedLine(row, UNREADABLE)
                continue
            bare = _bare(text)
            if not bare or ended or not candidates:
                if bare and not candidates:
                    candidates = int(bare.split()[0])
                yield Comment(row)
            elif bare == "0":
                ended = True
                yield Comment(row)
            elif _withdrawn(bare) is not None:
                yield Comment(row)
            else:
                yield _ballot(row, bare, candidates)

    def _refused(self, what: str) -> FileRefused:
        return FileRefused(what, where={"file": self.path}, todo="Is it a BLT file?")


def _ballot(row: int, text: str, candidates: int) -> Item:
    number, *ranks = text.split()
    try:
        if not ranks or ranks[-1] != "0":
            raise NoBallot("the ballot does not end with 0")
        marks = tuple(_rank(rank, candidates) for rank in ranks[:-1])
        return FileBallot(row, marks, whole(number))
    except NoBallot as fault:
        return RefusedLine(row, str(fault))


@lru_cache(10_000)
def _rank(text: str, candidates: int) -> tuple[str, ...]:
    if text == "-":
        return ()
    marked = text.split("=")
    for each in marked:
        if not (each.isascii() and each.isdigit() and 1 <= int(each[:9]) <= candidates):
            raise NoBallot(f"there is no candidate {each[:20]!r}")
    return tuple(str(int(each)) for each in marked)


def _withdrawn(text: str) -> set[str] | None:
    """The candidates that a line before the ballots withdraws; None if it is no such line."""
    if text[0] not in "-[":
        return None
    if text[0] == "[":
        word, *rest = text.strip("[]").split() or [""]
        return set(rest) if word == "withdrawn" else set()
    parts = text.split()
    if all(part.startswith("-") and part[1:].isdigit() for part in parts):
        return {part[1:] for part in parts}
    return None


def _bare(text: str) -> str:
    """Without a comment, which may not begin within a name."""
    if '"' in text:
        quoted = text.rindex('"')
        return (text[: quoted + 1] + text[quoted + 1 :].partition("#")[0]).strip()
    return text.partition("#")[0].strip()


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


def write_blt(
    names: Iterable[str],
    seats: int,
    ballots: Iterable[tuple[Marks, int]],
    title: str,
    withdrawn: Iterable[str] = (),
) -> Iterator[str]:
    """The lines of a BLT file.

    Args:
        names: of candidates; their labels in ballots are 1, 2, 3 and so on.
        seats: to fill.
        ballots: marks and number.
        title: of the contest.
        withdrawn: labels of candidates who withdrew.
    """
    known = list(names)
    yield f"{len(known)} {seats}\n"
    for label in withdrawn:
        yield f"-{label}\n"
    for marks, number in ballots:
        ranks = "".join(f"{'='.join(marked) or '-'} " for marked in marks)
        yield f"{number} {ranks}0\n"
    yield "0\n"
    for text in (*known, title):
        plain = " ".join(text.replace('"', "'").split())
        yield f'"{plain}"\n'
