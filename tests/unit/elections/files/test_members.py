"""Members of archives: as `zipfile` reads them, in flat memory, and never silently left out."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.elections.files.formats import digest_of
from streams.elections.files.items import NoBallot
from streams.elections.files.members import (
    MAX_MEMBER_BYTES,
    BadArchive,
    read_archive,
    read_folder,
    sorted_names,
)


def archive_of(members: dict[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", method) as archive:
        for name, raw in members.items():
            archive.writestr(name, raw)
    return whole.getvalue()


def read(path: Path, raw: bytes) -> dict[str, bytes | NoBallot]:
    path.write_bytes(raw)
    return dict(read_archive(path))


names = st.text("ab/é.xml", min_size=1, max_size=8).filter(lambda name: not name.endswith("/"))
members = st.dictionaries(names, st.binary(max_size=200), max_size=6)


@given(members, st.booleans(), st.binary(max_size=30))
def test_members_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory,
    members: dict[str, bytes],
    deflated: bool,
    before: bytes,
) -> None:
    raw = archive_of(members, method=zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED)
    path = tmp_path_factory.mktemp("zip") / "a.zip"
    assert read(path, raw) == members
    # A program that unpacks it may stand before an archive.
    assert read(path, before + raw) == members


@given(st.binary(min_size=1, max_size=3), st.integers(0, 400))
def test_a_damaged_archive_says_so_or_has_all_members(
    tmp_path_factory: pytest.TempPathFactory, put: bytes, at: int
) -> None:
    members = {f"{number}.xml": b"<Cvr/>" * number for number in range(3)}
    raw = archive_of(members)
    path = tmp_path_factory.mktemp("zip") / "a.zip"
    try:
        found = read(path, raw[:at] + put + raw[at + len(put) :])
    except BadArchive:
        return
    # The checksum of a member holds its content; nothing holds names and dates.
    contents = [one for one in found.values() if not isinstance(one, NoBallot)]
    assert all(one in members.values() for one in contents)
    assert len(found) <= len(members)


def test_an_archive_of_64_bits_is_read(tmp_path: Path) -> None:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        with archive.open("a.xml", "w", force_zip64=True) as member:
            member.write(b"<a/>")
        for number in range(70_000):
            archive.writestr(f"{number}.xml", b"")
    found = read(tmp_path / "a.zip", whole.getvalue())
    assert (len(found), found["a.xml"], found["69999.xml"]) == (70_001, b"<a/>", b"")


def test_what_cannot_be_read_is_said_of_each_member(tmp_path: Path) -> None:
    long = b"1" * (MAX_MEMBER_BYTES + 1)
    raw = bytearray(archive_of({"long.xml": long, "folder/": b"", "short.xml": b"<a/>"}))
    found = read(tmp_path / "a.zip", bytes(raw))
    assert isinstance(found["long.xml"], NoBallot)
    assert (found["folder/"], found["short.xml"]) == (b"", b"<a/>")
    # The flag of encryption, and another method, of the last member in the directory.
    entry = raw.rfind(b"PK\1\2")
    for offset, value in ((8, 1), (10, 12)):
        changed = bytearray(raw)
        changed[entry + offset] = value
        assert isinstance(read(tmp_path / "a.zip", bytes(changed))["short.xml"], NoBallot)


def test_a_member_that_unpacks_to_more_than_it_says_is_damaged(tmp_path: Path) -> None:
    raw = bytearray(archive_of({"a.xml": b"0" * 50_000_000}))
    entry = raw.rfind(b"PK\1\2")
    raw[entry + 24 : entry + 28] = (1000).to_bytes(4, "little")
    tracemalloc.start()
    try:
        with pytest.raises(BadArchive, match=r"a\.xml is damaged"):
            read(tmp_path / "a.zip", bytes(raw))
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_an_archive(tmp_path: Path) -> None:
    peaks = []
    for count in (1_000, 20_000):
        (path := tmp_path / "a.zip").write_bytes(
            archive_of({f"{number:08}.xml": b"<Cvr/>" for number in range(count)})
        )
        tracemalloc.start()
        assert sum(1 for _ in read_archive(path)) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 50_000


def test_a_folder_is_read_by_name(tmp_path: Path) -> None:
    (tmp_path / "b.xml").write_bytes(b"b")
    (tmp_path / "é.xml").write_bytes(b"e")
    (tmp_path / "a.xml").write_bytes(b"a" * (MAX_MEMBER_BYTES + 1))
    (tmp_path / "c").mkdir()
    found = list(read_folder(tmp_path))
    assert [name for name, _ in found] == ["a.xml", "b.xml", "c", "é.xml"]
    assert [type(raw) for _, raw in found] == [NoBallot, bytes, NoBallot, bytes]
    assert list(sorted_names(tmp_path)) == sorted(file.name for file in tmp_path.iterdir())
    before = digest_of(tmp_path)
    (tmp_path / "b.xml").rename(tmp_path / "b2.xml")
    assert digest_of(tmp_path) != before
