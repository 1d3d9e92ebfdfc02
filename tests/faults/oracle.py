"""The oracle: whether everything that a run left behind is exactly what it must be.

Pure: it compares what was read with a model of its own and shares no code with the product. Each
finding has a name, a count and examples to look into.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from tests.faults.model import Outcome, Place, fold
from tests.faults.reading import FIRST_VOTE, Logs, Review
from tests.faults.stores import Database, Mirror, by_contest
from tests.faults.votes import Message

_EXAMPLES = 3


@dataclass(frozen=True)
class Finding:
    """Something that is not as it must be."""

    name: str
    detail: str

    def __str__(self) -> str:
        return f"{self.name}: {self.detail}"


@dataclass
class Evidence:
    """All that is looked at."""

    messages: Mapping[int, Message]
    """Everything that was published, by number."""
    confirmed: set[int]
    uncertain: set[int]
    """Sent, never confirmed and never sent again: may be in the queue or not."""
    logs: Logs
    database: Database
    reviews: list[Review]
    mirror: Mirror
    lag: Mapping[str, int]
    window_ms: int = 1000
    weights: Mapping[str, int] = field(default_factory=dict)
    """By voter of the assembly."""


@dataclass
class Judgement:
    """What the oracle found."""

    findings: list[Finding] = field(default_factory=list)
    counted: int = 0
    repeated_items: int = 0
    """Items of the input log beyond the sendings: produced or delivered again."""
    repeated_verdicts: int = 0
    """Verdict batches and changelog records that were written again."""
    repeated_reviews: int = 0
    """Review messages beyond one for each rejected item of the log."""


def judge(evidence: Evidence, sendings: Mapping[int, int]) -> Judgement:
    """Check everything.

    Args:
        evidence: what was read when the pipeline was drained.
        sendings: how often each message was published on purpose.
    """
    expected = fold(evidence.logs.items, evidence.messages, evidence.weights)
    found = [
        *_input(evidence, expected),
        *_places(evidence, expected),
        *_totals(evidence.database, expected, evidence.window_ms),
        *_attempts(evidence, expected),
        *_verdicts(evidence.logs, expected),
        *_voted_table(evidence.logs, expected),
        *_windows_topic(evidence),
        *_ends(evidence),
    ]
    logs = evidence.logs
    distinct = {(one.partition, one.source) for one in logs.verdicts}
    changelog = sum(len(partition) for partition in logs.changelog.values())
    return Judgement(
        findings=found,
        counted=len(expected.counted),
        repeated_items=sum(
            max(0, times - sendings.get(number, 0))
            for number, times in expected.occurrences.items()
        ),
        repeated_verdicts=len(logs.verdicts) - len(distinct) + logs.changelog_records - changelog,
        repeated_reviews=len(evidence.reviews) - len({r.message_id for r in evidence.reviews}),
    )


def _some(name: str, wrong: Iterable[object], what: str) -> Iterator[Finding]:
    wrong = list(wrong)
    if wrong:
        examples = ", ".join(str(one) for one in wrong[:_EXAMPLES])
        yield Finding(name, f"{len(wrong)} {what}, e.g. {examples}")


def _unequal(
    name: str, found: Mapping[Hashable, object], expected: Mapping[Hashable, object], what: str
) -> Iterator[Finding]:
    wrong = [
        f"{key} is {found.get(key)}, must be {expected.get(key)}"
        for key in {**found, **expected}
        if found.get(key) != expected.get(key)
    ]
    yield from _some(name, wrong, what)


def _input(evidence: Evidence, expected: Outcome) -> Iterator[Finding]:
    """The log holds what was published: all of it, nothing else, unchanged."""
    present = expected.occurrences.keys()
    yield from _some(
        "lost_before_kafka", sorted(evidence.confirmed - present), "confirmed messages not in Kafka"
    )
    yield from _some(
        "unknown_item",
        [item.place for item in evidence.logs.items if item.number not in evidence.messages],
        "items of the log that nobody sent",
    )
    yield from _some(
        "changed_item",
        [
            item.place
            for item in evidence.logs.items
            if item.number in evidence.messages
            and item.ballot != evidence.messages[item.number].ballot
        ],
        "items say another thing than was sent",
    )
    yield from _some(
        "unmarked_repeat", expected.unmarked, "messages came again without a mark of it"
    )
    partitions: dict[tuple[str, str], set[int]] = {}
    for item in evidence.logs.items:
        if item.ballot is not None:
            partitions.setdefault(item.ballot.key, set()).add(item.place[0])
    yield from _some(
        "scattered_voter", [k for k, p in partitions.items() if len(p) > 1], "voters in two logs"
    )
    yield from _some("strange_record", evidence.logs.strange, "records of no known type")


def _places(evidence: Evidence, expected: Outcome) -> Iterator[Finding]:
    """Each message is in exactly one place, and in the right one."""
    database = evidence.database
    counted = Counter(row.number for row in database.counted)
    refused = Counter(row.number for row in database.refused)
    by_id = {review.message_id: review for review in evidence.reviews}
    reviewed = Counter(review.number for review in by_id.values())
    sent = evidence.confirmed | evidence.uncertain
    for name, places, what in (
        ("counted_twice", counted, "messages counted more than once"),
        ("rejected_twice", refused, "messages have more than one row in rejected_votes"),
        ("reviewed_twice", reviewed, "messages have different reviews"),
    ):
        yield from _some(name, [n for n, times in places.items() if times > 1], what)
    in_both = (counted.keys() & refused.keys()) | (counted.keys() & reviewed.keys())
    yield from _some("counted_and_rejected", in_both, "messages counted and rejected")
    anywhere = counted.keys() | refused.keys()
    yield from _some("lost", sorted(evidence.confirmed - anywhere), "confirmed messages nowhere")
    yield from _some("invented", [n for n in anywhere if n not in sent], "messages never sent")
    yield from _some(
        "not_reviewed",
        refused.keys() - reviewed.keys() - expected.replaced.keys(),
        "rejected messages without a review",
    )
    yield from _some(
        "review_without_row", reviewed.keys() - refused.keys(), "reviews of messages not rejected"
    )
    rows = {
        row.number: (row.place, row.contest, row.choice, row.voter_hash, row.weight)
        for row in database.counted
    }
    yield from _unequal(
        "vote_audit",
        rows,
        {
            number: (
                *(item.place, item.ballot.contest, item.ballot.choice, item.ballot.voter),
                expected.weight(item.ballot),
            )
            for number, item in expected.counted.items()
            if item.ballot is not None
        },
        "rows of vote_audit are wrong",
    )
    yield from _unequal(
        "rejected_votes",
        {row.number: row.verdict for row in database.refused},
        {**expected.refused, **expected.replaced},
        "rows of rejected_votes are wrong",
    )
    yield from _unequal(
        "votes.review",
        {review.number: review.verdict for review in evidence.reviews},
        expected.refused,
        "reviews are wrong",
    )


def _totals(database: Database, expected: Outcome, window_ms: int) -> Iterator[Finding]:
    """Totals and windows add up to the votes and equal the model."""
    totals = expected.totals()
    yield from _unequal("audit_sum", by_contest(database.counted), totals, "sums of vote_audit")
    # Where later votes replaced all of a choice or a window, its row stays.
    contests = {name: votes for name, votes in database.contests.items() if votes}
    windows = {name: votes for name, votes in database.windows.items() if votes}
    yield from _unequal("contest_results", contests, totals, "contest results are wrong")
    laws = {law for law, _ in totals if not law.startswith("election:")}
    yield from _unequal(
        "vote_results",
        database.laws,
        {
            law: (totals[law, "oui"], totals[law, "non"], totals[law, "oui"] + totals[law, "non"])
            for law in laws
        },
        "laws have wrong results",
    )
    added: Counter[tuple[str, str]] = Counter()
    for (contest, choice, _), votes in windows.items():
        added[contest, choice] += votes
    yield from _unequal("window_sum", added, totals, "sums of windows")
    yield from _unequal("vote_windows", windows, expected.windows(window_ms), "windows are wrong")


def _attempts(evidence: Evidence, expected: Outcome) -> Iterator[Finding]:
    """Attempt numbers in PostgreSQL and Redis, and who has voted in Redis."""
    yield from _unequal(
        "duplicate_attempts",
        evidence.database.attempts,
        {stored(key): attempts + 1 for key, attempts in expected.attempts.items()},
        "counts of duplicate_attempts",
    )
    counters: dict[str, int] = {}
    for (_, voter), attempts in expected.attempts.items():
        counters[voter] = max(attempts, counters.get(voter, 0))
    yield from _unequal("duplicate_count", evidence.mirror.attempts, counters, "counters in Redis")
    voted = {voter for _, voter in expected.voters}
    yield from _some("voted_hashes_missing", voted - evidence.mirror.voted, "voters not in Redis")
    yield from _some("voted_hashes_surplus", evidence.mirror.voted - voted, "too many in Redis")


def _verdicts(logs: Logs, expected: Outcome) -> Iterator[Finding]:
    """Every input record has its verdicts, the same whenever they were written, in a chain."""
    wanted: dict[tuple[int, int], dict[int, object]] = {place: {} for place in logs.records}
    for (partition, offset, index), verdict in expected.verdicts.items():
        wanted[partition, offset][index] = verdict
    more: dict[tuple[int, int], dict[int, tuple[int, int]]] = {}
    for (partition, offset, index), acceptance in expected.acceptances.items():
        more.setdefault((partition, offset), {})[index] = acceptance
    wrong: list[str] = []
    reached: dict[int, int] = {}
    for one in logs.verdicts:
        place = (one.partition, one.source)
        if one.rejections != wanted.get(place):
            wrong.append(f"{place}: other verdicts")
        if one.acceptances != more.get(place, {}):
            wrong.append(f"{place}: other weights, or other votes replaced")
        if one.record != logs.records.get(place):
            wrong.append(f"{place}: another record")
        if one.previous != one.source - 1:
            wrong.append(f"{place}: follows {one.previous}")
        if one.source > reached.get(one.partition, -1) + 1:
            wrong.append(f"{place}: after a gap")
        reached[one.partition] = max(one.source, reached.get(one.partition, -1))
    yield from _some("votes.validated", wrong, "verdict batches are wrong")
    missing = wanted.keys() - {(one.partition, one.source) for one in logs.verdicts}
    yield from _some("verdicts_missing", sorted(missing), "input records without verdicts")


def _voted_table(logs: Logs, expected: Outcome) -> Iterator[Finding]:
    """The changelog, folded here, says who voted where and how often they tried again."""
    first: dict[bytes, Place] = {}
    attempts: dict[bytes, int] = {}
    for partition, records in logs.changelog.items():
        for offset, (tag, _, first_votes, _, repeats, *_) in sorted(records.items()):
            for key, index, _, _ in FIRST_VOTE.iter_unpack(first_votes):
                place = (partition, offset, index)
                first[key] = min(place, first.get(key, place))
            for key, at, index, _, tried, _ in repeats:
                place = (partition, at, index)
                later = tag == "voted/2" and tried > attempts.get(key, 0)
                first[key] = place if later else min(place, first.get(key, place))
                attempts[key] = max(tried, attempts.get(key, 0))
    yield from _unequal(
        "voted_table",
        first,
        {table_key(key): place for key, place in expected.voters.items()},
        "entries of the voted table",
    )
    yield from _unequal(
        "voted_attempts",
        attempts,
        {table_key(k): tried for k, tried in (expected.attempts + expected.revotes).items()},
        "attempts in the voted table",
    )
    missing = [place for place in logs.records if place[1] not in logs.changelog.get(place[0], {})]
    yield from _some("changelog_missing", missing, "input records without a changelog record")


def _windows_topic(evidence: Evidence) -> Iterator[Finding]:
    yield from _unequal(
        "votes.windows", evidence.logs.windows, evidence.database.windows, "windows in the topic"
    )


def _ends(evidence: Evidence) -> Iterator[Finding]:
    """Everything is at the end of its log."""
    yield from _some(
        "lag", [f"{group} {lag}" for group, lag in evidence.lag.items() if lag], "groups lag"
    )
    logs = evidence.logs
    ends = {
        partition: (log_id, logs.ends["votes.validation", partition] - 1)
        for partition, log_id in logs.log_ids.items()
    }
    fences = {p: (log_id, source) for p, (log_id, source, _) in evidence.database.fences.items()}
    yield from _unequal("sink_offsets", fences, ends, "fences are not at the end")


def table_key(key: tuple[str, str]) -> bytes:
    """Key of the voted table: a law's hash, else SHA-256 of `contest`, contest and hash."""
    contest, voter = key
    if not contest:
        return bytes.fromhex(voter)
    return hashlib.sha256(f"contest\0{contest}\0{voter}".encode()).digest()


def stored(key: tuple[str, str]) -> str:
    """`vote_audit.vote_hash` of a voter: the key of the voted table in hexadecimal."""
    return table_key(key).hex()
