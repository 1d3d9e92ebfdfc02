"""Expected outcome of an election: the file that `scrutin publish` writes and `verify` reads.

Two files: a JSON document (:class:`Expected`), and next to it a file of tab-separated lines:

    C  vote_audit.vote_hash  voter's hash (or `=`)  contest  choice (or `*`)  later submissions
    R  status  reason  voter's hash  contest  choice  SHA-256 of a malformed body

`C` lines come first, sorted by their hash in byte order. `*` is a choice that depends on the
order of delivery. `R` lines hold invalid and malformed messages; duplicates follow from the `C`
lines.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from streams.errors import SettingsError
from streams.load.election import LoadPlan
from streams.load.script import ExpectedVerdict, ScriptedMessage

FORMAT: Final = "scrutin-expected/1"
ANY_CHOICE: Final = "*"
DISPUTED: Final = "disputed"
"""Key among a contest's choices for votes whose choice depends on the order of delivery."""


class Lines(msgspec.Struct, frozen=True):
    """The file of lines."""

    file: str
    """Name, in the folder of the JSON document."""
    count: int
    sha256: str


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """The JSON document. All counts cover the whole election."""

    format: str = FORMAT
    queue: str
    """Documented name of the destination queue."""
    plan: dict[str, Any]
    """Arguments of :class:`streams.load.election.Plan`."""
    messages: int
    """Published, repeats included."""
    unconfirmed: int
    """Messages that RabbitMQ never confirmed; above 0 the outcome is uncertain."""
    started_us: int
    """Before the first message was sent: Unix time in microseconds."""
    seconds: float
    """From the first message sent to the last one confirmed."""
    counted: int
    """Rows of `vote_audit`."""
    voted_hashes: int
    """Members of the Redis set `voted_hashes`."""
    laws: dict[str, dict[str, int]]
    """Law -> choice -> votes; see :data:`DISPUTED`."""
    contests: dict[str, dict[str, int]]
    """Election -> candidate -> votes; see :data:`DISPUTED`."""
    rejected: dict[str, dict[str, int]]
    """Status -> reason -> messages."""
    uncertain: dict[str, dict[str, int]]
    """As `rejected`: resent because the confirm was lost; each may appear once more."""
    duplicated_voters: int
    """Rows of `duplicate_attempts`, and Redis keys `duplicate_count:{hash}`."""
    review_messages: int
    """Different messages on the review queue."""
    lines: Lines


class CountedLine(NamedTuple):
    """One voter who is counted in one contest."""

    stored: str
    voter: str
    contest: str
    choice: str
    """:data:`ANY_CHOICE` if it depends on the order of delivery."""
    later: int
    """Submissions after the accepted one."""


class RejectedLine(NamedTuple):
    """One invalid or malformed message."""

    status: str
    reason: str
    voter: str
    contest: str
    choice: str
    sha256: str


class ExpectedTotals:
    """Adds up the expected outcome of the messages sent."""

    def __init__(self, plan: LoadPlan) -> None:
        self._plan = plan
        self.messages = 0
        self._counted: list[ScriptedMessage] = []
        self._later: Counter[str] = Counter()
        self._choices: defaultdict[str, set[str]] = defaultdict(set)
        self._rejected: list[RejectedLine] = []
        self._uncertain: Counter[tuple[str, str]] = Counter()

    def add(self, message: ScriptedMessage) -> None:
        """Record a message when it is first sent."""
        self.messages += 1
        fate = message.fate
        if fate is ExpectedVerdict.COUNTED:
            # Without the body, which takes most of the memory.
            self._counted.append(msgspec.structs.replace(message, body=b"", message_id=""))
        elif fate is ExpectedVerdict.DUPLICATE:
            self._later[message.stored] += 1
            self._choices[message.stored].add(message.choice)
        elif fate is not ExpectedVerdict.REPEAT:
            self._rejected.append(_rejected_line(message))

    def resent(self, message: ScriptedMessage) -> None:
        """Record a message that was resent because its confirm was lost."""
        if message.fate in {
            ExpectedVerdict.UNKNOWN,
            ExpectedVerdict.BAD_CHOICE,
            ExpectedVerdict.MALFORMED,
        }:
            line = _rejected_line(message)
            self._uncertain[line.status, line.reason] += 1

    def write(self, path: Path, *, unconfirmed: int, started_us: int, seconds: float) -> Expected:
        """Write both files and return the document."""
        lines_path = path.with_name(path.name + ".lines")
        counted = sorted(self._counted_lines())
        lines = _write_lines(lines_path, counted, sorted(self._rejected))
        expected = self._document(counted, lines, unconfirmed, started_us, seconds)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(expected)) + b"\n")
        return expected

    def _counted_lines(self) -> Iterator[CountedLine]:
        for m in self._counted:
            others = self._choices.get(m.stored, set())
            choice = m.choice if others <= {m.choice} else ANY_CHOICE
            yield CountedLine(m.stored, m.voter, m.contest, choice, self._later.get(m.stored, 0))

    def _document(
        self,
        counted: list[CountedLine],
        lines: Lines,
        unconfirmed: int,
        started_us: int,
        seconds: float,
    ) -> Expected:
        laws: defaultdict[str, Counter[str]] = defaultdict(Counter)
        contests: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for line in counted:
            of = contests if line.contest.startswith("election:") else laws
            of[line.contest][DISPUTED if line.choice == ANY_CHOICE else line.choice] += 1
        rejected: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for r in self._rejected:
            rejected[r.status][r.reason] += 1
        if duplicates := self._later.total():
            rejected["duplicate"]["already_voted"] = duplicates
        uncertain: defaultdict[str, dict[str, int]] = defaultdict(dict)
        for (status, reason), count in self._uncertain.items():
            uncertain[status][reason] = count
        return Expected(
            queue=self._plan.queue,
            plan=self._plan.as_dict(),
            messages=self.messages,
            unconfirmed=unconfirmed,
            started_us=started_us,
            seconds=round(seconds, 3),
            counted=len(counted),
            voted_hashes=len({line.voter for line in counted}),
            laws=_sorted(laws),
            contests=_sorted(contests),
            rejected=_sorted(rejected),
            uncertain=_sorted(uncertain),
            duplicated_voters=len(self._later),
            review_messages=sum(c.total() for c in rejected.values()),
            lines=lines,
        )


def _rejected_line(message: ScriptedMessage) -> RejectedLine:
    if message.fate is ExpectedVerdict.MALFORMED:
        digest = hashlib.sha256(message.body).hexdigest()
        return RejectedLine("malformed", message.reason, "", "", "", digest)
    reason = "not_on_roll" if message.fate is ExpectedVerdict.UNKNOWN else "unknown_choice"
    return RejectedLine("invalid", reason, message.voter, message.contest, message.choice, "")


def _sorted(counts: dict[str, Any]) -> dict[str, dict[str, int]]:
    return {name: dict(sorted(of.items())) for name, of in sorted(counts.items())}


def _write_lines(path: Path, counted: list[CountedLine], rejected: list[RejectedLine]) -> Lines:
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for c in counted:
            voter = "=" if c.voter == c.stored else c.voter
            line = f"C\t{c.stored}\t{voter}\t{c.contest}\t{c.choice}\t{c.later}\n".encode()
            digest.update(line)
            file.write(line)
        for r in rejected:
            line = ("\t".join(("R", *r)) + "\n").encode()
            digest.update(line)
            file.write(line)
    return Lines(path.name, len(counted) + len(rejected), digest.hexdigest())


def read_expected(path: Path) -> Expected:
    """Read the document and check that its lines were not changed.

    Raises:
        SettingsError: a file is missing, has another format, or was changed.
    """
    try:
        expected = msgspec.json.decode(path.read_bytes(), type=Expected)
    except OSError as error:
        raise SettingsError(
            "The expected outcome cannot be read",
            where={"file": path, "error": error.strerror},
            todo="`scrutin publish --expected FILE` writes it",
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SettingsError(
            "The file is not an expected outcome", where={"file": path, "error": error}
        ) from error
    if expected.format != FORMAT:
        raise SettingsError(
            f"The file has format {expected.format!r}, this version reads {FORMAT!r}",
            where={"file": path},
        )
    lines = lines_path(path, expected)
    try:
        with lines.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SettingsError(
            "The lines of the expected outcome cannot be read",
            where={"file": lines, "error": error.strerror},
            todo="Keep it next to the JSON file",
        ) from error
    if digest != expected.lines.sha256:
        raise SettingsError(
            "The lines of the expected outcome were changed",
            where={"file": lines},
            todo="Publish again, or restore the file",
        )
    return expected


def lines_path(path: Path, expected: Expected) -> Path:
    """Path of a document's lines."""
    return path.with_name(expected.lines.file)


def counted_lines(path: Path) -> Iterator[CountedLine]:
    """The `C` lines of a file of lines, by ascending hash."""
    with path.open(encoding="utf-8") as file:
        for text in file:
            kind, stored, *rest = text.rstrip("\n").split("\t")
            if kind != "C":
                return
            voter, contest, choice, later = rest
            yield CountedLine(
                stored, stored if voter == "=" else voter, contest, choice, int(later)
            )


def rejected_lines(path: Path) -> Iterator[RejectedLine]:
    """The `R` lines of a file of lines."""
    with path.open(encoding="utf-8") as file:
        for text in file:
            kind, *rest = text.rstrip("\n").split("\t")
            if kind == "R":
                yield RejectedLine(*rest)
