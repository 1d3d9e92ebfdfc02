"""The rule of dependency holds, and `make lint` sees where it does not."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.import_graph import imports, modules

ROOT = Path(__file__).parents[2]
RULES: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
CONTRACTS: dict[str, dict[str, Any]] = {each["id"]: each for each in RULES["contracts"]}
LAYERS = [re.split(r" \| ", layer) for layer in CONTRACTS["layers"]["layers"]]
"""From the highest to the lowest."""

TYPES_ONLY = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    "


WRONG = [
    ("streams/core/fence.py", "import streams.adapters.postgres.connection", "layers"),
    ("streams/adapters/redis/client.py", "import streams.intake.roll", "layers"),
    ("streams/intake/roll.py", "import streams.control.epochs", "layers"),
    ("streams/worker/process.py", "import streams.bridge.process", "layers"),
    ("streams/tally/worker.py", f"{TYPES_ONLY}import streams.gateway.app", "layers"),
    ("streams/core/fence.py", "import asyncpg", "core"),
    ("streams/core/decide.py", "import faust", "core"),
    ("schemas/codec.py", "def f() -> None:\n    import time", "core"),
    ("streams/gateway/app.py", "import streams.devstack.ports", "local"),
    ("streams/maintenance/reset.py", "import streams.load.expected", "local"),
]
"""File, what is appended to it, and the contract that this breaks."""


def copy_of_the_tree(folder: Path) -> Path:
    """What import-linter reads, to be changed."""
    for package in RULES["root_packages"]:
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, folder / package, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def append(tree: Path, file: str, line: str) -> None:
    with (tree / file).open("a", encoding="utf-8") as module:
        module.write(f"\n{line}\n")


def lint(tree: Path) -> tuple[int, str]:
    """Exit code and output of import-linter for a tree."""
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [str(program), "--no-cache", "--no-logo"],
        cwd=tree,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, str]:
    """What import-linter says about a tree with all the wrong imports."""
    tree = copy_of_the_tree(tmp_path_factory.mktemp("tree"))
    for file, line, _ in WRONG:
        append(tree, file, line)
    return lint(tree)


@pytest.mark.parametrize(("file", "line", "contract"), WRONG)
def test_a_wrong_import_is_seen(
    broken: tuple[int, str], file: str, line: str, contract: str
) -> None:
    code, output = broken
    assert code == 1
    name = CONTRACTS[contract]["name"]
    assert f"{name} BROKEN" in output
    # The output ends with a section for each broken contract: its name, underlined, and imports.
    section = re.split(rf"\n{name}\n-+\n", output)[1].split("\n---", maxsplit=1)[0]
    importer = file.removesuffix(".py").replace("/", ".")
    assert re.search(rf"{importer} -> {line.rsplit(maxsplit=1)[-1]} \(l\.\d+\)", section), output


def test_a_right_import_is_allowed(tmp_path: Path) -> None:
    tree = copy_of_the_tree(tmp_path)
    append(tree, "streams/worker/process.py", "import streams.control.epochs")
    code, output = lint(tree)
    assert code == 0, output


def test_nothing_is_exempt() -> None:
    """No import is ignored, and one for types only counts."""
    assert RULES["exclude_type_checking_imports"] is False
    assert not [name for name, contract in CONTRACTS.items() if "ignore_imports" in contract]


def test_every_package_has_its_layer() -> None:
    placed = {package for layer in LAYERS for package in layer}
    members = {_package(name) for name in modules(ROOT)}
    assert members - placed == {"streams", "topology"}
    assert placed <= members
    # What the wheel does not hold is forbidden to all others but the command line.
    apart = set(CONTRACTS["local"]["forbidden_modules"])
    assert set(CONTRACTS["local"]["source_modules"]) == placed - apart - {"streams.cli"}


def test_the_topology_stands_beside_the_processes() -> None:
    """`topology.py` is no package, so import-linter does not read it."""
    below = {
        package
        for layer in LAYERS[LAYERS.index(next(e for e in LAYERS if "streams.bridge" in e)) + 1 :]
        for package in layer
    }
    found = imports(ROOT)
    taken = {e.imported for e in found if e.importer == "topology" and _is_ours(e.imported)}
    assert len(taken) > 5
    assert {_package(name) for name in taken} <= below
    assert not [each for each in found if each.imported == "topology"]


def test_the_core_imports_nothing_but_arithmetic() -> None:
    """From outside the product: msgspec for its records, numpy for its indexes."""
    beside = {
        name
        for each in imports(ROOT)
        if each.importer.startswith(("streams.core", "schemas"))
        for name in [each.imported.partition(".")[0]]
        if not _is_ours(each.imported) and name not in sys.stdlib_module_names
    }
    assert beside == {"msgspec", "numpy"}


def test_the_core_asks_no_clock() -> None:
    """`datetime` is a type there; its clock is not used."""
    clocks = {"now", "today", "utcnow"}
    asked = [
        f"{name}:{node.lineno}"
        for name, file in modules(ROOT).items()
        if name.startswith(("streams.core", "streams.messages", "schemas"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in clocks
    ]
    assert asked == []


def _is_ours(name: str) -> bool:
    return name.partition(".")[0] in {"schemas", "streams", "topology"}


def _package(name: str) -> str:
    """What has a layer: a member of `streams`, or `schemas`."""
    return ".".join(name.split(".")[: 2 if name.startswith("streams.") else 1])
