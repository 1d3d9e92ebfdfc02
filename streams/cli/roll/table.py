"""Rows of a roll in text form: finds separator and column, and names the line of every fault."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import IO, Final

from streams.cli.roll.hash_kind import HashCheck

COLUMNS: Final = ("hash", "vote_hash", "voter_hash")
"""Names of the hash in objects and in tables."""

_SEPARATORS: Final = "\t;,|"
_LOOKED_AT: Final = 20
"""Lines that the separator is found in."""
_ALMOST_HASH: Final = re.compile(r"(?:0[xX])?[0-9A-Fa-f.,+E-]{6,}")
_HASH_WITHIN: Final = re.compile(r"[\r\n][^\r\n]*[0-9A-Fa-f]{32}")
_NAMES_SHOWN: Final = 10


class RollFault(ValueError):
    """A roll is not what it should be.

    Args:
        why: the fault.
        line: where it is; 0: in the whole file.
        todo: what to type; empty: what every roll needs.
    """

    def __init__(self, why: str, line: int = 0, todo: str = "") -> None:
        super().__init__(why)
        self.line = line
        self.todo = todo


@dataclass(frozen=True)
class Layout:
    """How a table is read."""

    separator: str
    """Empty: one column."""
    column: int
    """Number of the column with the hashes, from 0."""
    name: str
    """Name of that column; empty: the table has no header."""


def hashes_of_table(
    text: IO[str], check: HashCheck, column: str | None, weights: str | None = None
) -> Iterator[tuple[int, str, str, Layout]]:
    """Line, hash, weight and layout of every entry.

    Blank rows and lines that begin with # are left out.

    Args:
        text: the file; line ends as they are.
        check: of the roll.
        column: name of the column with the hashes, or its number from 1; None: found.
        weights: the same of the column with the weights; None: there is none.

    Raises:
        RollFault: a row has no hash, or it is not clear where the hashes are.
    """
    lines = _lines(text)
    head = list(islice(lines, _LOOKED_AT))
    separator = _separator(head)
    rows = _rows(chain(head, lines), separator)
    first = next(rows, None)
    if first is None:
        return
    line, cells = first
    layout, is_header = _layout(line, cells, check, column, separator)
    if not is_header:
        rows = chain([first], rows)
    width = len(cells)
    place = layout.column
    beside = None if weights is None else _weight_column(line, cells, weights)
    for line, cells in rows:
        cell = cells[place] if place < len(cells) else ""
        if len(cells) > width and any(cells[width:]):
            raise RollFault(f"it has {len(cells)} columns, and the first row has {width}", line)
        if fault := check.fault(cell):
            where = f"column {place + 1}: " if width > 1 else ""
            raise RollFault(where + fault, line)
        weight = "" if beside is None or beside >= len(cells) else cells[beside]
        yield line, cell, weight, layout


def _weight_column(line: int, first: list[str], weights: str) -> int:
    wanted = weights.strip().lower()
    found = [i for i, cell in enumerate(first) if wanted in {cell.lower(), _latin(cell).lower()}]
    if len(found) == 1:
        return found[0]
    if not found and wanted.isascii() and wanted.isdigit() and 1 <= int(wanted) <= len(first):
        return int(wanted) - 1
    raise RollFault(
        f"{'several columns are' if found else 'no column is'} called {weights}",
        line,
        "Name the column with the weights: --weights NAME, or its number",
    )


def _lines(text: IO[str]) -> Iterator[str]:
    for line in text:
        # A blank line instead, so that the numbers of lines stay right.
        yield "\n" if line.lstrip().startswith("#") else line


def _separator(head: Iterable[str]) -> str:
    """The sign that divides most of the first lines; of several, the one of equal cells."""
    counted: dict[str, list[int]] = {sign: [] for sign in _SEPARATORS}
    for line in head:
        if line.strip():
            bare = re.sub(r'"[^"]*"', "", line.rstrip("\r\n"))
            if "#" in bare and not any(sign in bare.partition("#")[0] for sign in _SEPARATORS):
                bare = bare.partition("#")[0]
            for sign, counts in counted.items():
                counts.append(bare.count(sign))

    def worth(sign: str) -> tuple[int, int, int]:
        counts = [count for count in counted[sign] if count]
        if not counts:
            return (0, 0, 0)
        usual = max(set(counts), key=counts.count)
        return (len(counts), counts.count(usual), usual)

    best = max(_SEPARATORS, key=worth)
    return best if worth(best)[0] * 2 > len(counted[best]) else ""


def _rows(lines: Iterator[str], separator: str) -> Iterator[tuple[int, list[str]]]:
    source = (line.partition("#")[0] for line in lines) if not separator else lines
    # A single column is read with a separator that no text has.
    reader = csv.reader(source, delimiter=separator or "\x1f", strict=True, skipinitialspace=True)
    begun = 1
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            why = "a quote is not closed" if "unexpected end" in str(error) else str(error)
            raise RollFault(why, begun) from None
        if cells is None:
            return
        if reader.line_num > begun and any(_HASH_WITHIN.search(cell) for cell in cells):
            raise RollFault("a quote is not closed: the lines after it are within it", begun)
        cells = [cell.strip() for cell in cells]
        if any(cells):
            yield begun, cells
        begun = reader.line_num + 1


def _layout(
    line: int, first: list[str], check: HashCheck, column: str | None, separator: str
) -> tuple[Layout, bool]:
    """The layout, and whether the first row is a header."""
    if column is not None:
        return _named(line, first, check, column, separator)
    names = [cell.lower() for cell in first]
    known = [i for i, name in enumerate(names) if name in COLUMNS]
    if len(known) == 1:
        return Layout(separator, known[0], first[known[0]]), True
    if known:
        raise _unclear("several columns are named as the hash", line, first)
    hashes = [i for i, cell in enumerate(first) if check.looks_right(cell)]
    if len(hashes) == 1:
        return Layout(separator, hashes[0], ""), False
    if hashes:
        raise _unclear(f"{len(hashes)} columns hold hashes", line, first, named=False)
    if len(first) == 1 and _ALMOST_HASH.fullmatch(first[0]):
        raise RollFault(check.fault(first[0]), line)
    raise _unclear(f"no column is called {', '.join(COLUMNS)}, and none holds hashes", line, first)


def _named(
    line: int, first: list[str], check: HashCheck, column: str, separator: str
) -> tuple[Layout, bool]:
    wanted = column.strip().lower()
    found = [i for i, cell in enumerate(first) if wanted in {cell.lower(), _latin(cell).lower()}]
    if len(found) == 1:
        return Layout(separator, found[0], first[found[0]]), True
    if not found and wanted.isascii() and wanted.isdigit() and 1 <= int(wanted) <= len(first):
        place = int(wanted) - 1
        cell = first[place]
        if check.looks_right(cell) or _ALMOST_HASH.fullmatch(cell):
            return Layout(separator, place, ""), False
        return Layout(separator, place, cell or column), True
    many = "several columns are" if found else "no column is"
    raise _unclear(f"{many} called {column}", line, first)


def _unclear(why: str, line: int, first: list[str], *, named: bool = True) -> RollFault:
    todo = f"Name the column with the hashes by its number: --column 1 to {len(first)}"
    if len(first) == 1:
        todo = "Add --column 1 if this line is a header, or --kind text if entries are no digits"
    elif named:
        shown = ", ".join(_latin(cell)[:40] for cell in first[:_NAMES_SHOWN])
        todo = f"Name the column with the hashes: --column NAME, or its number. First row: {shown}"
    return RollFault(why, line, todo)


def _latin(cell: str) -> str:
    """A header that is not UTF-8 as Windows-1252 has it."""
    return (
        cell.encode(errors="surrogateescape").decode("cp1252", errors="replace")
        if any("\udc80" <= sign <= "\udcff" for sign in cell)
        else cell
    )
