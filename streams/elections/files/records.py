"""What files of cast-vote records have in common: one contest of several, a ballot each record."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Generic, TypeVar

from streams.elections.files.items import (
    Comment,
    FileBallot,
    FileLayout,
    FileRefused,
    Item,
    Marks,
    NoBallot,
    RefusedLine,
)

_Record = TypeVar("_Record")


@dataclass(frozen=True)
class RecordFile(ABC, Generic[_Record]):
    """A file, or a folder, whose records hold several contests."""

    path: Path
    contest: str | None = None
    """Id or name; None if there is one contest."""

    def layout(self) -> FileLayout:
        """Candidates of the contest by the id that records have."""
        return self._found[1]

    def items(self) -> Iterator[Item]:
        """Each record; one without the contest is a comment."""
        contest, layout = self._found
        for row, record in self._records():
            try:
                marks = self._marks(record, contest, layout.names)
            except NoBallot as fault:
                yield RefusedLine(row, str(fault))
            except (KeyError, TypeError, AttributeError, ValueError) as fault:
                yield RefusedLine(row, f"the record has another form: {fault!r}")
            else:
                yield Comment(row) if marks is None else FileBallot(row, marks)

    @cached_property
    def _found(self) -> tuple[str, FileLayout]:
        # Where records define the contest, finding it takes a pass over all of them.
        return self._contest()

    @abstractmethod
    def _contest(self) -> tuple[str, FileLayout]:
        """The id of the contest, and its layout."""

    @abstractmethod
    def _records(self) -> Iterator[tuple[int, _Record]]:
        """(number from 1, record) in order."""

    @abstractmethod
    def _marks(self, record: _Record, contest: str, names: Mapping[str, str]) -> Marks | None:
        """The marks in the contest; None: the record does not have it.

        Raises:
            NoBallot: it holds no ballot.
        """


def choose(contests: Mapping[str, str], wanted: str | None, path: Path) -> str:
    """The contest of a file.

    Raises:
        FileRefused: it has no such contest, or several and none is named.
    """
    found = [key for key, name in contests.items() if wanted in {None, key, name}]
    if len(found) == 1:
        return found[0]
    shown = ", ".join(f"{key} ({name})" for key, name in list(contests.items())[:20])
    raise FileRefused(
        "The file has several such contests" if found else "The file has no such contest",
        where={"file": path},
        todo=f"Name one with --contest: {shown}",
    )
