"""Ballot files: each line becomes a ballot, a comment, or a refusal with its number."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.ranking import OVERVOTE
from streams.elections.files.blt import BltFile, write_blt
from streams.elections.files.formats import BallotFormat, digest_of, open_ballots
from streams.elections.files.items import (
    MAX_LINE_BYTES,
    Comment,
    FileBallot,
    FileRefused,
    Item,
    LineAccount,
    RefusedLine,
)
from tests.bench.ballot_files import WRITERS, rankings, read_own, read_plain

BLT = """\
4 2 # a contest
-3
28 1 2 3 0
26 2=4 - 1 0
1 0 # blank
0
"Ann"
"Bob"
"Cyd # not a comment"
"Dee"
"Ward"
"""
PREFLIB = """\
# FILE NAME: 1.toi
# ALTERNATIVE NAME 1: Ann
# ALTERNATIVE NAME 2: Bob
# ALTERNATIVE NAME 3: Cyd
5: 1,{2,3}
5: 1,{2,3}
2: 3
"""
CSV = """\
Precinct,Rank 1,2nd choice,choice_3,Count
P-1,Ann,,Bob,3
"P, 2",Ann|Bob,undervote,skipped,1
"""


def items_of(path: Path, text: str | bytes, **options: str) -> list[Item]:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return list(open_ballots(path, **options).items())


def ballots_of(items: list[Item]) -> list[tuple[int, tuple[tuple[str, ...], ...], int]]:
    return [(one.row, one.marks, one.number) for one in items if isinstance(one, FileBallot)]


def refused_of(items: list[Item]) -> dict[int, str]:
    return {one.row: one.why for one in items if isinstance(one, RefusedLine)}


def test_blt(tmp_path: Path) -> None:
    path = tmp_path / "ward.blt"
    items = items_of(path, BLT)
    assert ballots_of(items) == [
        (3, (("1",), ("2",), ("3",)), 28),
        (4, (("2", "4"), (), ("1",)), 26),
        (5, (), 1),
    ]
    assert [type(one) for one in items].count(Comment) == 8
    layout = BltFile(path).layout()
    assert layout.names == {"1": "Ann", "2": "Bob", "3": "Cyd # not a comment", "4": "Dee"}
    assert (layout.seats, layout.withdrawn) == (2, {"3"})


def test_preflib_adds_the_numbers_of_an_order_that_occurs_twice(tmp_path: Path) -> None:
    items = items_of(tmp_path / "a.toi", PREFLIB)
    order = (("1",), ("2", "3"))
    assert ballots_of(items) == [(5, order, 5), (6, order, 5), (7, (("3",),), 2)]


def test_csv_keeps_gaps_and_shared_ranks(tmp_path: Path) -> None:
    items = items_of(tmp_path / "a.csv", CSV)
    assert ballots_of(items) == [
        (2, (("Ann",), (), ("Bob",)), 3),
        (3, (("Ann", "Bob"), (), ()), 1),
    ]
    other = items_of(tmp_path / "a.csv", CSV.replace("undervote", "overvote"))
    assert ballots_of(other)[1] == (3, (("Ann", "Bob"), (OVERVOTE,), ()), 1)


@pytest.mark.parametrize(
    ("name", "text", "row", "why"),
    [
        ("a.blt", BLT.replace("28 1 2 3 0", "28 1 2 3"), 3, "does not end with 0"),
        ("a.blt", BLT.replace("28 1 2 3 0", "28 1 5 0"), 3, "no candidate '5'"),
        ("a.blt", BLT.replace("28 1 2 3 0", "2.5 1 0"), 3, "not a whole number"),
        ("a.blt", BLT.replace("28 1 2 3 0", "(b-7) 1 0"), 3, "not a whole number"),
        ("a.toc", PREFLIB.replace("2: 3", "2 3"), 7, "no colon"),
        ("a.toc", PREFLIB.replace("2: 3", "2: {3"), 7, "cannot be read"),
        ("a.toc", PREFLIB.replace("2: 3", "2: 4"), 7, "no alternative '4'"),
        ("a.toc", PREFLIB.replace("2: 3", "0: 3"), 7, "not a whole number"),
        ("a.csv", CSV.replace("P-1,", ""), 2, "4 cells instead of 5"),
        ("a.csv", CSV.replace(",3\n", ",\n"), 2, "not a whole number"),
        ("a.csv", CSV.replace("P-1", '"P-1'), 2, "does not end in its line"),
    ],
)
def test_what_is_no_ballot_is_named_by_its_line(
    tmp_path: Path, name: str, text: str, row: int, why: str
) -> None:
    items = items_of(tmp_path / name, text)
    [(found, reason)] = refused_of(items).items()
    assert found == row
    assert why in reason
    assert len(items) == text.count("\n")


def test_long_lines_and_bytes_that_are_no_text_are_refused_alone(tmp_path: Path) -> None:
    head = b"\xef\xbb\xbf1 1\n1 1 0\n"
    long = b"1 " + b"1 " * MAX_LINE_BYTES + b"0\n"
    items = items_of(tmp_path / "a.blt", head + b"\xff 1 0\n" + long + b'2 1 0\n0\n"Ann"\n"W"')
    assert ballots_of(items) == [(2, (("1",),), 1), (5, (("1",),), 2)]
    assert set(refused_of(items)) == {3, 4}
    assert len(items) == 8


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("a.blt", "", "no numbers"),
        ("a.blt", "2 0\n0\n", "a seat"),
        ("a.blt", "2 1\n1 1 0\n", "No line with 0"),
        ("a.blt", '2 1\n0\n"Ann"\n', "only 1 names"),
        ("a.soc", "3\n1: 1\n", "names an alternative"),
        ("a.csv", "name,age\n", "no column of a rank"),
        ("a.csv", "rank1,1\n", "Two columns"),
        ("a.txt", "x", "not known"),
        ("a.json", "[]", "no JSON of this form"),
        ("a.json", '{"CVR": [{}', "no JSON of this form"),
        ("a.json", '{"CVR": []}', "no such contest"),
        ("a.zip", "x", "cannot be read"),
    ],
)
def test_a_file_of_another_form_is_refused_whole(
    tmp_path: Path, name: str, text: str, why: str
) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FileRefused, match=why):
        open_ballots(path).layout()


def nist(records: list[object], **more: object) -> str:
    election = {
        "Candidate": [{"@id": "c1", "Name": "Ann"}, {"@id": "c2", "Name": "Bob"}],
        "Contest": [
            {
                "@id": "k1",
                "Name": "Mayor",
                "ContestSelection": [
                    {"@id": "s1", "CandidateIds": ["c1"]},
                    {"@id": "s2", "CandidateIds": ["c2"]},
                ],
            },
        ],
    }
    return json.dumps({"Version": "1.0.0", "CVR": records, "Election": [election], **more})


def position(rank: int, **more: object) -> dict[str, object]:
    return {"HasIndication": "yes", "NumberVotes": 1, "IsAllocable": "unknown", "Rank": rank} | more


def record(*selections: tuple[str, list[dict[str, object]]], contest: str = "k1") -> dict:
    marked = [{"ContestSelectionId": s, "SelectionPosition": where} for s, where in selections]
    old = {"@id": "o", "CVRContest": [{"ContestId": contest}]}
    new = {"@id": "m", "CVRContest": [{"ContestId": contest, "CVRContestSelection": marked}]}
    return {"CurrentSnapshotId": "m", "CVRSnapshot": [old, new]}


def test_nist_takes_the_current_snapshot_and_every_rank(tmp_path: Path) -> None:
    records = [
        record(("s2", [position(1), position(3)]), ("s1", [position(1)])),
        record(("s1", [position(1, HasIndication="no"), position(2, IsAllocable="no")])),
        record(("s1", [position(1)]), contest="k2"),
        record(("s9", [position(1)])),
        record(("s1", [position(0)])),
        {"CVRSnapshot": [{"@id": "a"}, {"@id": "b"}]},
        {},
    ]
    items = items_of(tmp_path / "a.json", nist(records))
    assert ballots_of(items) == [(1, (("s2", "s1"), (), ("s2",)), 1), (2, (), 1)]
    assert items[2] == Comment(3)
    assert sorted(refused_of(items)) == [4, 5, 6, 7]


@pytest.mark.parametrize("label", [{"Overvotes": 1}, {"Status": ["overvoted"]}])
def test_nist_says_that_a_contest_is_over_voted(tmp_path: Path, label: dict[str, object]) -> None:
    refused = [position(1, IsAllocable="no")]
    both = record(("s1", refused), ("s2", [*refused, position(2)]))
    alone = record()
    stray = record(("s1", [position(1)]), ("s2", [position(2, IsAllocable="no")]))
    for each in (both, alone, stray):
        each["CVRSnapshot"][1]["CVRContest"][0] |= label
    items = items_of(tmp_path / "a.json", nist([both, alone, stray]))
    assert [ballot for _, ballot, _ in ballots_of(items)] == [
        (("s1", "s2"), ("s2",)),
        (("=",),),
        (("s1",),),
    ]


def test_dominion_takes_what_is_current_and_no_ambiguous_mark(tmp_path: Path) -> None:
    for name, rows in {
        "Candidate": [
            {"Id": 5, "Description": "Ann", "ContestId": 7},
            {"Id": 6, "Description": "Bob", "ContestId": 7},
            {"Id": 9, "Description": "Yes", "ContestId": 8},
        ],
        "Contest": [{"Id": 7, "Description": "Mayor"}, {"Id": 8, "Description": "Measure"}],
    }.items():
        (tmp_path / f"{name}Manifest.json").write_text(json.dumps({"List": rows}))

    def sheet(*marks: tuple[int, int, bool], current: bool = True, contest: int = 7) -> dict:
        found = [{"CandidateId": c, "Rank": r, "IsAmbiguous": a} for c, r, a in marks]
        return {"IsCurrent": current, "Cards": [{"Contests": [{"Id": contest, "Marks": found}]}]}

    sessions = [
        {"Original": sheet((6, 1, False), (5, 1, True), (5, 3, False))},
        {"Original": sheet((6, 1, False), current=False), "Modified": sheet((5, 1, False))},
        {"Original": sheet((9, 1, False), contest=8)},
        {"Original": sheet((4, 1, False))},
        {"Original": {"IsCurrent": True, "Contests": [{"Id": 7, "Marks": []}]}},
    ]
    path = tmp_path / "CvrExport.json"
    path.write_text(json.dumps({"Version": "5", "Sessions": sessions}))
    with pytest.raises(FileRefused, match="several"):
        open_ballots(path).layout()
    reader = open_ballots(path, contest="Mayor")
    assert reader.layout().names == {"5": "Ann", "6": "Bob"}
    items = list(reader.items())
    assert ballots_of(items) == [(1, (("6",), (), ("5",)), 1), (2, (("5",),), 1), (5, (), 1)]
    assert (items[2], sorted(refused_of(items))) == (Comment(3), [4])


def hart(*options: tuple[str, str], contest: str = "k1") -> str:
    each = "".join(
        f"<Option><Name>{name}</Name><Id>{name.lower()}</Id><Value>{value}</Value></Option>"
        for name, value in options
    )
    return (
        '<Cvr xmlns="http://tempuri.org/CVRDesign.xsd"><Contests><Contest><Name>Mayor</Name>'
        f"<Id>{contest}</Id><Options>{each}</Options></Contest></Contests></Cvr>"
    )


@pytest.mark.parametrize("zipped", [False, True])
def test_hart_reads_a_digit_for_each_rank(tmp_path: Path, zipped: bool) -> None:
    files = {
        "1.xml": hart(("Ann", "1000"), ("Bob", "1010")),
        "2.xml": hart(("Bob", "0000")),
        "3.xml": hart(("Ann", "1"), contest="k2"),
        "4.xml": hart(("Ann", "2")),
        "5.xml": '<!DOCTYPE a [<!ENTITY b "c">]>' + hart(("Ann", "1")),
        "6.xml": "<Cvr>",
        "1.sig.xml": "<no-record/>",
    }
    path = tmp_path / ("a.zip" if zipped else "folder")
    if zipped:
        with zipfile.ZipFile(path, "w") as archive:
            for name, text in files.items():
                archive.writestr(name, text)
    else:
        path.mkdir()
        for name, text in files.items():
            (path / name).write_text(text)
    reader = open_ballots(path, contest="k1")
    assert reader.layout().names == {"ann": "Ann", "bob": "Bob"}
    items = list(reader.items())
    assert len(items) == len(files)
    # By name in a folder, in the order of its directory in an archive.
    rows = {name: row for row, name in enumerate(files if zipped else sorted(files), 1)}
    assert ballots_of(items) == [
        (rows["1.xml"], (("ann", "bob"), (), ("bob",)), 1),
        (rows["2.xml"], (), 1),
    ]
    assert {Comment(rows["3.xml"]), Comment(rows["1.sig.xml"])} <= set(items)
    refused = refused_of(items)
    assert sorted(refused) == sorted(rows[name] for name in ("4.xml", "5.xml", "6.xml"))
    assert refused[rows["6.xml"]].startswith("6.xml: no XML")
    assert len(digest_of(path)) == 64


marks_of = st.lists(
    st.lists(st.sampled_from(["1", "2", "3"]), max_size=2, unique=True).map(tuple), max_size=4
).map(tuple)


@given(st.lists(st.tuples(marks_of, st.integers(1, 99)), max_size=12))
def test_what_is_written_as_blt_is_read_the_same(
    tmp_path_factory: pytest.TempPathFactory, ballots: list[tuple[tuple, int]]
) -> None:
    path = tmp_path_factory.mktemp("blt") / "a.blt"
    lines = list(write_blt(["Ann", 'B "Bo" #1', "C"], 2, ballots, "Ward\n5"))
    path.write_text("".join(lines))
    reader = open_ballots(path)
    items = list(reader.items())
    assert [(marks, number) for _, marks, number in ballots_of(items)] == ballots
    assert list(reader.layout().names.values()) == ["Ann", "B 'Bo' #1", "C"]
    assert not refused_of(items)


@given(st.binary(max_size=300), st.sampled_from(BallotFormat))
def test_any_bytes_are_accounted_for_or_refused(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes, form: BallotFormat
) -> None:
    path = tmp_path_factory.mktemp("bytes") / "file"
    path.write_bytes(raw)
    _accounted(path, form, _lines(raw) if form in _BY_LINE else None)


_BY_LINE = {BallotFormat.BLT: BLT, BallotFormat.PREFLIB: PREFLIB, BallotFormat.CSV: CSV}


@given(st.sampled_from(sorted(_BY_LINE)), st.integers(0, 200), st.binary(max_size=5))
def test_a_damaged_file_is_accounted_for_or_refused(
    tmp_path_factory: pytest.TempPathFactory, form: BallotFormat, at: int, put: bytes
) -> None:
    raw = _BY_LINE[form].encode()
    damaged = raw[:at] + put + raw[at + len(put) :]
    path = tmp_path_factory.mktemp("damaged") / "file"
    path.write_bytes(damaged)
    _accounted(path, form, _lines(damaged))


Damage = dict[int, tuple[int, bytes]]
"""Record -> (where in it, the bytes that take the place of others)."""
damages = st.dictionaries(
    st.integers(0, 5), st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=4)), max_size=4
)


@given(st.sampled_from([BallotFormat.NIST, BallotFormat.DOMINION]), damages)
def test_damaged_records_are_accounted_for_or_the_file_is_refused(
    tmp_path_factory: pytest.TempPathFactory, form: BallotFormat, damage: Damage
) -> None:
    """A record that is JSON is a ballot, a comment or refused; one that is not ends the file."""
    name, write = WRITERS[form]
    path = tmp_path_factory.mktemp("records") / name
    write(path, 6)
    head, *records, tail = path.read_bytes().split(b"\n")
    records = [*records, tail.removesuffix(b"]}")]
    damaged = _damaged([record.removesuffix(b",") for record in records], damage)
    path.write_bytes(head + b",".join(damaged) + b"]}")
    _accounted(path, form, _json_records(damaged))


def _json_records(records: list[bytes]) -> int | None:
    try:
        return sum(len(json.loads(b"[" + record + b"]")) for record in records)
    except ValueError:
        return None


@given(damages, st.booleans())
def test_damaged_members_are_accounted_for(
    tmp_path_factory: pytest.TempPathFactory, damage: Damage, zipped: bool
) -> None:
    """Whatever a member holds, each of them is one ballot, comment or refusal."""
    path = tmp_path_factory.mktemp("members") / "ward.zip"
    WRITERS[BallotFormat.HART][1](path, 6)
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        damaged = _damaged([archive.read(name) for name in names], damage)
    if zipped:
        with zipfile.ZipFile(path, "w") as archive:
            for name, raw in zip(names, damaged, strict=True):
                archive.writestr(name, raw)
    else:
        path.unlink()
        path.mkdir()
        for name, raw in zip(names, damaged, strict=True):
            (path / name).write_bytes(raw)
    _accounted(path, BallotFormat.HART, len(names))


def _damaged(records: list[bytes], damage: Damage) -> list[bytes]:
    for row, (place, put) in damage.items():
        raw = records[row]
        at = place % len(raw)
        records[row] = raw[:at] + put + raw[at + len(put) :]
    return records


def _lines(raw: bytes) -> int:
    return len(raw.split(b"\n")) - raw.endswith(b"\n") - (raw == b"")


def _accounted(path: Path, form: BallotFormat, lines: int | None) -> None:
    """Each line is one item, unless the file is refused as a whole."""
    rows = []
    account = LineAccount()
    try:
        reader = open_ballots(path, form)
        reader.layout()
        for item in reader.items():
            account.add(item)
            rows.append(item.row)
    except FileRefused:
        return
    assert account.lines == account.ballot_lines + account.comments + account.refused
    assert rows == list(range(1, account.lines + 1))
    if lines is not None:
        assert account.lines == lines


@pytest.mark.parametrize("form", BallotFormat)
def test_files_of_the_benchmark_are_read_whole(form: BallotFormat, tmp_path: Path) -> None:
    name, write = WRITERS[form]
    write(tmp_path / name, 50)
    assert read_own(form, tmp_path / name) == 50
    assert read_plain(form, tmp_path / name) >= 50
    items = open_ballots(tmp_path / name, form).items()
    orders = [item.marks for item in items if isinstance(item, FileBallot)]
    assert [len([rank for rank in marks if rank]) for marks in orders] == [
        len(each) for each in rankings(50)
    ]
