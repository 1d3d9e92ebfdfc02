"""Rows of a table that know where in a file they stand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class FileRow(dict[str, Any]):
    """A row by its column names.

    Args:
        values: of the row.
        file: its name.
        line: the line on which the row begins, from 1.
    """

    def __init__(self, values: Mapping[str, Any], file: str, line: int) -> None:
        super().__init__(values)
        self.file = file
        self.line = line


def place_of(row: Mapping[str, Any], table: str, number: int) -> tuple[str, dict[str, object]]:
    """Where a row stands, for people and for the context of an error.

    Args:
        row: of a file or of anything else.
        table: what its rows are called.
        number: of the row in the table, from 1.
    """
    if isinstance(row, FileRow):
        return f"Line {row.line} of {row.file}", {"file": row.file, "line": row.line}
    return f"Row {number} of {table}", {"table": table, "row": number}
