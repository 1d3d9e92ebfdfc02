"""`scrutin audit`: draws and risks from files, without a service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from streams.cli.audit.commands import app
from streams.errors import SettingsError


def run(*arguments: str) -> Any:
    done = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_draws_of_a_manifest(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("container,batch,ballots\nA,1,500\nA,2,376\n")
    seed = "3546311556112163624615351222"
    found = run("sample", str(manifest), "--seed", seed, "--count", "5")
    assert [draw["paper"] for draw in found["draws"]] == [740, 180, 264, 789, 238]
    assert [(d["batch"], d["position"]) for d in found["draws"][:2]] == [
        ("A / 2", 240),
        ("A / 1", 180),
    ]
    shown = CliRunner().invoke(app, ["sample", str(manifest), "--seed", seed, "--count", "5"])
    assert "5 of 876 papers" in shown.output
    manifest.write_text("batch,ballots\n1,x\n")
    with pytest.raises(SettingsError, match="row 1"):
        run("sample", str(manifest), "--seed", seed, "--count", "5")


VOTES = ("--votes", "Ann=6000", "--votes", "Bob=4000", "--papers", "10200")


def test_the_risk_of_a_sample(tmp_path: Path) -> None:
    seen = tmp_path / "seen.csv"
    rows = ["Ann,Ann"] * 14 + ["Bob,Bob"] + [","]
    seen.write_text("recorded,seen\n" + "\n".join(rows) + "\n")
    bravo = run(
        "risk", str(seen), "--votes", "Ann=6000", "--votes", "Bob=4000", "--papers", "10200"
    )
    assert (bravo["draws"], bravo["may_end"]) == (16, False)
    assert bravo["risk"] == pytest.approx(1.2**-14)
    # 153.3 votes for the two, of 10,000 on 10,200 papers.
    assert bravo["papers_on_average"] == 157
    assert run("risk", str(seen), *VOTES, "--limit", "0.08")["may_end"]
    alpha = run("risk", str(seen), *VOTES, "--method", "alpha")
    assert 0 < alpha["risk"] < bravo["risk"]
    compared = run(
        *("risk", str(seen), "--votes", "Ann=6000", "--votes", "Bob=4000", "--papers", "10200"),
        *("--method", "comparison", "--limit", "0.1"),
    )
    assert compared["discrepancies"]["seen"] == 16
    assert compared["papers_needed"] == 25
    shown = CliRunner().invoke(app, ["risk", str(seen), *VOTES])
    assert "the audit goes on" in shown.output


@pytest.mark.parametrize(
    ("text", "more", "why"),
    [
        ("seen\nEve\n", (), "not among"),
        ("vote\nAnn\n", (), "no column called seen"),
        ("seen\nAnn\n", ("--votes", "Cyd=900"), "More votes"),
        ("seen\nAnn\n", ("--votes", "Cyd"), "not NAME=VOTES"),
        ("seen\nAnn\n", ("--without-replacement",), "Only alpha"),
        ("seen\nAnn\n", ("--seats", "2"), "no loser"),
    ],
)
def test_what_cannot_be_computed_is_refused(
    tmp_path: Path, text: str, more: tuple[str, ...], why: str
) -> None:
    seen = tmp_path / "seen.csv"
    seen.write_text(text)
    with pytest.raises(SettingsError, match=why):
        run("risk", str(seen), *VOTES, *more)


def test_an_empty_folder_of_checkpoints_is_no_comparison(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no checkpoint"):
        run("verify", "--seen", str(tmp_path))
