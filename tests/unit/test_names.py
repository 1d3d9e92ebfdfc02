"""One name for one thing."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

from tests.import_graph import modules

ROOT = Path(__file__).parents[2]

SHARED: dict[str, str] = {}
"""Public class names that two modules may have, each with the reason."""


def classes(root: Path) -> dict[str, set[str]]:
    """Public class name -> modules that define one so called."""
    found: dict[str, set[str]] = defaultdict(set)
    for module, file in modules(root).items():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].add(module)
    return found


def test_a_public_class_name_means_one_class() -> None:
    twice = {name: places for name, places in classes(ROOT).items() if len(places) > 1}
    assert {name: sorted(places) for name, places in twice.items() if name not in SHARED} == {}
    assert SHARED.keys() <= twice.keys(), "an exception that is no longer needed"


def test_a_name_that_is_used_twice_is_found(tmp_path: Path) -> None:
    for package in ("schemas", "streams"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "a.py").write_text("class Vote: ...\nclass _Row: ...\n")
    assert classes(tmp_path) == {"Vote": {"schemas.a", "streams.a"}}
