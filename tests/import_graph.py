"""What imports what in the product, read from its source without running it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

PARTS = ("schemas", "streams", "topology.py")
"""The product, below the root of the repository."""

Graph = Mapping[str, set[str]]


class Import(NamedTuple):
    """One import: at the top, in a function, or for types only."""

    importer: str
    imported: str
    """A module of the product, or the name as it stands in the source."""
    line: int


def modules(root: Path) -> dict[str, Path]:
    """Dotted name -> file of every module; a package is its `__init__.py`."""
    found = {}
    for part in PARTS:
        path = root / part
        for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
            names = file.relative_to(root).with_suffix("").parts
            found[".".join(names[:-1] if names[-1] == "__init__" else names)] = file
    return found


def imports(root: Path) -> list[Import]:
    """Every import of every module, those under `TYPE_CHECKING` and in functions included."""
    files = modules(root)
    return [each for name, file in files.items() for each in _imports_of(name, file, files)]


def _imports_of(name: str, file: Path, files: Mapping[str, Path]) -> Iterator[Import]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(name, alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, f"{file}:{node.lineno}: a relative import"
            assert node.level == 0, f"{file}:{node.lineno}: a relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield Import(name, inner if inner in files else node.module, node.lineno)


def file_graph(root: Path) -> Graph:
    """Module -> modules of the product that it imports."""
    files = modules(root)
    graph: dict[str, set[str]] = {name: set() for name in files}
    for each in imports(root):
        if each.imported in files and each.imported != each.importer:
            graph[each.importer].add(each.imported)
    return graph


def sibling_graphs(files: Graph) -> dict[str, Graph]:
    """For each package, how its direct members import each other, a member being all it holds.

    The key "" is for the members at the top: `schemas`, `streams` and `topology`.
    """
    graphs: dict[str, dict[str, set[str]]] = {}
    for importer, imported in files.items():
        for other in imported:
            mine, theirs = importer.split("."), other.split(".")
            depth = 0
            while depth < min(len(mine), len(theirs)) and mine[depth] == theirs[depth]:
                depth += 1
            if depth == min(len(mine), len(theirs)):
                # A package and a module in it: they are members of no common package.
                continue
            members = graphs.setdefault(".".join(mine[:depth]), {})
            members.setdefault(".".join(mine[: depth + 1]), set()).add(
                ".".join(theirs[: depth + 1])
            )
    return graphs


def cycle(graph: Graph) -> list[str]:
    """A shortest circle, its first member again at the end; empty if there is none."""
    shortest: list[str] = []
    for start in sorted(graph):
        found = _path_back(graph, start)
        if found and (not shortest or len(found) < len(shortest)):
            shortest = found
    return shortest


def _path_back(graph: Graph, start: str) -> list[str]:
    came_from: dict[str, str] = {}
    waiting = [start]
    for at in waiting:
        for following in sorted(graph.get(at, ())):
            if following == start:
                path = [start, at]
                while path[-1] != start:
                    path.append(came_from[path[-1]])
                return path[::-1]
            if following not in came_from:
                came_from[following] = at
                waiting.append(following)
    return []


def explain(circle: Iterable[str], found: Iterable[Import]) -> str:
    """A circle with the line of an import for each of its steps."""
    names, known = list(circle), list(found)
    lines = []
    for importer, imported in pairwise(names):
        where = next(e for e in known if _in(e.importer, importer) and _in(e.imported, imported))
        lines.append(
            f"{importer} imports {imported} ({where.importer}:{where.line}: {where.imported})"
        )
    return "\n".join(lines)


def _in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")
