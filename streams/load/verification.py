"""Wait until an election is counted, then compare every line of it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg

from streams.adapters.redis.client import redis_connection
from streams.adapters.redis.keys import COUNTER_PREFIX, VOTED_HASHES
from streams.core.topics import egress_group, mirror_group
from streams.load import observed
from streams.load.checks import (
    AuditComparison,
    Report,
    attempts_expected,
    compare_rejected,
    compare_totals,
    mapping_differences,
    multiset_differences,
)
from streams.load.expected import Expected, counted_lines, lines_path, rejected_lines
from streams.settings.configs import DeploymentConfig
from streams.settings.queues import REVIEW

_POLL_S: Final = 0.3


@dataclass(frozen=True)
class VerificationProgress:
    """Progress of the chain."""

    counted: int
    rejected: int
    waiting: int
    """Messages ready on the ingress queue."""
    uncounted: int
    """Records of the input log that the database lacks."""
    mirrored: int
    """Members of the Redis set `voted_hashes`."""
    reviews: int
    """Messages ready on the review queue."""
    behind: int
    """Verdict batches that the mirror, or the reviews if compared, have not processed yet.

    Rows of an earlier run that are repeated would hide missing ones in the figures above.
    """

    def reached(self, expected: Expected, *, review: bool) -> bool:
        """Whether everything has arrived."""
        rejected = sum(sum(reasons.values()) for reasons in expected.rejected.values())
        return (
            self.waiting == 0
            and self.uncounted == 0
            and self.behind == 0
            and self.counted >= expected.counted
            and self.rejected >= rejected
            and self.mirrored >= expected.voted_hashes
            and (not review or self.reviews >= expected.review_messages)
        )


def checks_review(config: DeploymentConfig) -> bool:
    """Whether this deployment writes review messages."""
    return REVIEW in config.queues.egress


async def wait_until_counted(
    config: DeploymentConfig,
    expected: Expected,
    *,
    patience_s: float,
    review: bool,
    show: Callable[[VerificationProgress], None] = lambda _: None,
) -> bool:
    """Wait until everything has arrived and two successive polls agree.

    Args:
        config: addresses of the services.
        expected: the expected outcome.
        patience_s: give up after this long without a change.
        review: whether to wait for review messages.
        show: called after each poll.

    Returns:
        Whether everything arrived; False if it gave up.
    """
    before: VerificationProgress | None = None
    changed = time.monotonic()
    while True:
        now = await _look(config, expected, review=review)
        show(now)
        if now != before:
            before, changed = now, time.monotonic()
        elif now.reached(expected, review=review):
            return True
        elif time.monotonic() - changed > patience_s:
            return False
        await asyncio.sleep(_POLL_S)


async def _look(
    config: DeploymentConfig, expected: Expected, *, review: bool
) -> VerificationProgress:
    queue = config.queues.name(expected.queue)
    waiting, reviews = await observed.queue_depths(
        config.rabbit, [queue, config.queues.name(REVIEW)]
    )
    ends = await observed.log_ends(config.kafka)
    async with observed.database(config.postgres) as connection:
        row = await connection.fetchrow(observed.PROGRESS)
        assert row is not None
        applied = await observed.pairs(connection, observed.APPLIED)
    async with redis_connection(config.redis) as redis:
        mirrored = await redis.scard(VOTED_HASHES)
    groups = [mirror_group(config.kafka.app_id)]
    if review:
        groups.append(egress_group(config.kafka.app_id))
    behind = await observed.verdicts_behind(config.kafka, groups)
    # Offset 0 is the genesis record, which holds no votes.
    uncounted = sum(max(0, end - max(applied.get(p, 0), 0)) for p, end in ends.items())
    return VerificationProgress(
        row["counted"], row["rejected"], waiting, uncounted, mirrored, reviews, behind
    )


async def verify(
    config: DeploymentConfig,
    expected: Expected,
    path: Path,
    *,
    review: bool,
    drain_review: bool = False,
    sample: int = 10,
) -> Report:
    """Compare PostgreSQL, the review queue and Redis with the expected outcome, line by line.

    Args:
        config: addresses of the services.
        expected: the document.
        path: the document's file, next to its lines.
        review: whether to compare the review queue.
        drain_review: remove the review messages from the queue instead of requeuing them.
        sample: how many differing lines to keep.

    Raises:
        ServiceUnavailable: one of the services does not answer.
    """
    report = Report(sample=sample)
    lines = lines_path(path, expected)
    if expected.unconfirmed:
        report.notes.append(
            f"{expected.unconfirmed:,} messages were never confirmed to the publisher: "
            "the expected outcome is uncertain"
        )
    async with observed.database(config.postgres) as connection:
        await _database(report, connection, expected, lines)
    if review:
        messages = await observed.reviews(
            config.rabbit, config.queues.name(REVIEW), drain=drain_review
        )
        _reviews(report, messages, expected, lines)
    else:
        report.notes.append("The review queue was not compared")
    await _redis(report, config, expected, lines)
    return report


async def _database(
    report: Report, connection: asyncpg.Connection, expected: Expected, lines: Path
) -> None:
    group = "PostgreSQL"
    laws = await observed.totals(connection, observed.LAWS)
    compare_totals(report, group, "vote_results", expected.laws, laws)
    contests = await observed.totals(connection, observed.CONTESTS)
    elections = {key: votes for key, votes in contests.items() if key[0].startswith("election:")}
    compare_totals(report, group, "contest_results", expected.contests, elections)
    report.lines(
        mapping_differences("contest_results", _by_name(laws | elections), _by_name(contests))
    )
    windows = await observed.totals(connection, observed.WINDOWS)
    report.figure(group, "vote_windows votes", expected.counted, sum(windows.values()))
    report.lines(mapping_differences("vote_windows", _by_name(contests), _by_name(windows)))

    comparison = AuditComparison(counted_lines(lines))
    rows = 0
    async for row in observed.audit_rows(connection):
        rows += 1
        report.lines(comparison.row(row))
    report.lines(comparison.end())
    report.figure(group, "vote_audit rows", expected.counted, rows)
    report.figure(group, "vote_audit equal lines", expected.counted, comparison.equal)

    compare_rejected(
        report, group, "rejected", expected, await observed.totals(connection, observed.REJECTED)
    )
    wanted: Counter[tuple[str, ...]] = Counter(rejected_lines(lines))
    there = await observed.rejected_rows(connection)
    report.lines(multiset_differences("rejected_votes", wanted, there, _spare(expected)))
    attempts = attempts_expected(counted_lines(lines))
    found = await observed.pairs(connection, observed.REJECTED_ATTEMPTS)
    report.lines(mapping_differences("rejected_votes attempts", attempts, found))
    counts = await observed.pairs(connection, observed.DUPLICATES)
    report.figure(group, "duplicate_attempts rows", expected.duplicated_voters, len(counts))
    totals = {stored: len(numbers) + 1 for stored, numbers in attempts.items()}
    report.lines(mapping_differences("duplicate_attempts", totals, counts))


def _by_name(totals: dict[tuple[str, str], int]) -> dict[str, int]:
    return {f"{contest} {choice}": votes for (contest, choice), votes in totals.items() if votes}


def _spare(expected: Expected) -> Counter[tuple[str, str]]:
    return Counter(
        {(s, r): count for s, of in expected.uncertain.items() for r, count in of.items()}
    )


def _reviews(
    report: Report, messages: list[observed.ObservedReview], expected: Expected, lines: Path
) -> None:
    group = "votes.review"
    spare = _spare(expected)
    report.figure(
        group, "different messages", expected.review_messages, len(messages), spare.total()
    )
    wanted: Counter[tuple[str, ...]] = Counter(
        (r.status, r.reason, r.voter, r.sha256) for r in rejected_lines(lines)
    )
    statuses = Counter(m.status for m in messages)
    for status in sorted(expected.rejected.keys() | statuses.keys()):
        reasons = expected.rejected.get(status, {})
        more = sum(expected.uncertain.get(status, {}).values())
        report.figure(group, status, sum(reasons.values()), statuses[status], more)
    found: Counter[tuple[str, ...]] = Counter()
    attempts: dict[str, list[int]] = {}
    for m in messages:
        if m.status == "duplicate":
            attempts.setdefault(m.voter_hash or "", []).append(m.attempt_count)
        else:
            digest = str((m.body or {}).get("sha256", ""))
            found[m.status, m.reason, m.voter_hash or "", digest] += 1
    report.lines(multiset_differences(group, wanted, found, spare))
    numbers = {
        line.voter: list(range(1, line.later + 1)) for line in counted_lines(lines) if line.later
    }
    there = {voter: sorted(found) for voter, found in attempts.items()}
    report.lines(mapping_differences(f"{group} attempts", numbers, there))
    other = sum(1 for m in messages if m.voter_hash != m.vote_hash)
    report.figure(group, "messages whose hashes disagree", 0, other)


async def _redis(report: Report, config: DeploymentConfig, expected: Expected, lines: Path) -> None:
    group = "Redis"
    async with redis_connection(config.redis) as redis:
        size = await redis.scard(VOTED_HASHES)
        voters = (line.voter for line in counted_lines(lines))
        missing = [m async for m in observed.missing_members(redis, VOTED_HASHES, voters)]
        counts = await observed.counters(redis, COUNTER_PREFIX)
    report.figure(group, "voted_hashes members", expected.voted_hashes, size)
    report.lines(mapping_differences(VOTED_HASHES, dict.fromkeys(missing, "there"), {}))
    later = {line.voter: line.later for line in counted_lines(lines) if line.later}
    report.figure(group, "duplicate_count keys", expected.duplicated_voters, len(counts))
    report.lines(mapping_differences("duplicate_count", later, counts))
