"""Opens a roll file by its content: compression, encoding, and formats that are refused by name."""

from __future__ import annotations

import codecs
import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

_GZIP: Final = b"\x1f\x8b"
_SAVE: Final = "save the sheet as CSV in UTF-8"

_REFUSED: Final = (
    (b"PK\x03\x04", f"it is a workbook (.xlsx, .ods) or a zip archive: {_SAVE}"),
    (b"PK\x05\x06", f"it is a zip archive: {_SAVE}"),
    (b"\xd0\xcf\x11\xe0", f"it is a workbook of an old spreadsheet (.xls): {_SAVE}"),
    (b"%PDF", f"it is a PDF: {_SAVE}"),
    (b"{\\rtf", "it is a text with formats (RTF): save it as plain text"),
    (b"BZh", "it is compressed with bzip2: unpack it first"),
    (b"\xfd7zXZ", "it is compressed with xz: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "it is compressed with Zstandard: unpack it first"),
    (b"7z\xbc\xaf", "it is a 7-Zip archive: unpack it first"),
    (b"SQLite format 3\0", "it is an SQLite database: export the table as CSV"),
    (codecs.BOM_UTF32_LE, "it is UTF-32: save it as UTF-8"),
    (codecs.BOM_UTF32_BE, "it is UTF-32: save it as UTF-8"),
)
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_HEAD_BYTES: Final = 4096


def is_parquet(path: Path) -> bool:
    """Whether it is a Parquet file, by its content.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


@contextmanager
def opened(path: Path) -> Iterator[tuple[IO[str], str]]:
    """Text of a file, unpacked and decoded, and a description of its encoding.

    Bytes that are not UTF-8 become surrogates: in other columns they do not matter.

    Raises:
        OSError: it cannot be read.
        ValueError: it is in a format that is not read.
    """
    with path.open("rb") as raw:
        packed = raw.read(2) == _GZIP
        raw.seek(0)
        plain = gzip.GzipFile(fileobj=raw) if packed else raw
        head = plain.read(_HEAD_BYTES)
        plain.seek(0)
        encoding = _encoding(head)
        errors = "surrogateescape" if encoding.startswith("utf-8") else "strict"
        with io.TextIOWrapper(plain, encoding=encoding, errors=errors, newline="") as text:
            shown = encoding.removesuffix("-sig").upper()
            yield text, f"{shown}, gzip" if packed else shown


def _encoding(head: bytes) -> str:
    for mark, why in _REFUSED:
        if head.startswith(mark):
            raise ValueError(why)
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    if b"\0" in head:
        if head[1:2] == b"\0" or head[:1] == b"\0":
            return "utf-16-le" if head[1:2] == b"\0" else "utf-16-be"
        raise ValueError("it is a binary file, not a text")
    return "utf-8"
