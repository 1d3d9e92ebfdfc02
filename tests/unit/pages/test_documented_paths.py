"""Files, folders and tests that README and docs/ name exist; the module map has every folder."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.documented import PAGES, ROOT

_PATH = re.compile(
    r"`((?:streams|schemas|tests|sql|docker|docs)/[\w./*-]*|topology\.py)(?:::\w+)?`"
)
NAMED = sorted(
    {
        (page.name, path)
        for page in PAGES
        for path in _PATH.findall(page.read_text(encoding="utf-8"))
    }
)
NAMED_TESTS = sorted(
    {
        named
        for page in PAGES
        for named in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page.read_text(encoding="utf-8"))
    }
)
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """The text of a section of the architecture page."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", ARCHITECTURE, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


@pytest.mark.parametrize(("page", "path"), NAMED)
def test_a_path_that_is_named_exists(page: str, path: str) -> None:
    assert list(ROOT.glob(path.rstrip("/"))), f"{page} names {path}"


@pytest.mark.parametrize(("file", "name"), NAMED_TESTS)
def test_a_test_that_is_named_exists(file: str, name: str) -> None:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, functions)}


def test_the_pages_name_paths_and_tests() -> None:
    assert len(NAMED) > 60
    assert len(NAMED_TESTS) > 100


def test_the_module_map_has_every_folder_once() -> None:
    listed = re.findall(
        r"`streams/(\w+)/`",
        "\n".join(re.findall(r"^\| (.*?) \|", section("The module map"), re.MULTILINE)),
    )
    folders = [
        each.name for each in Path(ROOT / "streams").iterdir() if (each / "__init__.py").exists()
    ]
    assert sorted(listed) == sorted(folders)


def test_the_glossary_has_each_word_once_and_in_order() -> None:
    words = re.findall(r"^\| ([^|]+?) \| ", section("Glossary"), re.MULTILINE)[2:]
    assert len(words) > 60
    assert words == sorted(set(words), key=str.lower)
