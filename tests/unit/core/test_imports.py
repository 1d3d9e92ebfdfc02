"""`core` decides from values alone: it imports no driver, no clock, no event loop and no Faust."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

CORE = Path(__file__).parents[3] / "streams" / "core"
MODULES = sorted(CORE.rglob("*.py"))

OWN = ("schemas", "streams.core", "streams.errors")
THIRD_PARTY = {"msgspec", "numpy"}
STANDARD = {
    "__future__",
    "array",
    "bisect",
    "collections",
    "contextlib",
    "dataclasses",
    "datetime",  # conversions only, see CLOCKS
    "enum",
    "fractions",
    "functools",
    "hashlib",
    "hmac",
    "json",
    "re",
    "struct",
    "typing",
    "unicodedata",
    "zlib",
}
CLOCKS = {"now", "utcnow", "today"}
"""Calls that read the clock through `datetime`."""


def forbidden(source: str) -> Iterator[str]:
    """Imports and clock reads that `core` may not have, with their lines."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                imported = [name.name for name in names]
            case ast.ImportFrom(level=0, module=str(module), names=names):
                # `from streams import gateway` imports a package, `from x import y` a module of x.
                own = module == "streams"
                imported = [f"{module}.{n.name}" for n in names] if own else [module]
            case ast.ImportFrom(level=level):
                imported = ["." * level]
            case ast.Attribute(attr=name) if name in CLOCKS:
                yield f"line {node.lineno}: reads the clock by {name}()"
                continue
            case ast.Call(func=ast.Name(id="__import__")):
                imported = ["__import__"]
            case _:
                continue
        for name in imported:
            own_module = any(name == each or name.startswith(f"{each}.") for each in OWN)
            if not own_module and name.partition(".")[0] not in STANDARD | THIRD_PARTY:
                yield f"line {node.lineno}: imports {name}"


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_core_imports_values_only(module: Path) -> None:
    assert list(forbidden(module.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "line",
    [
        "import asyncio",
        "import time",
        "import random",
        "import importlib",
        "import faust",
        "import structlog",
        "from aiokafka import ConsumerRecord",
        "from prometheus_client import Counter",
        "from streams import runtime",
        "from streams.runtime.metrics import WorkerMetrics",
        "from streams.core_like import x",
        "from ..runtime import metrics",
        "if TYPE_CHECKING:\n    import asyncpg",
        "def late():\n    import redis",
        "stamp = datetime.now(UTC)",
        "rows = __import__('asyncpg')",
    ],
)
def test_what_core_may_not_import_is_named(line: str) -> None:
    assert len(list(forbidden(line))) == 1


def test_all_modules_are_read() -> None:
    assert {"decide", "fence", "transition"} <= {module.stem for module in MODULES}
