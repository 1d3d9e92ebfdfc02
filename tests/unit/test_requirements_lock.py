"""The lock: every dependency is in it, with hashes, and nothing of the machine that made it."""

from __future__ import annotations

import re
import tomllib
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text()


def _pinned() -> set[str]:
    return {name.lower() for name in re.findall(r"^([\w.-]+)==", LOCK, re.MULTILINE)}


def test_holds_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    names = {re.split(r"[\[<>=~! ;]", line)[0].lower() for line in wanted} - {project["name"]}
    assert names <= _pinned(), "pyproject.toml has changed: make lock"


def test_pins_by_hash() -> None:
    blocks = re.split(r"\n(?=[\w.-]+==)", LOCK)
    assert all("--hash=sha256:" in block for block in blocks if "==" in block)


def test_names_no_address_and_no_folder() -> None:
    assert not re.search(r"://|--(extra-)?index-url|--find-links|\s@\s|[\s=]/\w", LOCK)
