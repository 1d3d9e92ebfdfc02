"""The seed's file and what `scrutin election lot` takes, before any service is asked."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streams.cli.election.commands import app
from streams.cli.election.facts import _make_seed, _read_seed
from streams.core.conduct import MIN_SEED_CHARACTERS
from streams.errors import SettingsError


def test_a_seed_is_made_once_secret_and_random(tmp_path: Path) -> None:
    files = [tmp_path / "a.txt", tmp_path / "b.txt"]
    for file in files:
        _make_seed(file)
    first, second = (_read_seed(file) for file in files)
    assert first != second
    assert len(first) > MIN_SEED_CHARACTERS
    assert stat.S_IMODE(files[0].stat().st_mode) == 0o600
    with pytest.raises(SettingsError, match="cannot be written"):
        _make_seed(files[0])


@pytest.mark.parametrize("text", ["", "short\n", "x" * 1001, "twenty characters\nand a line"])
def test_a_seed_that_could_be_guessed_or_is_no_line_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "seed.txt"
    file.write_text(text)
    with pytest.raises(SettingsError, match="A seed is one line"):
        _read_seed(file)
    with pytest.raises(SettingsError, match="cannot be read"):
        _read_seed(tmp_path / "none.txt")


@pytest.mark.parametrize("drawn", [(), ("--elects", "11", "--eliminates", "12")])
def test_a_lot_has_exactly_one_outcome(drawn: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, ["lot", "1", "11", "12", *drawn, "--yes"])
    assert isinstance(done.exception, SettingsError)
    assert "not clear what was drawn" in str(done.exception)


def test_what_cannot_be_taken_back_is_asked_about() -> None:
    done = CliRunner().invoke(app, ["withdraw", "1", "12", "--reason", "dead"])
    assert isinstance(done.exception, SettingsError)
    assert "cannot be taken back" in str(done.exception)
