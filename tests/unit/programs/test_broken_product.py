"""The patches that break the product still apply to it, and what they make still compiles."""

from __future__ import annotations

import compileall
import filecmp
from pathlib import Path

import pytest

from tests.faults.broken import ROOT, broken_product, patches


def test_every_invariant_has_a_patch() -> None:
    assert patches() == [
        "ack_before_kafka",
        "changelog_after_verdict",
        "no_fence",
        "no_redelivery_identity",
        "takes_in_outages",
    ]


@pytest.mark.parametrize("name", patches())
def test_a_patch_changes_one_module_and_nothing_else(name: str, tmp_path: Path) -> None:
    copy = broken_product(name, tmp_path / name)
    modules = [path.relative_to(copy) for path in copy.rglob("*.py")]
    assert len(modules) > 100
    changed = [m for m in modules if not filecmp.cmp(copy / m, ROOT / m, shallow=False)]
    assert len(changed) == 1
    assert compileall.compile_file(copy / changed[0], quiet=1, force=True)


def test_a_patch_that_does_not_apply_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    for part in ("streams", "schemas", "sql"):
        (other / part).mkdir(parents=True)
    (other / "topology.py").touch()
    monkeypatch.setattr("tests.faults.broken.ROOT", other)
    with pytest.raises(AssertionError, match=r"no_fence\.patch no longer applies"):
        broken_product("no_fence", tmp_path / "copy")
