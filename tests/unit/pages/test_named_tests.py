"""Every test that the pages of compatibility and threats name exists, and every line names one."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
THREATS = (ROOT / "docs" / "threats.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE + THREATS)))
ROWS = [
    line
    for line in PAGE.splitlines()
    if line.startswith("| ") and "shown by" not in line and not line.startswith("| --- ")
]


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_the_named_test_exists(file: str, name: str) -> None:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, functions)}


def test_every_row_names_one_test() -> None:
    assert len(ROWS) > 60
    for row in ROWS:
        assert len(re.findall(r"`tests/[\w/]+\.py::\w+`", row)) == 1, row


def test_every_threat_and_measure_names_a_test_or_says_that_there_is_none() -> None:
    table, rest = THREATS.split("## Measures")
    rows = [line for line in table.splitlines() if line.startswith("| ")][2:]
    # What an attacker cannot do is a promise.
    promises = [row.split("|")[3] for row in rows] + rest.split("## Hostile")[0].split("\n- ")[1:]
    assert len(promises) > 25
    for promise in promises:
        assert "`tests/" in promise or "not tested" in promise, promise


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
