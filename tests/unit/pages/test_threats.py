"""Every promise of `docs/threats.md` names a test, or is marked as not held."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = (Path(__file__).parents[3] / "docs" / "threats.md").read_text(encoding="utf-8")
SHOWN = re.compile(r"`tests/[\w/]+\.py::test_\w+`|\*\*not held\*\*")


def section(title: str) -> list[str]:
    """The lines of a section."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1].splitlines()


def rows(title: str) -> list[list[str]]:
    """The cells of a section's table, without its head."""
    lines = [line for line in section(title) if line.startswith("|")]
    return [line.strip("| ").split(" | ") for line in lines[2:]]


def test_every_promise_names_a_test_or_is_not_held() -> None:
    for title in ("What each cannot do", "What would show it", "Measures"):
        found = rows(title)
        assert len(found) > 20
        for *said, shown in found:
            assert all(said), said
            assert SHOWN.search(shown), (title, said)


def test_nothing_is_promised_outside_the_tables() -> None:
    assert "**not held**" in "\n".join(section("Not covered"))
    for title in ("What each cannot do", "What would show it", "Measures"):
        assert all(line.startswith("|") for line in section(title) if line), title


def test_every_attacker_has_what_it_can_and_what_it_cannot() -> None:
    attackers = [name for name, _ in rows("What each can do")]
    assert len(attackers) > 15
    for title in ("What each cannot do", "What would show it"):
        assert list(dict.fromkeys(row[0] for row in rows(title))) == attackers
