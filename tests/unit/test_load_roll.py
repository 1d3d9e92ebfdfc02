"""Roll files of every documented form."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.errors import SettingsError
from streams.load.roll import read_roll

HASH = "ab" * 32


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("roll.txt", f"# voters\n{HASH}\n\n  plain-hash  # the second\n"),
        ("roll.txt", f"\ufeff{HASH.upper()}\r\nplain-hash\r\n"),
        ("roll.json", f'["{HASH}", "plain-hash"]'),
        ("roll.JSON", f'{{"hashes": [{{"hash": "{HASH}", "nas": 1}}, "plain-hash"]}}'),
    ],
)
def test_forms(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    assert list(read_roll(path)) == [HASH, "plain-hash"]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("roll.json", "{", "not JSON"),
        ("roll.json", '{"voters": []}', "no list of hashes"),
        ("roll.json", '["a", {"nas": 1}]', "Entry 2"),
        ("roll.json", '["a", 7]', "Entry 2"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, name: str, text: str, told: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(SettingsError, match=told):
        list(read_roll(path))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        list(read_roll(tmp_path / "none.txt"))
