"""PrefLib files: strict and weak, complete and incomplete orders (`.soc`, `.soi`, `.toc`, `.toi`).

Lines that begin with `#` hold facts such as `# ALTERNATIVE NAME 1: Ann`. A ballot is its number, a
colon, and alternatives in order of preference; `{2,3}` shares a rank. An order that occurs in two
lines counts with both numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

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

_NAME: Final = re.compile(r"#\s*ALTERNATIVE NAME (\d{1,9}):\s*(.*)", re.IGNORECASE | re.ASCII)
_RANK: Final = re.compile(r"\s*(?:\{([^{}]*)\}|([^,{}]+))\s*(?:,|$)")


@dataclass(frozen=True)
class PrefLibFile:
    """One PrefLib file."""

    path: Path

    def layout(self) -> FileLayout:
        """Alternatives by number."""
        found = (_NAME.match(text or "") for _, text in lines(self.path))
        names = {str(int(match[1])): match[2].strip() for match in found if match}
        if not names:
            raise FileRefused(
                "No line names an alternative",
                where={"file": self.path},
                todo="A PrefLib file has lines such as: # ALTERNATIVE NAME 1: Ann",
            )
        return FileLayout(names)

    def items(self) -> Iterator[Item]:
        """Each line."""
        known = self.layout().names
        for row, text in lines(self.path):
            if text is None:
                yield RefusedLine(row, UNREADABLE)
            elif not text.strip() or text.startswith("#"):
                yield Comment(row)
            else:
                try:
                    number, colon, order = text.partition(":")
                    if not colon:
                        raise NoBallot("no colon after the number of ballots")
                    yield FileBallot(
                        row, tuple(_ranks(order.strip(), known)), whole(number.strip())
                    )
                except NoBallot as fault:
                    yield RefusedLine(row, str(fault))


def _ranks(order: str, known: dict[str, str]) -> Iterator[tuple[str, ...]]:
    place = 0
    while place < len(order):
        match = _RANK.match(order, place)
        if match is None:
            raise NoBallot("the order of preference cannot be read")
        place = match.end()
        marked = [each.strip() for each in (match[1] if match[2] is None else match[2]).split(",")]
        for each in marked:
            if each and each not in known:
                raise NoBallot(f"there is no alternative {each[:20]!r}")
        yield tuple(each for each in marked if each)
