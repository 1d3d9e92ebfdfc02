"""The check of the words: each makes it red, in every kind of file and only in what is prose."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.tools.prose import CODE, REPLACEMENTS, check, main


def in_repository(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    subprocess.run(["git", "init", "-q", str(root)], check=True, timeout=60)


@pytest.mark.parametrize(
    ("path", "text", "line"),
    [
        ("streams/a.py", '"""Starts\n\nanew."""\n', 3),
        ("streams/a.py", "x = 1  # whoever reads this\n", 1),
        ("streams/a.py", 'raise ValueError(f"Kafka is away: {x}")\n', 1),
        ("streams/a.py", 'x = (\n    "Redis is"\n    " away"\n)\n', 2),
        ("streams/a.py", 'x = (\n    f"{y} is"\n    f" away {{}}"\n)\n', 2),
        ("streams/a.py", "# What\n# it does.\nx = [\n# the services\n# before\n]\n", 4),
        ("streams/a.py", '"""Ends\nfor\ngood"""\n', 2),
        ("sql/1.sql", "SELECT 1;\n-- who has the\n-- lock in\n-- hand\n", 3),
        ("docs/a.md", "A worker\nlets go of\nit\n", 2),
        ("a.js", "// whoever\n", 1),
        ("a.js", "/* It stands\n * still */\n", 1),
        ("a.js", 'say("is away")\n', 1),
        ("Makefile", "a: ## made anew\n", 1),
        ("docker/a.yaml", "# is in\n# hand\n", 1),
        (".env.example", "# Whoever\nA=1\n", 1),
    ],
)
def test_a_word_is_found_where_it_stands(path: str, text: str, line: int) -> None:
    [found] = check(path, text)
    assert (found.path, found.line) == (path, line)
    assert found.instead in REPLACEMENTS.values()


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("streams/a.py", "whoever = anew(regime)\n"),
        ("streams/a.py", 'run(["in", "hand"])\n'),
        ("streams/a.py", '"scrutin_surplus_votes_total"\n'),
        ("sql/1.sql", "SELECT whoever FROM anew;\n"),
        ("a.js", "whoever(anew)\n"),
        (
            "docs/a.md",
            "It looks at it. A renewed handle away from whomever: what its hand, in handy.\n",
        ),
    ],
)
def test_names_in_code_and_parts_of_words_are_left_alone(path: str, text: str) -> None:
    assert CODE not in text
    assert check(path, text) == []


def test_a_banned_word_makes_the_check_red(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    in_repository(tmp_path, "streams/a.py", '"""Whoever reads this."""\n')
    assert main(tmp_path) == 1
    assert "streams/a.py:1: 'Whoever': write: who;" in capsys.readouterr().out


def test_plain_files_are_green(tmp_path: Path) -> None:
    in_repository(tmp_path, "README.md", "Scrutin counts votes.\n")
    assert main(tmp_path) == 0
