"""Write tables to CSV, JSON lines or Parquet in parts, so that they never fill memory."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Protocol

from streams.errors import ScrutinError

if TYPE_CHECKING:
    import pyarrow as pa

Row = Mapping[str, str | int | None]

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_ROW_GROUP: Final = 65_536


class Format(StrEnum):
    """File formats."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"


class RowWriter(Protocol):
    """Accepts rows in the order of the file; every row has the same columns."""

    def write(self, rows: Sequence[Row]) -> None:
        """Append rows."""


class _Csv:
    def __init__(self, out: IO[str], columns: Mapping[str, type]) -> None:
        self._writer = csv.DictWriter(out, fieldnames=list(columns), lineterminator="\n")
        self._writer.writeheader()

    def write(self, rows: Sequence[Row]) -> None:
        self._writer.writerows({name: inert(name, row[name]) for name in row} for row in rows)


def inert(name: str, value: str | int | None) -> str | int | None:
    """A cell that no spreadsheet takes for a formula; hashes stay, because a roll is read again."""
    if isinstance(value, str) and name != "hash" and value.startswith(_FORMULA):
        return f"'{value}"
    return value


class _JsonLines:
    def __init__(self, out: IO[str]) -> None:
        self._out = out

    def write(self, rows: Sequence[Row]) -> None:
        self._out.writelines(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)


class _Parquet:
    """Collects rows into row groups of a useful size."""

    def __init__(self, path: Path, columns: Mapping[str, type]) -> None:
        import pyarrow as pa  # noqa: PLC0415 - slow to load
        import pyarrow.parquet as pq  # noqa: PLC0415

        kinds: dict[type, Any] = {str: pa.string(), int: pa.int64()}
        self._schema: pa.Schema = pa.schema([(name, kinds[kind]) for name, kind in columns.items()])
        self._from_rows = pa.RecordBatch.from_pylist
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._waiting: list[Row] = []

    def write(self, rows: Sequence[Row]) -> None:
        self._waiting += rows
        if len(self._waiting) >= _ROW_GROUP:
            self._flush()

    def close(self) -> None:
        if self._waiting:
            self._flush()
        self._writer.close()

    def _flush(self) -> None:
        self._writer.write_batch(self._from_rows(self._waiting, schema=self._schema))
        self._waiting.clear()


@contextmanager
def open_writer(
    path: Path | None, file_format: Format, columns: Mapping[str, type]
) -> Iterator[RowWriter]:
    """Open a file for rows. It gets its name only when it is complete.

    Args:
        path: the file; None writes to standard output, which Parquet cannot use.
        file_format: of the file.
        columns: names and types (`str` or `int`; both may hold None).

    Raises:
        ScrutinError: the file cannot be written.
    """
    if path is None:
        yield _Csv(sys.stdout, columns) if file_format is Format.CSV else _JsonLines(sys.stdout)
        sys.stdout.flush()
        return
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with ExitStack() as stack:
            yield _open(stack, partial, file_format, columns)
        partial.replace(path)
    except OSError as error:
        raise ScrutinError(
            f"The file cannot be written: {error.strerror or error}", where={"file": path}
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _open(
    stack: ExitStack, path: Path, file_format: Format, columns: Mapping[str, type]
) -> RowWriter:
    if file_format is Format.PARQUET:
        parquet = _Parquet(path, columns)
        stack.callback(parquet.close)
        return parquet
    out = stack.enter_context(path.open("w", encoding="utf-8", newline=""))
    return _Csv(out, columns) if file_format is Format.CSV else _JsonLines(out)
