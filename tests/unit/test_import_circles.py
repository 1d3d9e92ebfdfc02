"""Nothing in the product imports itself by a detour."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.import_graph import cycle, explain, file_graph, imports, sibling_graphs

ROOT = Path(__file__).parents[2]

TYPES_ONLY = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    "


def test_no_files_import_each_other_in_a_circle() -> None:
    circle = cycle(file_graph(ROOT))
    assert not circle, "\n" + explain(circle, imports(ROOT))


def test_no_packages_import_each_other_in_a_circle() -> None:
    """At every depth: members of one package, each with all that it holds."""
    circles = [cycle(graph) for graph in sibling_graphs(file_graph(ROOT)).values()]
    found = imports(ROOT)
    assert not any(circles), "\n" + "\n\n".join(explain(c, found) for c in circles if c)


@pytest.mark.parametrize(
    ("files", "between_files", "between_packages"),
    [
        (
            {
                "schemas/a.py": "import schemas.b",
                "schemas/b.py": f"{TYPES_ONLY}from schemas.a import A",
            },
            ["schemas.a", "schemas.b", "schemas.a"],
            ["schemas.a", "schemas.b", "schemas.a"],
        ),
        (
            {
                "streams/one/a.py": "import streams.two.b",
                "streams/two/b.py": "",
                "streams/two/c.py": "def f():\n    from streams.one import d",
                "streams/one/d.py": "",
            },
            [],
            ["streams.one", "streams.two", "streams.one"],
        ),
        ({"streams/one/a.py": "import streams.two.b", "streams/two/b.py": ""}, [], []),
    ],
)
def test_a_circle_is_found(
    tmp_path: Path, files: dict[str, str], between_files: list[str], between_packages: list[str]
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    graph = file_graph(tmp_path)
    assert cycle(graph) == between_files
    [found] = [cycle(each) for each in sibling_graphs(graph).values()] or [[]]
    assert found == between_packages
    for step in explain(found, imports(tmp_path)).splitlines():
        assert re.fullmatch(r"[\w.]+ imports [\w.]+ \([\w.]+:\d: [\w.]+\)", step)
