"""Roll files of every documented form."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from streams.cli.roll.files import RollFiles
from streams.errors import SettingsError

HASH = "ab" * 32


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("roll.txt", f"# voters\n{HASH}\n\n  plain-hash  # the second\n"),
        ("roll.txt", f"\ufeff{HASH.upper()}\r\nplain-hash\r\n"),
        ("roll.json", f'["{HASH}", "plain-hash"]'),
        ("roll.csv", f"nas,Hash\n1,{HASH.upper()}\n2,plain-hash\n"),
        ("roll.csv", f"{HASH}\nplain-hash\n"),
        ("roll.JSON", f'{{"hashes": [{{"hash": "{HASH}", "nas": 1}}, "plain-hash"]}}'),
    ],
)
def test_forms(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    assert list(RollFiles([path]).hashes()) == [HASH, "plain-hash"]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("roll.json", "{", "cannot be read"),
        ("roll.json", '{"voters": []}', "no list of hashes"),
        ("roll.json", '["a", {"nas": 1}]', "entry 2"),
        ("roll.json", '["a", 7]', "entry 2"),
        ("roll.csv", "nas,code\n1,2\n", "no column is called hash"),
        ("roll.csv", "nas,hash\n1,a\n2\n", "entry 2"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, name: str, text: str, told: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(SettingsError, match=told):
        list(RollFiles([path]).hashes())


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        list(RollFiles([tmp_path / "none.txt"]).hashes())


def test_parquet(tmp_path: Path) -> None:
    for column in ("voter_hash", "anything"):
        path = tmp_path / f"{column}.parquet"
        parquet.write_table(pa.table({column: [HASH.upper(), "plain-hash"]}), path)
        assert list(RollFiles([path]).hashes()) == [HASH, "plain-hash"]
        assert RollFiles([path]).count() == 2


def test_files_are_one_roll_and_their_digest_is_of_what_is_in_them(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("one.txt", "two.json", "three.txt")]
    paths[0].write_text("a\nb\n")
    paths[1].write_text('["c", "d"]')
    paths[2].write_text("a\nb\n")
    roll = RollFiles(paths[:2])
    assert list(roll.hashes()) == ["a", "b", "c", "d"]
    assert roll.count() == 4
    assert RollFiles(paths[:1]).digest() == RollFiles(paths[2:]).digest() != roll.digest()
