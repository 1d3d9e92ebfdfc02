"""Draws ballot papers from a manifest, by a seed, so that anybody can draw the same ones. Pure.

The sampler is Rivest's of 2011, which Stark's audit tools and several states use: draw number `i`
is 1 + SHA-256(`seed,i`) mod the number of papers, with replacement.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate

MAX_PAPERS = 10**12


@dataclass(frozen=True)
class Batch:
    """Papers that are kept together, in an order that does not change."""

    name: str
    papers: int


@dataclass(frozen=True)
class Draw:
    """One paper to look at."""

    number: int
    """Of the draw, from 1."""
    paper: int
    """From 1, counted through all batches."""
    batch: str
    position: int
    """Within the batch, from 1."""


class PaperManifest:
    """The batches of an election's papers, in order."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        self.batches = tuple(batches)
        names = {batch.name for batch in self.batches}
        if len(names) != len(self.batches) or "" in names:
            raise ValueError("a batch has no name, or the name of another one")
        if any(batch.papers < 0 for batch in self.batches):
            raise ValueError("a batch has a negative number of papers")
        self._ends = list(accumulate(batch.papers for batch in self.batches))
        if not 0 < self.papers <= MAX_PAPERS:
            raise ValueError("the batches hold no papers, or too many")

    @property
    def papers(self) -> int:
        """Number of all papers."""
        return self._ends[-1] if self._ends else 0

    def locate(self, paper: int) -> tuple[str, int]:
        """(batch, position) of a paper, counted from 1."""
        if not 1 <= paper <= self.papers:
            raise ValueError(f"there is no paper {paper}")
        place = bisect_right(self._ends, paper - 1)
        before = self._ends[place - 1] if place else 0
        return self.batches[place].name, paper - before

    def draws(self, seed: str, count: int, skip: int = 0) -> Iterator[Draw]:
        """The draws number `skip` + 1 to `skip` + `count`."""
        for number in range(skip + 1, skip + count + 1):
            paper = drawn_paper(seed, number, self.papers)
            yield Draw(number, paper, *self.locate(paper))


def drawn_paper(seed: str, number: int, papers: int) -> int:
    """The paper of one draw, from 1 to `papers`."""
    digest = hashlib.sha256(f"{seed},{number}".encode()).digest()
    return 1 + int.from_bytes(digest, "big") % papers


def read_manifest(rows: Iterable[Mapping[str, str]]) -> PaperManifest:
    """A manifest from rows with `batch` and `ballots`, and perhaps `container`.

    Raises:
        ValueError: a row is invalid; says which.
    """
    batches = []
    for number, row in enumerate(rows, 1):
        fields = {
            str(name).strip().lower(): str(value or "").strip() for name, value in row.items()
        }
        count = fields.get("ballots") or fields.get("papers") or ""
        name = fields.get("batch") or ""
        if not name or not (count.isascii() and count.isdigit()) or len(count) > 12:
            raise ValueError(f"row {number} has no batch, or no whole number of ballots")
        container = fields.get("container")
        batches.append(Batch(f"{container} / {name}" if container else name, int(count)))
    return PaperManifest(batches)
