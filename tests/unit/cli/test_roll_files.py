"""Roll files as offices have them: every form is read, or refused with its line."""

from __future__ import annotations

import gzip
import json
import os
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from typer.testing import CliRunner

from streams.cli.roll.commands import app
from streams.cli.roll.files import RollFiles
from streams.cli.roll.hash_kind import HashKind
from streams.errors import SettingsError

A, B, C = "ab" * 32, "0c" * 32, "12" * 32
LONG = "ab" * 64


def read(path: Path, column: str | None = None, kind: HashKind = HashKind.HEX) -> list[str]:
    roll = RollFiles([path], column, kind)
    found = list(roll.hashes())
    assert roll.check().entries == len(found)
    return found


READ = {
    "one a line": f"# voters, all\n{A}\n\n  {B}  # the second; moved, 2026\n",
    "byte order mark, upper case, CRLF": f"\ufeff{A.upper()}\r\n{B}\r\n",
    "CR alone": f"{A}\r{B}\r",
    "no-break blanks around": f"\u00a0{A}\u00a0\n{B} \n",
    "quoted lines": f'"{A}"\n"{B}"\n',
    "header": f"hash\n{A}\n{B}\n",
    "quoted header": f'"Hash"\n"{A}"\n"{B}"\n',
    "JSON list": json.dumps([A, B]),
    "JSON object": json.dumps({"hashes": [{"hash": A, "nas": 1}, B]}),
    "pretty JSON": json.dumps([A, B], indent=2),
    "JSON Lines of objects": f'{{"hash":"{A}","n":1}}\n{{"hash":"{B}","n":2}}\n',
    "JSON Lines after a blank line": f'\n{{"voter_hash":"{A}"}}\n\n{{"voter_hash":"{B}"}}\n',
    "commas": f"nas,Hash\n1,{A.upper()}\n2,{B}\n",
    "semicolons": f"hash;nom\n{A};Côté, Zoé\n{B};Roy\n",
    "semicolons, hash last": f"nom;hash\nCôté, Zoé;{A}\nRoy, Luc;{B}\n",
    "tabs": f"nom\thash\nCôté\t{A}\nRoy\t{B}\n",
    "bars": f"hash|nom\n{A}|x\n{B}|y\n",
    "columns without header": f"{A};Côté\n{B};Roy\n",
    "quoted separators": f'hash;nom\n"{A}";"Côté; Zoé"\n"{B}";"Roy ""le"" grand"\n',
    "a line break within quotes": f'hash;rue\n{A};"1, rue A\nporte 2"\n{B};x\n',
    "blank tail rows": f"hash;nom\n{A};x\n{B};y\n;\n;\n",
    "trailing separators": f"hash;nom\n{A};x;;\n{B};y;\n",
    "other hash columns beside": f"hash;autre\n{A};{C}\n{B};{C}\n",
    "number sign in a cell": f"hash;rue\n{A};app #4\n{B};app #5\n",
}


@pytest.mark.parametrize("name", ["roll.txt", "roll.csv", "roll"])
@pytest.mark.parametrize("form", READ)
def test_read(tmp_path: Path, form: str, name: str) -> None:
    path = tmp_path / name
    path.write_text(READ[form], encoding="utf-8", newline="")
    assert read(path) == [A, B]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "latin-1", "gzip"])
def test_encodings_of_spreadsheets(tmp_path: Path, encoding: str) -> None:
    text = f"prénom;hash\nZoé;{A}\nLuc;{B}\n"
    path = tmp_path / "roll.csv"
    path.write_bytes(gzip.compress(text.encode()) if encoding == "gzip" else text.encode(encoding))
    assert read(path) == [A, B]


@pytest.mark.parametrize("column", ["Empreinte", "empreinte ", "2"])
def test_a_column_is_named_by_option(tmp_path: Path, column: str) -> None:
    path = tmp_path / "roll.csv"
    path.write_text(f"Nom;Empreinte;Ancienne\nx;{A};{C}\ny;{B};{C}\n")
    assert read(path, column) == [A, B]
    path.write_text(f"x;{A};{C}\ny;{B};{C}\n")
    assert read(path, "2") == [A, B]


def test_a_header_in_latin_1_can_be_named(tmp_path: Path) -> None:
    path = tmp_path / "roll.csv"
    path.write_bytes(f"Nom;Clé\nx;{A}\ny;{B}\n".encode("latin-1"))
    assert read(path, "Clé") == [A, B]


REFUSED: dict[str, tuple[str | bytes, int, str]] = {
    "unknown header": (f"Nom;Empreinte\nx;{A}\n", 1, "no column is called hash"),
    "unknown header alone": (f"Empreinte\n{A}\n", 1, "no column is called hash"),
    "two hash columns": (f"{A};{B}\n{B};{A}\n", 1, "2 columns hold hashes"),
    "two named columns": (f"hash,vote_hash\n{A},{B}\n", 1, "several columns"),
    "no hash column": ("nas,code\n1,2\n", 1, "no column is called hash"),
    "rounded by a spreadsheet": (f"hash;n\n{A};1\n1.23457E+11;2\n", 3, "rounded"),
    "rounded, alone": ("1.23457E+11\n", 1, "rounded"),
    "rounded with a comma": (f"hash;n\n{A};1\n1,23457E+11;2\n", 3, "rounded"),
    "an unclosed quote": (f'{A}\n"{B}\n{C}\n{A}\n{B}\n', 2, "a quote is not closed"),
    "an unclosed quote in a table": (f'hash;n\n{A};"x\n{B};y\n{C};"z"\n', 2, "quote|expected"),
    "a footer": (f"{A}\n{B}\nTotal: 2\n", 3, "no hexadecimal digit"),
    "a footer of a table": (f"nom;hash\nx;{A}\ny;{B}\nTotal;2\n", 4, "1 digits"),
    "a total without hash": (f"nom;hash\nx;{A}\nTotal: 1;\n", 3, "there is no hash"),
    "a missing cell": (f"nas;hash\n1;{A}\n2\n", 3, "there is no hash"),
    "63 digits among 64": (f"{A}\n{B[:-1]}\n{C}\n", 2, "63 digits, and the first hash has 64"),
    "63 digits first": (f"{A[:-1]}\n{B}\n", 1, "63 digits, and a SHA-256 hash has 64"),
    "63 digits first in a table": (f"hash;n\n{A[:-1]};1\n", 2, "63 digits"),
    "two lengths": (f"{A}\n{LONG}\n", 2, "128 digits, and the first hash has 64"),
    "0x": (f"{A}\n0x{B}\n", 2, "begins with 0x"),
    "0x first": (f"0x{A}\n", 1, "begins with 0x"),
    "a zero-width blank": (f"{A}\n\u200b{B}\n", 2, "U\\+200B"),
    "a mark in the middle": (f"{A}\n\ufeff{B}\n", 2, "U\\+FEFF"),
    "a letter too far": (f"{A}\n{'g' * 64}\n", 2, "'g' is no hexadecimal digit"),
    "two hashes in a line": (f"{A}\n{B} {C}\n", 2, "' ' is no hexadecimal digit"),
    "a separator later": (f"{A}\n{B};x\n", 2, "no hexadecimal digit"),
    "more columns later": (f"hash;n\n{A};1\n{B};2;x\n", 3, "3 columns"),
    "a header alone": ("hash;nom\n", 0, "it has no hash"),
    "nothing": ("", 0, "it has no hash"),
    "comments alone": ("# nobody\n", 0, "it has no hash"),
    "broken JSON": ("{", 0, "cannot be read"),
    "JSON without list": ('{"voters": []}', 0, "no list of hashes"),
    "a JSON entry without hash": (json.dumps([A, {"nas": 1}]), 0, "entry 2"),
    "a JSON number": (json.dumps([A, 7]), 0, "entry 2"),
    "a JSON entry of 63 digits": (json.dumps([A, B[:-1]]), 0, "entry 2: it has 63"),
    "broken JSON Lines": (f'{{"hash":"{A}"}}\n{{"hash":\n', 2, "not JSON"),
    "JSON Lines without hash": (f'{{"hash":"{A}"}}\n{{"nas":1}}\n', 2, "no hash"),
    "an old workbook": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), 0, "workbook"),
    "UTF-32": (f"{A}\n".encode("utf-32"), 0, "UTF-32"),
    "a binary file": (b"\x7fELF\0\0\0" + bytes(20), 0, "binary"),
    "a hash in Latin-1": (f"{A}\n".encode() + b"\xe9" + B[1:].encode(), 2, "not UTF-8"),
    "damaged gzip": (gzip.compress(f"{A}\n".encode() * 99)[:-12], 0, "cannot be read"),
    "bzip2": (b"BZh91AY&SY", 0, "bzip2"),
}


@pytest.mark.parametrize("name", ["roll.txt", "roll.csv"])
@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_file_line_and_what_to_type(tmp_path: Path, case: str, name: str) -> None:
    content, line, why = REFUSED[case]
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SettingsError, match=why) as caught:
        RollFiles([path]).check()
    assert caught.value.where == {"file": path} | ({"line": line} if line else {})
    assert caught.value.todo


def test_a_workbook_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "roll.csv"
    with zipfile.ZipFile(path, "w") as book:
        book.writestr("xl/workbook.xml", "<workbook/>")
    with pytest.raises(SettingsError, match="workbook"):
        RollFiles([path]).check()
    path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(SettingsError, match="workbook"):
        RollFiles([path]).check()


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, why in (("none.txt", "no such file"), ("pipe", "no regular"), (".", "no regular")):
        with pytest.raises(SettingsError, match=why):
            list(RollFiles([tmp_path / name]).hashes())


def test_the_line_of_a_fault_late_in_a_big_file(tmp_path: Path) -> None:
    path = tmp_path / "roll.csv"
    rows = [f"{n};{n:064x}" for n in range(20_000)]
    rows[15_000] = "15000;1.5E+10"
    path.write_text("nr;hash\n" + "\n".join(rows) + "\n")
    with pytest.raises(SettingsError, match="rounded") as caught:
        RollFiles([path]).check()
    assert caught.value.where["line"] == 15_002


def test_entries_of_another_kind_need_the_option(tmp_path: Path) -> None:
    path = tmp_path / "roll.txt"
    path.write_text("123456789+ABC\n987654321+DEF\n")
    with pytest.raises(SettingsError, match="--kind text"):
        RollFiles([path]).check()
    assert read(path, kind=HashKind.TEXT) == ["123456789+ABC", "987654321+DEF"]
    path.write_text("123456789+ABC\nTotal: 1\n")
    with pytest.raises(SettingsError, match="a hash has no ' ' in it"):
        RollFiles([path], kind=HashKind.TEXT).check()


def test_repeated_entries_are_counted_and_named(tmp_path: Path) -> None:
    one, two = tmp_path / "one.txt", tmp_path / "two.txt"
    one.write_text(f"{A}\n{B}\n{A.upper()}\n")
    two.write_text(f"{B}\n{C}\n")
    summary = RollFiles([one, two]).check()
    assert (summary.entries, summary.repeated) == (5, 2)
    assert set(summary.repeats) == {
        "one.txt line 3 repeats one.txt line 1",
        "two.txt line 1 repeats one.txt line 2",
    }


def test_parquet(tmp_path: Path) -> None:
    for column, option in (("voter_hash", None), ("anything", None), ("Empreinte", "Empreinte")):
        path = tmp_path / f"{column}.parquet"
        table = {column: [A.upper(), B]} | ({"hash": [C, C]} if option else {})
        parquet.write_table(pa.table(table), path)
        assert read(path, option) == [A, B]
    parquet.write_table(pa.table({"hash": [A, None]}), path)
    with pytest.raises(SettingsError, match="entry 2"):
        RollFiles([path]).check()


def test_files_are_one_roll_and_their_digest_is_of_what_is_in_them(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("one.txt", "two.json", "three.txt")]
    paths[0].write_text(f"{A}\n{B}\n")
    paths[1].write_text(json.dumps([C]))
    paths[2].write_text(f"{A}\n{B}\n")
    roll = RollFiles(paths[:2])
    assert list(roll.hashes()) == [A, B, C]
    assert RollFiles(paths[:1]).digest() == RollFiles(paths[2:]).digest() != roll.digest()
    assert RollFiles(paths[:1], "1").digest() != RollFiles(paths[:1]).digest()


def test_a_dry_run_shows_the_first_rows_as_understood_and_needs_no_service(tmp_path: Path) -> None:
    path = tmp_path / "liste.csv"
    path.write_text(f"Nom;Empreinte\nx;{A}\ny;{B}\nz;{A}\n")
    command = ["load", str(path), "--column", "Empreinte", "--dry-run", "--json"]
    found = CliRunner().invoke(app, command)
    assert found.exit_code == 0, found.output
    assert json.loads(found.output) == {
        "entries": 3,
        "repeated": 1,
        "repeats": ["liste.csv line 4 repeats liste.csv line 2"],
        "forms": {str(path): "text, UTF-8, separator semicolon, header, column 2 'Empreinte'"},
        "first": [
            {"place": f"liste.csv line {line}", "hash": one}
            for line, one in ((2, A), (3, B), (4, A))
        ],
    }


@given(st.text(max_size=200) | st.binary(max_size=200))
def test_no_content_is_read_as_something_else(
    tmp_path_factory: pytest.TempPathFactory, content: str | bytes
) -> None:
    path = tmp_path_factory.mktemp("roll") / "roll.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode(errors="replace"))
    try:
        found = list(RollFiles([path]).hashes())
    except SettingsError:
        return
    assert all(len(one) in {32, 40, 56, 64, 96, 128} for one in found)


WEIGHED = {
    "named": (f"hash;Parts\n{A};3\n{B};1\n", "parts"),
    "by number": (f"{A};3\n{B};1\n", "2"),
    "JSON": (json.dumps([{"hash": A, "parts": 3}, {"hash": B, "parts": "1"}]), "parts"),
    "JSON Lines": (f'{{"hash":"{A}","w":3}}\n{{"hash":"{B}","w":1}}\n', "w"),
}


@pytest.mark.parametrize("form", WEIGHED)
def test_weights_are_read_beside_hashes(tmp_path: Path, form: str) -> None:
    text, column = WEIGHED[form]
    (file := tmp_path / "roll").write_text(text)
    roll = RollFiles([file], weight_column=column)
    assert (roll.weights(), list(roll.hashes())) == ({A: 3}, [A, B])
    assert [row["weight"] for row in roll.check().first] == [3, 1]
    assert RollFiles([file]).weights() == {}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"hash,w\n{A},2\n{B},two\n", "'two' is no whole number"),
        (f"hash,w\n{A},2\n{B},\n", "'' is no whole number"),
        (f"hash,w\n{A},2\n{B},1.5\n", "'1.5' is no whole number"),
        (f"hash,w\n{A},2\n{B},0\n", "not from 1 to 1,000,000,000"),
        (f"hash,w\n{A},2\n{B},1{'0' * 400}\n", "not from 1 to 1,000,000,000"),
        (f"hash,w\n{B},2\n{B},3\n", "has weight 2 before, and 3 here"),
        (f"hash,w\n{B},1\n{B},3\n", "has weight 1 before, and 3 here"),
    ],
)
def test_a_weight_that_is_none_is_refused_with_its_line(
    tmp_path: Path, text: str, why: str
) -> None:
    (file := tmp_path / "roll.csv").write_text(text)
    with pytest.raises(SettingsError, match=why) as refused:
        RollFiles([file], weight_column="w").weights()
    assert refused.value.where["line"] == 3


def test_a_column_of_weights_must_be_there(tmp_path: Path) -> None:
    (file := tmp_path / "roll.csv").write_text(f"hash,w\n{A},2\n")
    with pytest.raises(SettingsError, match="no column is called parts"):
        RollFiles([file], weight_column="parts").weights()
