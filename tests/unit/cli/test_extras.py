"""What a command says whose packages are not installed."""

from __future__ import annotations

import importlib
import tomllib
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from streams.cli.extras import attach_missing, needs, provider
from streams.errors import ExitCode, NotInstalled

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("module", "package"),
    [
        ("streams.load", "scrutin-local"),
        ("streams.devstack", "scrutin-local"),
        ("faust", "scrutin[worker]"),
        ("nacl.public", "scrutin[tally]"),
        ("pyarrow", "scrutin[parquet]"),
        ("streams.loader", None),
        ("msgspec", None),
    ],
)
def test_a_missing_module_names_what_brings_it(module: str, package: str | None) -> None:
    assert provider(ModuleNotFoundError(name=module)) == package


def test_what_is_imported_already_is_not_missing() -> None:
    importlib.import_module("faust")
    needs("faust", "worker")
    with pytest.raises(ImportError):
        needs("no_such_module", "worker")


def test_an_extra_that_is_named_exists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    local = tomllib.loads((ROOT / "local" / "pyproject.toml").read_text())["project"]
    assert {"worker", "tally", "parquet"} <= project["optional-dependencies"].keys()
    assert local["name"] == "scrutin-local"


@pytest.mark.parametrize("arguments", [[], ["--help"], ["up", "--native", "kafka"]])
def test_whatever_is_typed_it_says_what_to_install(arguments: list[str]) -> None:
    app = typer.Typer()
    app.callback()(lambda: None)
    attach_missing(app, "stack", "scrutin-local", "Run")
    done = CliRunner().invoke(app, ["stack", *arguments])
    assert isinstance(done.exception, NotInstalled)
    assert done.exception.exit_code == ExitCode.NOT_INSTALLED
    assert str(done.exception) == (
        "`scrutin stack` needs scrutin-local, which is not installed."
        " In a checkout of Scrutin type: pip install './local'"
    )


def test_the_help_marks_it() -> None:
    app = typer.Typer(rich_markup_mode="markdown")
    app.callback()(lambda: None)
    attach_missing(app, "tally", "scrutin[tally]", "Look")
    done = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "120"})
    assert "Needs scrutin[tally], which is not installed." in done.stdout
