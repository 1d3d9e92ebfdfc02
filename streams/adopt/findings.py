"""Inconsistencies of the old system's data; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from streams.adopt.accounts import Account, UnknownTable

UNACCOUNTED: Final = "unaccounted"
MAX_DETAILS: Final = 20


class Finding(msgspec.Struct, frozen=True):
    """One inconsistency, or one fact to know before the old system is replaced."""

    name: str
    count: int
    what: str
    """What it means, and how it is handled."""
    details: list[str] = []
    """At most :data:`MAX_DETAILS`; never a voter."""
    serious: bool = True
    """Whether it needs the operator's consent (`--accept-differences`)."""


_MEANINGS: Final[dict[str, tuple[str, bool]]] = {
    "doubled_rows": (
        "audit rows that repeat another (same voter, time and choice); each vote is taken once",
        False,
    ),
    "second_votes": (
        "further votes of voters that the audit counts already; the first in time counts, the"
        " others become duplicate attempts",
        True,
    ),
    "voted_without_vote": (
        "voters marked as having voted (voted_hashes) without a vote in any table; nothing is"
        " counted for them and they cannot vote again, in no contest that the vote can have been"
        " in (rejected_votes, reason vote_lost)",
        True,
    ),
    "attempts_without_vote": (
        "voters with duplicate attempts and no vote in any table; nothing is counted for them and"
        " they cannot vote again (rejected_votes, reason vote_lost)",
        True,
    ),
    "election_not_named": (
        "candidate votes that name no election, though the old system has elections: set"
        " SCRUTIN_DEFAULT_ELECTION to the election they belong to, or their voters can vote in it"
        " again",
        True,
    ),
    "rankings_not_taken": (
        "ranked votes whose ranking names a candidate twice or begins with another candidate than"
        " candidate_id; candidate_id counts",
        True,
    ),
    "votes_not_in_redis": (
        "voters with a counted vote who are not in voted_hashes, so that the old system would have"
        " let them vote again; they are marked from now on",
        True,
    ),
    "pending": (
        "audit rows that are pending; their messages are still in a queue or lost; they are"
        " not adopted",
        True,
    ),
    "unknown_status": ("audit rows with an unknown status; they are not adopted", True),
    "unusable": (
        "audit rows whose voter or contest is missing or too long; they are not adopted, and"
        " their voters, where known, cannot vote again",
        True,
    ),
    "unusable_attempts": (
        "rows of duplicate_attempts whose voter is missing or too long; they are not adopted",
        True,
    ),
    "uncountable": (
        "counted law votes that are neither oui nor non, or candidate votes without a candidate;"
        " the voters stay marked, the votes do not count",
        True,
    ),
    "counters_differ": (
        "voters whose duplicate_count differs from the rows of duplicates; the larger is taken",
        False,
    ),
    "counters_without_vote": (
        "duplicate counters of voters without a vote or a mark; they are not adopted",
        False,
    ),
    "names_alike": (
        "voters of polls whose name another voter of the poll has too, apart from case, blanks or"
        " invisible characters; their votes count, and none of these names can vote there again",
        False,
    ),
    "votes_after_end": (
        "votes in polls after their end, which the old service counted; they are counted",
        False,
    ),
    "vote_service_not_read": (
        "the poll service's counted votes only: the votes that the vote service accepted"
        " (votes_votelog) are not here; name its database with --vote-service, or their voters can"
        " vote again",
        True,
    ),
    "updates_waiting": (
        "messages that the old poll service has not read (poll_vote_updates); their votes are"
        " adopted from the vote service's table: purge the queue",
        True,
    ),
    "vote_tasks_waiting": (
        "votes that the old vote service has answered with 202 and not stored (queue celery); let"
        " its worker empty the queue first, or they are lost",
        True,
    ),
    "others_connected": (
        "connections of other programs to the old database; stop the old services first",
        False,
    ),
    "consumers": ("programs that still read the queues; stop the old services first", True),
    "aggregation_waiting": (
        "messages that the old aggregator has not read; their votes are adopted from the audit:"
        " purge the queue, or they are counted again as duplicate attempts",
        True,
    ),
}


def findings(
    facts: Mapping[str, int],
    by_choice: Sequence[Mapping[str, Any]],
    accounts: Sequence[Account],
    unknown: Sequence[UnknownTable],
) -> list[Finding]:
    """Derive the findings from the figures.

    Args:
        facts: figure -> count.
        by_choice: `contest`, `choice`, `in_totals`, `in_audit`, `law` and `compared` (whether the
            old system has totals of this kind) of every contest and choice.
        accounts: of the tables and keys that were read.
        unknown: tables that were not read and may hold votes.
    """
    found = []
    if unread := sum(account.unaccounted != 0 for account in accounts):
        found.append(
            Finding(
                UNACCOUNTED,
                unread,
                "tables of which not every row has an outcome; the adoption is refused",
                [f"{a.source}: {a.unaccounted:,} rows" for a in accounts if a.unaccounted],
            )
        )
    if unknown:
        found.append(
            Finding(
                "unknown_tables",
                len(unknown),
                "tables that look as if they held votes or voters who have voted, and are not"
                " read: nothing in them is adopted",
                [str(table) for table in unknown],
            )
        )
    compared = [row for row in by_choice if row["compared"]]
    above = [row for row in compared if row["in_totals"] > row["in_audit"]]
    below = [row for row in compared if row["in_totals"] < row["in_audit"]]
    if above:
        found.append(
            Finding(
                "totals_above_audit",
                sum(row["in_totals"] - row["in_audit"] for row in above),
                "votes in vote_results, election_results or polls_option without a row of their own"
                " (redeliveries counted twice, or lost rows); they are not counted",
                _compared(above),
            )
        )
    if below:
        found.append(
            Finding(
                "totals_below_audit",
                sum(row["in_audit"] - row["in_totals"] for row in below),
                "votes with a row that vote_results, election_results or polls_option lack; they"
                " are counted",
                _compared(below),
            )
        )
    for name, (what, serious) in _MEANINGS.items():
        if count := facts.get(name, 0):
            found.append(Finding(name, count, what, serious=serious))
    return found


def _compared(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [
        f"{row['contest']} {row['choice']}: {row['in_totals']:,} in the totals,"
        f" {row['in_audit']:,} in the votes"
        for row in rows[:MAX_DETAILS]
    ]
    return lines if len(rows) <= MAX_DETAILS else [*lines, f"and {len(rows) - MAX_DETAILS} more"]
