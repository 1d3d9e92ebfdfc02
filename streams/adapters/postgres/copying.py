"""Rows that are encoded for PostgreSQL's COPY, written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

_BEGIN: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END: Final = b"\xff\xff"
_ROWS_AT_ONCE: Final = 4000
"""They go out as one message, which PostgreSQL limits to 1 GB."""


async def copy_encoded(
    connection: Any, table: str, columns: Sequence[str], rows: Sequence[bytes]
) -> None:
    """Write rows in the binary form, each with its number of fields."""
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        data = b"".join([_BEGIN, *rows[start : start + _ROWS_AT_ONCE], _END])
        # The driver takes bytes for a path.
        await connection.copy_to_table(
            table, source=memoryview(data), columns=columns, format="binary"
        )
