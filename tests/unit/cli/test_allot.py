"""`scrutin election allot`: seats of party lists from a table of votes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from streams.cli import app, attach
from streams.errors import SettingsError

attach(app, "election")

VOTES = "party,votes\nA,53000\nB,24000\nC,23000\nD,900\n"


def run(tmp_path: Path, *arguments: str, text: str = VOTES) -> Any:
    file = tmp_path / "votes.csv"
    file.write_text(text)
    done = CliRunner().invoke(
        app, ["election", arguments[0], str(file), *arguments[1:], "--json"], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def seats(found: Any) -> dict[str, int]:
    return {one["party"]: one["seats"] for one in found["parties"]}


def test_seats_of_lists(tmp_path: Path) -> None:
    found = run(tmp_path, "allot", "--by", "dhondt", "--seats", "7", "--threshold", "5%")
    assert seats(found) == {"A": 4, "B": 2, "C": 1, "D": 0}
    assert [one["below_threshold"] for one in found["parties"]] == [False, False, False, True]
    assert found["awards"][1] == {"seat": 2, "party": "A", "by": "26500"}
    by_remainder = run(tmp_path, "allot", "--by", "hare", "--seats", "7", "--threshold", "5%")
    assert seats(by_remainder) == {"A": 4, "B": 2, "C": 1, "D": 0}
    modified = ("allot", "--by", "modified_sainte_lague", "--seats", "4", "--first-divisor", "1.2")
    assert seats(run(tmp_path, *modified)) == {"A": 2, "B": 1, "C": 1, "D": 0}
    tied = run(
        tmp_path, "allot", "--by", "dhondt", "--seats", "3", text="party,votes\nA,10\nB,10\n"
    )
    assert (tied["tied_seats"], [one["tied"] for one in tied["parties"]]) == (1, [True, True])
    file = str(tmp_path / "votes.csv")
    shown = CliRunner().invoke(app, ["election", "allot", file, "--by", "dhondt", "--seats", "3"])
    assert "tied for 1 more" in shown.output


@pytest.mark.parametrize(
    ("text", "arguments", "why"),
    [
        ("name,votes\nA,1\n", (), "cannot be read"),
        ("party,votes\nA,1\nA,2\n", (), "line 3"),
        ("party,votes\nA,-1\n", (), "line 2"),
        (VOTES, ("--threshold", "most"), "most"),
        (VOTES, ("--first-divisor", "1/0"), "Fraction"),
    ],
)
def test_what_cannot_be_read_is_refused(
    tmp_path: Path, text: str, arguments: tuple[str, ...], why: str
) -> None:
    with pytest.raises(SettingsError, match=why):
        run(tmp_path, "allot", "--by", "hare", "--seats", "3", *arguments, text=text)
