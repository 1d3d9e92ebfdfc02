"""The changelog is compared record by record, whatever was added to it, in a fixed memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

from schemas.voted import CHANGELOG_KEY
from streams.maintenance.recount.side_streams import ChangelogBeside


async def changelog(*records: tuple[int, bytes]) -> AsyncIterator[list[Any]]:
    for offset, value in records:
        yield [SimpleNamespace(key=CHANGELOG_KEY.pack(offset), value=value)]


async def test_a_copy_may_come_late_and_another_content_is_found() -> None:
    beside = ChangelogBeside(changelog((1, b"b"), (0, b"a"), (2, b"other"), (0, b"again")), 3)
    assert [await beside.compare(n, b"%c" % (97 + n)) for n in range(2)] == ["", ""]
    assert await beside.compare(2, b"c")
    assert beside.missing() is None


async def test_a_record_far_beyond_the_log_hides_nothing() -> None:
    beside = ChangelogBeside(changelog((2**64 - 1, b"?"), (0, b"a")), 1)
    assert await beside.compare(0, b"a") == ""
    assert beside.missing() is None


async def test_an_empty_changelog_takes_no_memory() -> None:
    beside = ChangelogBeside(changelog(), 1000)
    tracemalloc.start()
    try:
        for offset in range(1000):
            assert await beside.compare(offset, b"%d" % offset * 100) == ""
        size_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert beside.missing() == 0
    assert size_bytes < 10_000
