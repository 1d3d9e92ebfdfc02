"""Reads tables from CSV files."""

from __future__ import annotations

import csv
from itertools import zip_longest
from pathlib import Path
from typing import Any

from streams.core.file_rows import FileRow


def read_csv(file: Path) -> list[FileRow]:
    """Rows of a file with a header.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not UTF-8.
        csv.Error: it is no CSV.
    """
    rows = []
    with file.open(encoding="utf-8-sig", newline="") as lines:
        table = csv.reader(lines)
        header = next(table, [])
        # A cell in quotes may have several lines.
        before = table.line_num
        for cells in table:
            if cells:
                # A short row has None in the columns that it lacks.
                values: dict[Any, Any] = dict(zip_longest(header, cells))
                rows.append(FileRow(values, file.name, before + 1))
            before = table.line_num
    return rows
