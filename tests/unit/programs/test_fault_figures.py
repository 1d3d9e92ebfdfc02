"""The documentation's table of the last fault runs."""

from __future__ import annotations

import pytest

from tests.faults.figures import BEGIN, END, PAGE, between, table
from tests.faults.registry import scenarios
from tests.faults.running import Result


def test_the_worst_of_a_scenario_s_runs_is_told() -> None:
    results = [
        Result("calm", 1, 1000, "exact", recovered_s=0.5, replays=3),
        Result("calm", 2, 1000, "wrong", recovered_s=2.25, replays=1, duplicate_egress=7),
    ]
    lines = table(results, {one.name: one for one in scenarios()}).splitlines()
    [line] = [line for line in lines if line.startswith("| calm |")]
    assert line.endswith("| 2 | 2,000 | exact, wrong | 2.2 | 3 | 7 |")
    assert lines[-1] == "1 of 2 runs as they must be, 2,000 votes."


def test_only_what_is_between_the_marks_changes() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    new = between(page, "new")
    assert new == page.replace("old", "new")
    assert between(new, "new") == new
    with pytest.raises(AssertionError, match="the page has no"):
        between("no marks", "new")


def test_the_page_has_the_marks() -> None:
    assert between(PAGE.read_text(encoding="utf-8"), "new")
