"""The locks hold every dependency, with hashes, and nothing of the machine that made them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.platforms.pythons import closure
from tests.platforms.pythons import pins as pins_of

ROOT = Path(__file__).parents[2]
LOCKS = {
    "requirements.lock": ("bridge", "dev", "gateway", "parquet", "tally", "worker"),
    "docker/requirements.lock": ("bridge", "gateway", "parquet", "tally", "worker"),
}
"""Lock -> the extras that it installs."""
TEXTS = {name: (ROOT / name).read_text() for name in LOCKS}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins(lock: str) -> dict[str, set[str]]:
    """Name -> versions; several where platforms differ."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==([^\s\\]+)", TEXTS[lock], re.MULTILINE):
        found.setdefault(name.lower(), set()).add(version)
    return found


@pytest.mark.parametrize(("lock", "extras"), LOCKS.items())
def test_holds_every_dependency(lock: str, extras: tuple[str, ...]) -> None:
    optional = PROJECT["optional-dependencies"]
    wanted = [*PROJECT["dependencies"], *(line for extra in extras for line in optional[extra])]
    names = {re.split(r"[\[<>=~! ;]", line)[0].lower() for line in wanted}
    assert names - {"scrutin"} <= pins(lock).keys(), "pyproject.toml has changed: make lock"


def test_the_image_has_the_tested_versions_and_no_tools() -> None:
    image, tested = pins("docker/requirements.lock"), pins("requirements.lock")
    assert image == {name: tested[name] for name in image}
    assert not {"mypy", "playwright", "pytest", "ruff"} & image.keys()


@pytest.mark.parametrize("lock", LOCKS)
def test_pins_by_hash(lock: str) -> None:
    blocks = re.split(r"\n(?=[\w.-]+==)", TEXTS[lock])
    assert all("--hash=sha256:" in block for block in blocks if "==" in block)


@pytest.mark.parametrize("lock", LOCKS)
def test_names_no_address_and_no_folder(lock: str) -> None:
    assert not re.search(r"://|--(extra-)?index-url|--find-links|\s@\s|[\s=]/\w", TEXTS[lock])


def test_other_pythons_get_a_part_of_the_same_lock() -> None:
    lock = TEXTS["requirements.lock"]
    needed = closure(["pytest"])
    assert {"pytest", "pluggy", "iniconfig", "packaging"} <= needed
    assert "hypothesis" not in needed, "extras are not followed"
    part = pins_of(lock, needed)
    assert {line for line in part.splitlines() if line} <= set(lock.splitlines())
    heads = [line for line in part.splitlines() if "==" in line]
    assert {head.split("==")[0] for head in heads} == needed & pins("requirements.lock").keys()
    assert all(f"{head}\n    --hash=" in part for head in heads)
