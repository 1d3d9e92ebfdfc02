"""The files of a ZIP archive or a folder, one by one, in flat memory. Pure but for reading.

An archive of cast-vote records has a file for each ballot. `zipfile` holds an object for each of
them, and a sorted list of a folder a name, so a million ballots would need half a gigabyte.
"""

from __future__ import annotations

import os
import sqlite3
import struct
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO, Final

from streams.elections.files.items import NoBallot

MAX_MEMBER_BYTES: Final = 1 << 20
"""A longer file is refused."""
_TOO_LONG: Final = f"longer than {MAX_MEMBER_BYTES:,} bytes"
_CHUNK_BYTES: Final = 1 << 16

# APPNOTE.TXT of the ZIP format, sections 4.3.7 to 4.3.16.
_END: Final = struct.Struct("<4s4H2LH")
_END_64: Final = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64: Final = struct.Struct("<4sLQL")
_ENTRY: Final = struct.Struct("<4s6H3L5H2L")
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_MAX_COMMENT_BYTES: Final = 0xFFFF
_ELSEWHERE: Final = 0xFFFFFFFF
"""The value is in an extra field of 64 bits."""
_ENCRYPTED: Final = 1
_STORED: Final = 0
_DEFLATED: Final = 8


class BadArchive(ValueError):
    """A file is no ZIP archive, or a damaged one."""


def read_archive(path: Path) -> Iterator[tuple[str, bytes | NoBallot]]:
    """(name, content) of each member, in the order of the archive's directory.

    The content of one that is too long, encrypted or compressed otherwise says so.

    Raises:
        BadArchive: it is no archive, or damaged.
    """
    with path.open("rb") as listing, path.open("rb") as stream:
        entries, shift = _find_directory(listing)
        for _ in range(entries):
            fields = _ENTRY.unpack(_exactly(listing, _ENTRY.size))
            if fields[0] != b"PK\1\2":
                raise BadArchive("its directory is damaged")
            flags, method, crc, packed, size = (fields[n] for n in (3, 4, 7, 8, 9))
            name = _exactly(listing, fields[10]).decode("utf-8", "replace")
            wide = _wide(_exactly(listing, fields[11]))
            _exactly(listing, fields[12])
            # Those of 64 bits stand in this order, and only where they are needed.
            size, packed, at = (
                next(wide, each) if each == _ELSEWHERE else each
                for each in (size, packed, fields[16])
            )
            if name.endswith("/"):
                yield name, b""
            elif flags & _ENCRYPTED or method not in (_STORED, _DEFLATED):
                yield name, NoBallot("encrypted, or not compressed as usual")
            elif size > MAX_MEMBER_BYTES:
                yield name, NoBallot(_TOO_LONG)
            else:
                stream.seek(at + shift)
                raw = _content(stream, packed, size, deflated=method == _DEFLATED)
                if len(raw) != size or zlib.crc32(raw) != crc:
                    raise BadArchive(f"its member {name[:200]} is damaged")
                yield name, raw


def _find_directory(stream: BinaryIO) -> tuple[int, int]:
    """(entries, how far all offsets are shifted), with the stream at the first entry."""
    length = stream.seek(0, os.SEEK_END)
    start = max(0, length - _END.size - _MAX_COMMENT_BYTES)
    stream.seek(start)
    tail = stream.read()
    place = tail.rfind(b"PK\5\6", 0, len(tail) - _END.size + 4)
    if place < 0:
        raise BadArchive("it is no ZIP archive, or its end is missing")
    _, _, _, _, entries, size, at, _ = _END.unpack_from(tail, place)
    end = start + place
    if end >= _LOCATOR_64.size + _END_64.size:
        stream.seek(end - _LOCATOR_64.size - _END_64.size)
        found = _END_64.unpack(stream.read(_END_64.size))
        if stream.read(4) == b"PK\6\7":
            if found[0] != b"PK\6\6":
                raise BadArchive("its end is damaged")
            entries, size, at = found[7:]
            end -= _LOCATOR_64.size + _END_64.size
    # Something may stand before an archive, such as a program that unpacks it.
    shift = end - size - at
    if shift < 0:
        raise BadArchive("its directory is damaged")
    stream.seek(end - size)
    return entries, shift


def _content(stream: BinaryIO, packed: int, size: int, *, deflated: bool) -> bytes:
    """At most one byte more than there should be, whatever the member claims."""
    local = _LOCAL.unpack(_exactly(stream, _LOCAL.size))
    if local[0] != b"PK\3\4":
        raise BadArchive("a member is not where its directory says")
    stream.seek(local[9] + local[10], os.SEEK_CUR)
    if not deflated:
        return _exactly(stream, min(packed, size + 1))
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    raw = bytearray()
    try:
        while packed > 0 and len(raw) <= size:
            chunk = _exactly(stream, min(packed, _CHUNK_BYTES))
            packed -= len(chunk)
            raw += unpacker.decompress(chunk, size + 1 - len(raw))
    except zlib.error as fault:
        raise BadArchive("a member is damaged") from fault
    return bytes(raw)


def _wide(extra: bytes) -> Iterator[int]:
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            whole = min(length, len(extra) - at - 4) // 8
            yield from struct.unpack_from(f"<{whole}Q", extra, at + 4)
        at += 4 + length


def _exactly(stream: BinaryIO, size: int) -> bytes:
    raw = stream.read(size)
    if len(raw) != size:
        raise BadArchive("it ends too early")
    return raw


def read_folder(path: Path) -> Iterator[tuple[str, bytes | NoBallot]]:
    """(name, content) of each file of a folder, by name; of a folder in it, that it is one."""
    for name in sorted_names(path):
        file = path / name
        if file.is_dir():
            yield name, NoBallot("a folder in the folder")
            continue
        with file.open("rb") as stream:
            raw = stream.read(MAX_MEMBER_BYTES + 1)
        yield name, NoBallot(_TOO_LONG) if len(raw) > MAX_MEMBER_BYTES else raw


def sorted_names(path: Path) -> Iterator[str]:
    """Names in a folder, sorted by their bytes on the disk."""
    with closing(sqlite3.connect("")) as names:
        names.execute("CREATE TABLE names (name BLOB PRIMARY KEY) WITHOUT ROWID")
        with os.scandir(path) as entries:
            rows = ((os.fsencode(entry.name),) for entry in entries)
            names.executemany("INSERT INTO names VALUES (?)", rows)
        for (name,) in names.execute("SELECT name FROM names ORDER BY name"):
            yield os.fsdecode(name)
