"""What the audit of dependencies makes of an answer, and of none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.audit import __main__ as program
from tests.audit.judging import Answer, Finding, first_requirement, read

LOCK = Path(__file__).parents[3] / "requirements.lock"
DOCUMENT: dict[str, Any] = {
    "dependencies": [
        {"name": "sound", "version": "1.0", "vulns": []},
        {
            "name": "old",
            "version": "2.0",
            "vulns": [
                {"id": "PYSEC-1", "fix_versions": ["2.1", "3.0"], "aliases": []},
                {"id": "PYSEC-2", "fix_versions": [], "aliases": []},
            ],
        },
        {"name": "hidden", "skip_reason": "not found"},
    ],
    "fixes": [],
}


def test_an_answer_is_read() -> None:
    answer = read(DOCUMENT)
    assert (answer.audited, answer.left_out) == (2, ("hidden",))
    assert [str(finding) for finding in answer.findings] == [
        "old 2.0: PYSEC-1, fixed in 2.1, 3.0",
        "old 2.0: PYSEC-2, no version fixes it yet",
    ]


def test_the_question_is_one_requirement_with_its_hashes() -> None:
    first, *hashes = first_requirement(LOCK.read_text()).splitlines()
    assert "==" in first
    assert hashes
    assert all("--hash=sha256:" in line for line in hashes)


FOUND = Answer(9, (), (Finding("old", "2.0", "PYSEC-1", ()),))


@pytest.mark.parametrize(
    ("answers", "arguments", "code", "told"),
    [
        ([None, None], [], 0, "NOT AUDITED"),
        # Found, but without an answer: as good as none.
        ([None, Answer(0, ("first",), ())], [], 0, "NOT AUDITED"),
        ([None, None], ["--required"], 3, "NOT AUDITED"),
        ([Answer(1, (), ()), Answer(9, (), ())], [], 0, "9 packages"),
        ([None, Answer(1, (), ()), FOUND], [], 1, "old 2.0: PYSEC-1"),
    ],
)
def test_exit_codes(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    answers: list[Answer | None],
    arguments: list[str],
    code: int,
    told: str,
) -> None:
    given = iter(answers)
    monkeypatch.setattr(program, "environment", lambda *_: Path("python"))
    monkeypatch.setattr(program, "audit", lambda *_: next(given))
    monkeypatch.setattr("sys.argv", ["audit", *arguments])
    assert program.main() == code
    assert told in capsys.readouterr().out
