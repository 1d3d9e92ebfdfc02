"""Only entry points read the settings; everything below them takes small configs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.import_graph import imports

ROOT = Path(__file__).parents[3]

VALUES = {
    "streams.settings.configs",
    "streams.settings.kafka_security",
    "streams.settings.processes",
    "streams.settings.queues",
    "streams.settings.tls",
}
"""Modules of the settings' package that hold values only. All modules may import them."""


def is_entry_point(module: str) -> bool:
    return (
        module == "topology"
        or module.endswith(".__main__")
        or module.split(".")[:2] in (["streams", "cli"], ["streams", "settings"])
    )


def readers(root: Path) -> list[str]:
    """Imports of the settings below the entry points, as module:line."""
    return [
        f"{each.importer}:{each.line} imports {each.imported}"
        for each in imports(root)
        if each.imported.startswith("streams.settings")
        and each.imported not in VALUES
        and not is_entry_point(each.importer)
    ]


def test_only_entry_points_read_the_settings() -> None:
    found = readers(ROOT)
    assert not found, "\n" + "\n".join(found)


def test_values_do_not_read_the_settings() -> None:
    """Otherwise a module that takes a config would load the settings with it."""
    found = [
        f"{each.importer}:{each.line} imports {each.imported}"
        for each in imports(ROOT)
        if each.importer in VALUES
        and each.imported.startswith("streams.settings")
        and each.imported not in VALUES
    ]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("module", "line", "found"),
    [
        ("worker/a", "from streams.settings.model import Settings", True),
        ("worker/a", "from streams.settings import model", True),
        ("worker/a", "import streams.settings.load", True),
        ("worker/a", "def f():\n    from streams.settings.build import worker_config", True),
        (
            "worker/a",
            "from typing import TYPE_CHECKING\n"
            "if TYPE_CHECKING:\n    from streams.settings.model import Settings",
            True,
        ),
        ("worker/a", "from streams.settings.configs import KafkaConfig", False),
        ("worker/__main__", "from streams.settings.model import Settings", False),
        ("cli/a", "from streams.settings.load import load_settings", False),
    ],
)
def test_every_way_to_import_them_is_seen(
    tmp_path: Path, module: str, line: str, found: bool
) -> None:
    for name in ("model", "load", "build", "configs"):
        file = tmp_path / "streams" / "settings" / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
    (tmp_path / "streams" / "settings" / "__init__.py").write_text("")
    (tmp_path / "schemas").mkdir()
    (tmp_path / "topology.py").write_text("")
    importer = tmp_path / "streams" / f"{module}.py"
    importer.parent.mkdir(parents=True, exist_ok=True)
    importer.write_text(line)
    assert bool(readers(tmp_path)) == found
