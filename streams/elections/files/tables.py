"""Cast-vote records as CSV: a line for each ballot, a column for each rank.

Columns of ranks are called `rank1`, `Rank 2`, `3rd choice`, `choice_4` or `5`; a column `count`,
`number` or `weight` says how many ballots a line stands for. Other columns are ignored. A cell
holds a candidate, several that share the rank with `|` between them, `overvote` if the source does
not name them, or nothing.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from streams.core.ranking import OVERVOTE
from streams.elections.files.items import (
    UNREADABLE,
    Comment,
    FileBallot,
    FileLayout,
    FileRefused,
    Item,
    NoBallot,
    RefusedLine,
    lines,
    whole,
)

_WORD: Final = r"(?:rank|choice|preference|pref)"
_COLUMN: Final = re.compile(
    rf"(?:{_WORD}[ _-]?(\d{{1,3}})|(\d{{1,3}})(?:st|nd|rd|th)[ _-]{_WORD}\b.*|(\d{{1,3}}))",
    re.IGNORECASE | re.ASCII,
)
_NUMBER: Final = frozenset({"count", "number", "weight", "ballots"})
_NO_MARK: Final = frozenset({"", "undervote", "skipped", "blank"})
_OVERVOTE: Final = "overvote"
_DELIMITERS: Final = ",;\t"


@dataclass(frozen=True)
class _Columns:
    ranks: tuple[int, ...]
    """Column of each rank, in the order of ranks."""
    number: int | None
    width: int
    delimiter: str


@dataclass(frozen=True)
class CsvFile:
    """One CSV file of cast-vote records."""

    path: Path

    def layout(self) -> FileLayout:
        """Every cell is a candidate's name or id."""
        self._columns()
        return FileLayout(open_names=True)

    def _columns(self) -> _Columns:
        head = next((text for _, text in lines(self.path)), None) or ""
        delimiter = max(_DELIMITERS, key=head.count)
        cells = [cell.strip() for cell in _cells(head, delimiter) or []]
        ranks: dict[int, int] = {}
        for place, cell in enumerate(cells):
            if match := _COLUMN.fullmatch(cell):
                rank = int(next(part for part in match.groups() if part))
                if ranks.setdefault(rank, place) != place:
                    raise self._refused(f"Two columns are rank {rank}")
        if not ranks:
            raise self._refused("The first line names no column of a rank")
        numbers = [place for place, cell in enumerate(cells) if cell.lower() in _NUMBER]
        if len(numbers) > 1:
            raise self._refused("Two columns have the number of ballots")
        return _Columns(
            tuple(ranks[rank] for rank in sorted(ranks)),
            numbers[0] if numbers else None,
            len(cells),
            delimiter,
        )

    def items(self) -> Iterator[Item]:
        """Each line; a cell cannot span lines."""
        columns = self._columns()
        for row, text in lines(self.path):
            if text is None:
                yield RefusedLine(row, UNREADABLE)
            elif row == 1 or not text.strip():
                yield Comment(row)
            else:
                try:
                    yield _ballot(row, text, columns)
                except NoBallot as fault:
                    yield RefusedLine(row, str(fault))

    def _refused(self, what: str) -> FileRefused:
        return FileRefused(
            what, where={"file": self.path}, todo="Columns are called rank1, rank2, …, and count"
        )


def _ballot(row: int, text: str, columns: _Columns) -> FileBallot:
    cells = _cells(text, columns.delimiter)
    if cells is None:
        raise NoBallot("a quoted cell does not end in its line")
    if len(cells) != columns.width:
        raise NoBallot(f"{len(cells)} cells instead of {columns.width}")
    number = 1 if columns.number is None else whole(cells[columns.number].strip())
    return FileBallot(row, tuple(_marked(cells[place]) for place in columns.ranks), number)


@lru_cache(10_000)
def _marked(cell: str) -> tuple[str, ...]:
    text = cell.strip()
    if text.lower() in _NO_MARK:
        return ()
    if text.lower() == _OVERVOTE:
        return (OVERVOTE,)
    return tuple(part.strip() for part in text.split("|") if part.strip())


def _cells(text: str, delimiter: str) -> list[str] | None:
    try:
        [cells] = csv.reader([text], delimiter=delimiter, strict=True)
    except (csv.Error, ValueError):
        return None
    return cells
