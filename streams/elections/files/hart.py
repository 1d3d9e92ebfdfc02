"""Cast-vote records of Hart's form: an XML file for each ballot, in a ZIP archive or a folder.

An option's value has a digit for each rank, 1 where it is marked: `0100` is the second rank.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from streams.elections.files.items import FileLayout, FileRefused, Marks, NoBallot
from streams.elections.files.records import RecordFile, choose

MAX_RECORD_BYTES: Final = 1 << 20
_NOT_HERE: Final = (b"<!DOCTYPE", b"\0")
"""A document type, whose entities could grow without bound, also in UTF-16; no record has one."""


@dataclass(frozen=True)
class HartFile(RecordFile[bytes]):
    """One archive or folder of records."""

    def _contest(self) -> tuple[str, FileLayout]:
        contests: dict[str, str] = {}
        names: dict[str, dict[str, str]] = {}
        for raw in _records(self.path):
            try:
                found = list(_contests(raw))
            except NoBallot:
                continue
            for contest, name, options in found:
                contests.setdefault(contest, name)
                known = names.setdefault(contest, {})
                for option, label, _ in options:
                    known[option] = known.get(option) or label
        chosen = choose(contests, self.contest, self.path)
        return chosen, FileLayout({key: name or "write-in" for key, name in names[chosen].items()})

    def _records(self) -> Iterator[tuple[int, bytes]]:
        return enumerate(_records(self.path), 1)

    def _marks(self, record: bytes, contest: str, _: Mapping[str, str]) -> Marks | None:
        found = [options for name, _, options in _contests(record) if name == contest]
        return _marks(found[0]) if found else None


def _records(path: Path) -> Iterator[bytes]:
    """Content of each XML file, cut to one byte more than a record may have."""
    try:
        if path.is_dir():
            for file in sorted(path.iterdir()):
                if _is_record(file.name):
                    with file.open("rb") as stream:
                        yield stream.read(MAX_RECORD_BYTES + 1)
            return
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                if _is_record(name):
                    with archive.open(name) as member:
                        yield member.read(MAX_RECORD_BYTES + 1)
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as fault:
        raise FileRefused(
            f"The records cannot be read: {fault}",
            where={"file": path},
            todo="Name a ZIP archive or a folder of XML files",
        ) from fault


def _is_record(name: str) -> bool:
    return name.lower().endswith(".xml") and not name.lower().endswith(".sig.xml")


def _contests(raw: bytes) -> Iterator[tuple[str, str, list[tuple[str, str, str]]]]:
    """(id, name, options as (id, name, value)) of each contest."""
    if len(raw) > MAX_RECORD_BYTES or any(each in raw for each in _NOT_HERE):
        raise NoBallot(
            f"longer than {MAX_RECORD_BYTES:,} bytes, or with a document type or not in UTF-8"
        )
    try:
        root = ElementTree.fromstring(raw)  # noqa: S314 - without a document type
    except (ElementTree.ParseError, ValueError, LookupError) as fault:
        raise NoBallot(f"no XML: {fault}") from fault
    for contest in root.iterfind("{*}Contests/{*}Contest"):
        options = [
            (_text(one, "Id"), _text(one, "Name"), _text(one, "Value"))
            for one in contest.iterfind("{*}Options/{*}Option")
        ]
        yield _text(contest, "Id"), _text(contest, "Name"), options


def _text(parent: ElementTree.Element, name: str) -> str:
    return (parent.findtext(f"{{*}}{name}") or "").strip()


def _marks(options: list[tuple[str, str, str]]) -> Marks:
    length = max((len(value) for _, _, value in options), default=0)
    if any(set(value) - {"0", "1"} for _, _, value in options):
        raise NoBallot("a value has digits other than 0 and 1")
    ranks = [
        tuple(name for name, _, value in options if value[place : place + 1] == "1")
        for place in range(length)
    ]
    while ranks and not ranks[-1]:
        ranks.pop()
    return tuple(ranks)
