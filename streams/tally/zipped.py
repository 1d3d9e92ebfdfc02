"""Unpacks a zipped record."""

from __future__ import annotations

import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from streams.tally.record_files import NotARecord

_MOST_TIMES: Final = 20
"""Documents of hex digits are about twice as long as zipped; more is no record."""

_NOT_ZIPPED: Final = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    # Another method of compression, or a password.
    NotImplementedError,
    RuntimeError,
)


@contextmanager
def unpacked(record: Path) -> Iterator[Path]:
    """The folder of a record while the block runs.

    Raises:
        NotARecord: a file that is not zipped, or one that would grow without bound.
    """
    if not record.is_file():
        yield record
        return
    where: dict[str, object] = {"path": record}
    with tempfile.TemporaryDirectory(prefix="scrutin-record-") as folder:
        try:
            with zipfile.ZipFile(record) as archive:
                size = sum(each.file_size for each in archive.infolist())
                if size > _MOST_TIMES * record.stat().st_size:
                    raise NotARecord(
                        f"this file grows more than {_MOST_TIMES} times when unpacked", where=where
                    )
                # No name leads out of the folder: parts such as ".." are dropped.
                archive.extractall(folder)
        except _NOT_ZIPPED as error:
            raise NotARecord(
                "this file is not a zipped record that can be unpacked", where=where
            ) from error
        yield Path(folder)
