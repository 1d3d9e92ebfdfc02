"""Compare the expected outcome of an election with the observed one. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, NamedTuple

from streams.load.expected import ANY_CHOICE, DISPUTED, CountedLine, Expected

ABSENT: Final = "absent"


@dataclass(frozen=True)
class Figure:
    """One compared number."""

    group: str
    """Its source: `PostgreSQL`, `votes.review`, `Redis`."""
    name: str
    lowest: int
    highest: int
    """Above `lowest` only if delivery order or a lost confirm makes the number uncertain."""
    found: int

    @property
    def ok(self) -> bool:
        """Whether the number is as expected."""
        return self.lowest <= self.found <= self.highest

    @property
    def expected(self) -> str:
        """The expectation as text."""
        if self.lowest == self.highest:
            return f"{self.lowest:,}"
        return f"{self.lowest:,} to {self.highest:,}"


@dataclass(frozen=True)
class CheckDifference:
    """One line that differs from the expectation."""

    where: str
    line: str
    expected: str
    found: str


@dataclass
class Report:
    """Result of the whole comparison.

    Args:
        sample: how many differing lines to keep; all are counted.
    """

    sample: int = 10
    figures: list[Figure] = field(default_factory=list)
    differences: list[CheckDifference] = field(default_factory=list)
    different_lines: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        """Whether everything is as expected."""
        return not self.different_lines and all(figure.ok for figure in self.figures)

    def figure(self, group: str, name: str, expected: int, found: int, spare: int = 0) -> None:
        """Record a number; up to `spare` above the expectation is accepted."""
        self.figures.append(Figure(group, name, expected, expected + spare, found))

    def lines(self, differences: Iterable[CheckDifference]) -> int:
        """Record differing lines and return their number."""
        source = iter(differences)
        kept = list(islice(source, max(0, self.sample - len(self.differences))))
        self.differences += kept
        count = len(kept) + sum(1 for _ in source)
        self.different_lines += count
        return count


def compare_totals(
    report: Report,
    group: str,
    table: str,
    expected: Mapping[str, Mapping[str, int]],
    found: Mapping[tuple[str, str], int],
) -> None:
    """Compare votes per contest and choice, including unexpected contests and choices."""
    known: set[tuple[str, str]] = set()
    for contest, choices in expected.items():
        disputed = choices.get(DISPUTED, 0)
        for choice, votes in choices.items():
            if choice != DISPUTED:
                known.add((contest, choice))
                there = found.get((contest, choice), 0)
                report.figure(group, f"{table} {contest} {choice}", votes, there, disputed)
        if disputed:
            there = sum(votes for (name, _), votes in found.items() if name == contest)
            report.figure(group, f"{table} {contest} all", sum(choices.values()), there)
    for (contest, choice), votes in found.items():
        if (contest, choice) not in known and votes and not expected.get(contest, {}).get(DISPUTED):
            report.figure(group, f"{table} {contest} {choice}", 0, votes)


def compare_rejected(
    report: Report, group: str, table: str, expected: Expected, found: Mapping[tuple[str, str], int]
) -> None:
    """Compare messages per status and reason."""
    pairs = {(status, r) for status, reasons in expected.rejected.items() for r in reasons}
    for status, reason in sorted(pairs | set(found)):
        report.figure(
            group,
            f"{table} {status} {reason}",
            expected.rejected.get(status, {}).get(reason, 0),
            found.get((status, reason), 0),
            expected.uncertain.get(status, {}).get(reason, 0),
        )


class AuditRow(NamedTuple):
    """A row of `vote_audit`."""

    stored: str
    voter: str
    contest: str
    choice: str


class AuditComparison:
    """Merges expected lines and found rows in constant memory.

    Args:
        expected: by ascending hash in byte order.
    """

    def __init__(self, expected: Iterator[CountedLine]) -> None:
        self._expected = expected
        self._line = next(expected, None)
        self.equal = 0

    def row(self, row: AuditRow) -> Iterator[CheckDifference]:
        """Compare the next row; rows come by ascending hash in byte order."""
        yield from self._missing_before(row.stored)
        line = self._line
        if line is None or line.stored != row.stored:
            yield CheckDifference("vote_audit", row.stored, ABSENT, f"{row.contest} {row.choice}")
            return
        self._line = next(self._expected, None)
        choice = row.choice if line.choice == ANY_CHOICE else line.choice
        if row == (line.stored, line.voter, line.contest, choice):
            self.equal += 1
        else:
            wanted = f"{line.voter} {line.contest} {line.choice}"
            there = f"{row.voter} {row.contest} {row.choice}"
            yield CheckDifference("vote_audit", row.stored, wanted, there)

    def end(self) -> Iterator[CheckDifference]:
        """Expected lines that are left after the last row."""
        yield from self._missing_before(None)

    def _missing_before(self, stored: str | None) -> Iterator[CheckDifference]:
        while self._line is not None and (stored is None or self._line.stored < stored):
            line = self._line
            yield CheckDifference(
                "vote_audit", line.stored, f"{line.contest} {line.choice}", ABSENT
            )
            self._line = next(self._expected, None)


def mapping_differences(
    where: str, expected: Mapping[str, object], found: Mapping[str, object]
) -> Iterator[CheckDifference]:
    """Keys whose values are not equal."""
    for key in sorted(expected.keys() | found.keys()):
        wanted, there = expected.get(key, ABSENT), found.get(key, ABSENT)
        if wanted != there:
            yield CheckDifference(where, key, str(wanted), str(there))


def multiset_differences(
    where: str,
    expected: Counter[tuple[str, ...]],
    found: Counter[tuple[str, ...]],
    spare: Counter[tuple[str, str]],
) -> Iterator[CheckDifference]:
    """Lines that occur too rarely or too often.

    Args:
        where: table or queue.
        expected: line -> count; a line begins with status and reason.
        found: as `expected`.
        spare: (status, reason) -> how many lines may occur once more.
    """
    left = spare.copy()
    for line in sorted(expected.keys() | found.keys()):
        wanted, there = expected[line], found[line]
        status_reason = (line[0], line[1])
        if there > wanted > 0 and left[status_reason] >= there - wanted:
            left[status_reason] -= there - wanted
        elif wanted != there:
            text = " ".join(part for part in line if part)
            yield CheckDifference(where, text, f"{wanted} times", f"{there} times")


def attempts_expected(lines: Iterable[CountedLine]) -> dict[str, list[int]]:
    """Stored hash -> attempt numbers, for voters who voted more than once."""
    return {line.stored: list(range(1, line.later + 1)) for line in lines if line.later}
