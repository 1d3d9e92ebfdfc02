"""`scrutin election tabulate`: a file counted alone, by run-off and by transferable vote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from streams.cli import app, attach
from streams.elections.files.items import FileRefused
from streams.errors import SettingsError

WARD = """\
4 2
-4
7 1 4 2 0
5 1 3 0
1 1 0
4 2 0
6 3 0
1 - 2 0
0
"Ann"
"Bob"
"Cyd"
"Dee"
"Ward"
"""


attach(app, "election")


def run(*arguments: str) -> Any:
    done = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def ward(tmp_path: Path, text: str = WARD) -> str:
    (tmp_path / "ward5.blt").write_text(text)
    return str(tmp_path / "ward5.blt")


def test_a_file_is_counted_without_a_service(tmp_path: Path) -> None:
    file = ward(tmp_path)
    found = run("election", "tabulate", file, "--by", "scottish")
    assert (found["ballots"], found["invalid"], found["withdrawn"]) == (24, 1, ["Dee"])
    first, second, _ = found["stages"]
    assert (first["quota"], first["elected"], first["surplus_of"]) == ("8.00000", ["Ann"], "Ann")
    assert second["votes"] == {"Ann": "8.00000", "Bob": "6.69227", "Cyd": "7.92305"}
    assert (second["excluded"], found["elected"]) == (["Bob"], ["Ann", "Cyd"])
    by_meek = run("election", "tabulate", file, "--by", "meek")
    assert (by_meek["elected"][0], len(by_meek["elected"])) == ("Ann", 2)
    assert by_meek["stages"][1]["keep_factors"]["Ann"] < "0.7"
    one = run("election", "tabulate", file, "--by", "runoff", "--seats", "1", "--rules", "maine")
    assert (one["elected"], one["stages"][0]["votes"]["Ann"]) == (["Ann"], "13")
    shown = CliRunner().invoke(app, ["election", "tabulate", file, "--by", "scottish"])
    assert "stage 1: Ann elected; surplus of Ann goes on" in shown.output


def test_what_cannot_be_counted_is_refused(tmp_path: Path) -> None:
    file = ward(tmp_path)
    with pytest.raises(SettingsError, match="one seat"):
        run("election", "tabulate", file)
    with pytest.raises(SettingsError, match="no rules"):
        run("election", "tabulate", file, "--seats", "1", "--rules", "nowhere")
    with pytest.raises(FileRefused, match="1 lines are no ballots"):
        run(
            "election",
            "tabulate",
            ward(tmp_path, WARD.replace("7 1 4 2 0", "7 1 4 2")),
            "--by",
            "meek",
        )
