"""Every row of `docs/compatibility.md` names a test and says whether it is the same."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
ROWS = [
    line
    for line in PAGE.splitlines()
    if line.startswith("| ") and "shown by" not in line and not line.startswith("| --- ")
]


def test_every_row_names_one_test() -> None:
    assert len(ROWS) > 60
    for row in ROWS:
        assert len(re.findall(r"`tests/[\w/]+\.py::\w+`", row)) == 1, row


def test_every_row_says_whether_it_is_the_same() -> None:
    """The last table is about attacks, which the replaced services did not bound."""
    before = PAGE[: PAGE.index("## Attacks")]
    marked = [row for row in ROWS if row in before]
    assert len(marked) > 60
    for row in marked:
        # The cell before the test's name.
        cell = row.split(" | ")[-2]
        assert re.match(r"\*\*(same|superset|different)\*\*", cell), row
        assert "**different**" not in cell or len(cell) > len("**different**"), row
