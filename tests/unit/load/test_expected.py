"""The expected outcome on disk, and the comparison with what was found."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from streams.errors import SettingsError
from streams.load.checks import (
    AuditComparison,
    AuditRow,
    Report,
    compare_totals,
    mapping_differences,
    multiset_differences,
)
from streams.load.election import LoadPlan, SyntheticElection
from streams.load.expected import (
    ANY_CHOICE,
    DISPUTED,
    CountedLine,
    Expected,
    ExpectedTotals,
    counted_lines,
    lines_path,
    read_expected,
    rejected_lines,
)
from streams.load.script import ExpectedVerdict, messages
from streams.load.verification import VerificationProgress


def written(path: Path, plan: LoadPlan) -> Expected:
    tally = ExpectedTotals(plan)
    for message in messages(SyntheticElection(plan), lambda n: n):
        tally.add(message)
    return tally.write(path, unconfirmed=0, started_us=1, seconds=2.0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "expected.json"


PLAN = LoadPlan(votes=2000, duplicates=0.05, malformed=0.02, candidates=0.1)


def test_what_is_written_is_read(file: Path) -> None:
    expected = written(file, PLAN)
    assert read_expected(file) == expected
    assert expected.counted == 2000
    assert sum(sum(c.values()) for c in {**expected.laws, **expected.contests}.values()) == 2000
    assert expected.rejected["duplicate"] == {"already_voted": 120}
    assert expected.duplicated_voters == 100
    assert expected.review_messages == 120 + 10 + 4 + 40


def test_lines_agree_with_the_document(file: Path) -> None:
    expected = written(file, PLAN)
    lines = list(counted_lines(lines_path(file, expected)))
    assert len(lines) == expected.counted
    assert [x.stored for x in lines] == sorted(x.stored for x in lines)
    assert sum(x.later for x in lines) == 120
    rejected = list(rejected_lines(lines_path(file, expected)))
    assert len(lines) + len(rejected) == expected.lines.count
    assert Counter(r.status for r in rejected) == {"invalid": 14, "malformed": 40}
    assert all(len(r.sha256) == 64 for r in rejected if r.status == "malformed")


def test_changed_lines_are_noticed(file: Path) -> None:
    expected = written(file, PLAN)
    path = lines_path(file, expected)
    path.write_text(path.read_text().replace("oui", "non", 1))
    with pytest.raises(SettingsError, match="were changed"):
        read_expected(file)


def test_other_files_are_refused(file: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        read_expected(file)
    file.write_text("{}")
    with pytest.raises(SettingsError, match="not an expected outcome"):
        read_expected(file)
    written(file, PLAN)
    file.write_text(json.dumps({**json.loads(file.read_text()), "format": "scrutin-expected/9"}))
    with pytest.raises(SettingsError, match="scrutin-expected/9"):
        read_expected(file)


def test_disputed_choices_are_not_expected(file: Path) -> None:
    plan = LoadPlan(votes=2000, duplicates=0.2, conflicting=True)
    expected = written(file, plan)
    disputed = sum(choices.get(DISPUTED, 0) for choices in expected.laws.values())
    lines = list(counted_lines(lines_path(file, expected)))
    assert disputed == sum(line.choice == ANY_CHOICE for line in lines) > 50
    assert sum(sum(c.values()) for c in expected.laws.values()) == 2000


def test_messages_sent_again_are_uncertain_only_where_they_are_rejected(file: Path) -> None:
    tally = ExpectedTotals(PLAN)
    for message in messages(SyntheticElection(PLAN), lambda n: n):
        tally.add(message)
        tally.resent(message)
    expected = tally.write(file, unconfirmed=0, started_us=1, seconds=1)
    assert set(expected.uncertain) == {"invalid", "malformed"}
    assert sum(expected.uncertain["malformed"].values()) == 40


def test_totals_within_what_is_disputed_are_in_order() -> None:
    report = Report()
    expected = {"law-001": {"oui": 5, "non": 3, DISPUTED: 2}}
    found = {("law-001", "oui"): 6, ("law-001", "non"): 4}
    compare_totals(report, "g", "t", expected, found)
    assert report.equal
    assert [f.expected for f in report.figures] == ["5 to 7", "3 to 5", "10"]
    compare_totals(report, "g", "t", expected, {**found, ("law-001", "oui"): 7})
    assert not report.equal


def test_votes_nobody_expected_are_different() -> None:
    report = Report()
    compare_totals(report, "g", "t", {"law-001": {"oui": 5}}, {("law-001", "oui"): 5})
    assert report.equal
    compare_totals(report, "g", "t", {}, {("law-666", "oui"): 1})
    assert not report.equal


LINES = [
    CountedLine("a", "a", "law-001", "oui", 0),
    CountedLine("c", "c", "law-001", "non", 0),
    CountedLine("e", "v", "election:", "3", 0),
]
ROWS = [AuditRow(*line[:4]) for line in LINES]


def audit(rows: list[AuditRow]) -> tuple[int, list[str]]:
    comparison = AuditComparison(iter(LINES))
    differences = [d for row in rows for d in comparison.row(row)]
    differences += comparison.end()
    return comparison.equal, [f"{d.line}: {d.expected} / {d.found}" for d in differences]


def test_equal_audit() -> None:
    assert audit(ROWS) == (3, [])


@pytest.mark.parametrize(
    ("rows", "equal", "differences"),
    [
        (ROWS[1:], 2, ["a: law-001 oui / absent"]),
        (ROWS[:2], 2, ["e: election: 3 / absent"]),
        ([], 0, ["a: law-001 oui / absent", "c: law-001 non / absent", "e: election: 3 / absent"]),
        ([*ROWS, AuditRow("z", "z", "law-001", "oui")], 3, ["z: absent / law-001 oui"]),
        ([ROWS[0], AuditRow("b", "b", "x", "y"), *ROWS[1:]], 3, ["b: absent / x y"]),
        ([ROWS[0], ROWS[0], *ROWS[1:]], 3, ["a: absent / law-001 oui"]),
        (
            [ROWS[0]._replace(choice="non"), *ROWS[1:]],
            2,
            ["a: a law-001 oui / a law-001 non"],
        ),
    ],
)
def test_each_wrong_row_is_found(rows: list[AuditRow], equal: int, differences: list[str]) -> None:
    assert audit(rows) == (equal, differences)


def test_maps_are_compared_both_ways() -> None:
    found = list(mapping_differences("w", {"a": 1, "b": 2}, {"b": 3, "c": 4}))
    assert [(d.line, d.expected, d.found) for d in found] == [
        ("a", "1", "absent"),
        ("b", "2", "3"),
        ("c", "absent", "4"),
    ]


def test_lines_are_compared_by_number() -> None:
    line, other = ("invalid", "not_on_roll", "x"), ("invalid", "not_on_roll", "y")

    def differing(found: dict[tuple[str, ...], int], spare: int = 0) -> int:
        allowed = Counter({("invalid", "not_on_roll"): spare})
        wanted: Counter[tuple[str, ...]] = Counter([line, other])
        return len(list(multiset_differences("w", wanted, Counter(found), allowed)))

    assert differing({line: 1, other: 1}) == 0
    assert differing({line: 1}) == 1
    assert differing({line: 2, other: 1}) == 1
    assert differing({line: 2, other: 1}, spare=1) == 0
    assert differing({line: 2, other: 2}, spare=1) == 1
    assert differing({line: 2}, spare=1) == 1


def test_report_keeps_a_sample_and_counts_all() -> None:
    report = Report(sample=2)
    report.lines(mapping_differences("w", {str(n): n for n in range(5)}, {}))
    assert len(report.differences) == 2
    assert report.different_lines == 5
    assert not report.equal


def test_what_came_again_does_not_hide_what_the_readers_have_yet_to_bring(file: Path) -> None:
    """The numbers of voters and reviews are reached before the last counter is written."""
    expected = written(file, PLAN)
    rejected = sum(sum(reasons.values()) for reasons in expected.rejected.values())
    arrived = VerificationProgress(
        counted=expected.counted,
        rejected=rejected,
        waiting=0,
        uncounted=0,
        mirrored=expected.voted_hashes,
        reviews=expected.review_messages,
        behind=0,
    )
    assert arrived.reached(expected, review=True)
    for missing in ({"behind": 1}, {"uncounted": 1}, {"mirrored": expected.voted_hashes - 1}):
        assert not replace(arrived, **missing).reached(expected, review=True)


def test_uncounted_fates_leave_no_line(file: Path) -> None:
    plan = LoadPlan(votes=100, repeats=0.5)
    repeats = sum(
        m.fate is ExpectedVerdict.REPEAT for m in messages(SyntheticElection(plan), lambda n: n)
    )
    expected = written(file, plan)
    assert repeats == 50
    assert expected.messages == plan.messages
    assert expected.counted == 100
