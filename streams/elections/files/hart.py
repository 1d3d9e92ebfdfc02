"""Cast-vote records of Hart's form: an XML file for each ballot, in a ZIP archive or a folder.

An option's value has a digit for each rank, 1 where it is marked: `0100` is the second rank.
Signatures of records and files that are no XML are comments.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree

from streams.elections.files.items import FileLayout, FileRefused, Marks, NoBallot
from streams.elections.files.members import BadArchive, read_archive, read_folder
from streams.elections.files.records import RecordFile, choose

_NOT_HERE: Final = (b"<!DOCTYPE", b"\0")
"""A document type, whose entities could grow without bound, also in UTF-16; no record has one."""
_Member = tuple[str, bytes | NoBallot]
_Option = tuple[str, str, str]
"""(id, name, value)."""


@dataclass(frozen=True)
class HartFile(RecordFile[_Member]):
    """One archive or folder of records."""

    def _contest(self) -> tuple[str, FileLayout]:
        contests: dict[str, str] = {}
        names: dict[str, dict[str, str]] = {}
        for _, member in self._records():
            try:
                found = list(_contests(member))
            except NoBallot:
                continue
            for contest, name, options in found:
                contests.setdefault(contest, name)
                known = names.setdefault(contest, {})
                for option, label, _ in options:
                    known[option] = known.get(option) or label
        chosen = choose(contests, self.contest, self.path)
        return chosen, FileLayout({key: name or "write-in" for key, name in names[chosen].items()})

    def _records(self) -> Iterator[tuple[int, _Member]]:
        read = read_folder if self.path.is_dir() else read_archive
        try:
            yield from enumerate(read(self.path), 1)
        except (OSError, BadArchive) as fault:
            raise FileRefused(
                f"The records cannot be read: {fault}",
                where={"file": self.path},
                todo="Name a ZIP archive or a folder of XML files",
            ) from fault

    def _marks(self, record: _Member, contest: str, _: Mapping[str, str]) -> Marks | None:
        try:
            found = [options for name, _, options in _contests(record) if name == contest]
            return _marks(found[0]) if found else None
        except NoBallot as fault:
            raise NoBallot(f"{record[0][:200]}: {fault}") from fault


def _contests(member: _Member) -> Iterator[tuple[str, str, list[_Option]]]:
    """(id, name, options) of each contest; nothing for a file that is no record."""
    file, raw = member
    if isinstance(raw, NoBallot):
        raise raw
    if not file.lower().endswith(".xml") or file.lower().endswith(".sig.xml"):
        return
    if any(each in raw for each in _NOT_HERE):
        raise NoBallot("with a document type or not in UTF-8")
    try:
        root = ElementTree.fromstring(raw)  # noqa: S314 - without a document type
    except (ElementTree.ParseError, ValueError, LookupError) as fault:
        raise NoBallot(f"no XML: {fault}") from fault
    for contest in _below(root, "Contests", "Contest"):
        texts = _texts(contest)
        options = [
            (one.get("Id", ""), one.get("Name", ""), one.get("Value", ""))
            for one in map(_texts, _below(contest, "Options", "Option"))
        ]
        yield texts.get("Id", ""), texts.get("Name", ""), options


def _below(parent: ElementTree.Element, group: str, name: str) -> Iterator[ElementTree.Element]:
    """The elements of that name in the groups. `iterfind` takes far longer to pass namespaces."""
    for part in parent:
        if _plain(part.tag) == group:
            for element in part:
                if _plain(element.tag) == name:
                    yield element


def _texts(parent: ElementTree.Element) -> dict[str, str]:
    """Texts of the children by name; the first of a name counts."""
    return {_plain(child.tag): (child.text or "").strip() for child in reversed(parent)}


def _plain(tag: str) -> str:
    return tag.rpartition("}")[2]


def _marks(options: list[_Option]) -> Marks:
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
