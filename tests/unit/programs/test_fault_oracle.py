"""The oracle of the fault runs: silent on what is right, and each check can fail."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.faults.model import Item, Outcome, Verdict, fold
from tests.faults.oracle import Evidence, judge, stored, table_key
from tests.faults.reading import FIRST_VOTE, Logs, Review, Verdicts
from tests.faults.stores import Counted, Database, Mirror, Refused
from tests.faults.votes import ASSEMBLY, Ballot, Message, Votes, number_of

PARTITIONS = 2
COUNT = 400
A_RECORD = 7
WINDOW_MS = 1000
LOG_ID = b"log of the tests"
VOTES = Votes(COUNT, seed=5)


def items(votes: Votes) -> Iterator[Item]:
    """The votes as a log: records of seven, a new one every 100 ms, in their order."""
    filled = [0] * PARTITIONS
    for number in votes.order:
        message = votes.messages[number]
        key = repr(message.ballot.key if message.ballot else number)
        partition = zlib.crc32(key.encode()) % PARTITIONS
        record, index = divmod(filled[partition], A_RECORD)
        filled[partition] += 1
        marked = message.message_id is not None
        place = (partition, record + 1, index)
        yield Item(place, number, message.ballot, marked, 1000 + record * 100)


def evidence() -> Evidence:
    """All that a run without a fault would leave behind."""
    votes = VOTES
    log = sorted(items(votes), key=lambda item: item.place)
    messages = {message.number: message for message in votes.messages}
    out = fold(log, messages)
    database = Database(
        counted=[_counted(item) for item in out.counted.values()],
        refused=[Refused(n, v, _place_of(out, n, log)) for n, v in out.refused.items()],
        contests=dict(out.totals()),
        laws=_laws(out),
        windows=dict(out.windows(WINDOW_MS)),
        attempts={stored(key): tried + 1 for key, tried in out.attempts.items()},
    )
    logs = Logs(items=log, windows=dict(database.windows))
    for partition in range(PARTITIONS):
        _partition(logs, partition, log, out)
        end = logs.ends["votes.validation", partition]
        database.fences[partition] = (LOG_ID, end - 1, end - 1)
    return Evidence(
        messages=messages,
        confirmed=set(messages),
        uncertain=set(),
        logs=logs,
        database=database,
        reviews=[
            Review(f"review {item.number}", item.number, verdict)
            for item in log
            if (verdict := out.verdicts.get(item.place)) and verdict.status != "replay"
        ],
        mirror=Mirror(
            {voter for _, voter in out.voters},
            {voter: tried for (_, voter), tried in out.attempts.items()},
        ),
        lag={"scrutin": 0},
        window_ms=WINDOW_MS,
    )


def _counted(item: Item) -> Counted:
    assert item.ballot is not None
    ballot = item.ballot
    vote_hash = stored(ballot.key)
    return Counted(item.number, vote_hash, ballot.voter, ballot.contest, ballot.choice, item.place)


def _place_of(out: Outcome, number: int, log: list[Item]) -> tuple[int, int, int]:
    return next(i.place for i in log if i.number == number and i.place in out.verdicts)


def _laws(out: Outcome) -> dict[str, tuple[int, int, int]]:
    totals = out.totals()
    return {
        law: (totals[law, "oui"], totals[law, "non"], totals[law, "oui"] + totals[law, "non"])
        for law, _ in totals
        if law.startswith("law-")
    }


def _partition(logs: Logs, partition: int, log: list[Item], out: Outcome) -> None:
    mine = [item for item in log if item.place[0] == partition]
    end = mine[-1].place[1] + 1
    logs.ends["votes.validation", partition] = end
    logs.log_ids[partition] = LOG_ID
    table: dict[int, list[Any]] = {}
    for offset in range(end):
        record = [item for item in mine if item.place[1] == offset]
        logs.records[partition, offset] = ["votes/1", offset]
        rejections = {i.place[2]: v for i in record if (v := out.verdicts.get(i.place))}
        logs.verdicts.append(
            Verdicts(partition, offset, offset - 1, rejections, ["votes/1", offset])
        )
        first = b"".join(
            FIRST_VOTE.pack(table_key(item.ballot.key), item.place[2], 0, b"identity")
            for item in record
            if item.ballot is not None and out.voters.get(item.ballot.key) == item.place
        )
        repeats = [
            [table_key(i.ballot.key), *out.voters[i.ballot.key][1:], b"", verdict.attempt, []]
            for i in record
            if i.ballot is not None
            and (verdict := out.verdicts.get(i.place)) is not None
            and verdict.status == "duplicate"
        ]
        table[offset] = ["voted/1", LOG_ID, first, [], repeats, []]
        logs.changelog_records += 1
    logs.changelog[partition] = table


def names(given: Evidence) -> set[str]:
    return {finding.name for finding in judge(given, Counter(VOTES.order)).findings}


def test_what_is_right_gives_no_finding() -> None:
    judgement = judge(evidence(), Counter(VOTES.order))
    assert [str(finding) for finding in judgement.findings] == []
    assert judgement.counted > COUNT * 0.8
    assert judgement.repeated_items == 0
    assert judgement.repeated_verdicts == 0
    assert judgement.repeated_reviews == 0


def lose_a_vote(e: Evidence) -> None:
    e.database.counted.pop()


def lose_before_kafka(e: Evidence) -> None:
    last = e.logs.items[-1].number
    e.logs.items = [item for item in e.logs.items if item.number != last]


def count_twice(e: Evidence) -> None:
    e.database.counted.append(e.database.counted[0])


def count_and_reject(e: Evidence) -> None:
    row = e.database.counted[0]
    e.database.refused.append(Refused(row.number, Verdict("duplicate", "x", 1), row.place))


def reject_twice(e: Evidence) -> None:
    e.database.refused.append(e.database.refused[0])


def review_anew(e: Evidence) -> None:
    e.reviews.append(replace(e.reviews[0], message_id="another"))


def lose_a_review(e: Evidence) -> None:
    last = e.reviews[-1].number
    e.reviews = [review for review in e.reviews if review.number != last]


def invent(e: Evidence) -> None:
    e.confirmed.discard(e.database.counted[0].number or 0)


def change_a_choice(e: Evidence) -> None:
    [index] = [i for i, item in enumerate(e.logs.items) if item.number == 4]
    item = e.logs.items[index]
    assert item.ballot is not None
    e.logs.items[index] = replace(item, ballot=replace(item.ballot, choice="another"))


def add_to_a_total(e: Evidence) -> None:
    e.database.contests["law-001", "oui"] += 1


def add_to_a_law(e: Evidence) -> None:
    yes, no, total = e.database.laws["law-002"]
    e.database.laws["law-002"] = (yes + 1, no, total + 1)


def move_between_windows(e: Evidence) -> None:
    first, second = [key for key in sorted(e.database.windows) if key[:2] == ("law-001", "oui")][:2]
    e.database.windows[first] -= 1
    e.database.windows[second] += 1


def lose_a_window(e: Evidence) -> None:
    e.database.windows.popitem()


def attempt_number(e: Evidence) -> None:
    index = next(i for i, r in enumerate(e.database.refused) if r.verdict.attempt)
    row = e.database.refused[index]
    e.database.refused[index] = replace(row, verdict=replace(row.verdict, attempt=7))


def attempts_in_table(e: Evidence) -> None:
    e.database.attempts[next(iter(e.database.attempts))] += 1


def attempts_in_redis(e: Evidence) -> None:
    e.mirror.attempts[next(iter(e.mirror.attempts))] += 1


def voter_missing_in_redis(e: Evidence) -> None:
    e.mirror.voted.pop()


def voter_surplus_in_redis(e: Evidence) -> None:
    e.mirror.voted.add("stranger")


def other_verdicts_on_a_replay(e: Evidence) -> None:
    e.logs.verdicts.append(replace(e.logs.verdicts[-1], rejections={0: Verdict("invalid", "x")}))


def hole_in_the_verdicts(e: Evidence) -> None:
    del e.logs.verdicts[3]


def voted_too_late(e: Evidence) -> None:
    offset, record = next((o, r) for o, r in e.logs.changelog[0].items() if r[2])
    e.logs.changelog[0][offset] = [*record[:2], b"", *record[3:]]


def changelog_short(e: Evidence) -> None:
    del e.logs.changelog[1][0]


def lag(e: Evidence) -> None:
    e.lag = {"scrutin": 3}


def fence_behind(e: Evidence) -> None:
    log_id, source, validated = e.database.fences[0]
    e.database.fences[0] = (log_id, source - 1, validated)


def another_log(e: Evidence) -> None:
    e.logs.log_ids[0] = b"another"


def window_topic_behind(e: Evidence) -> None:
    e.logs.windows.popitem()


def strange_record(e: Evidence) -> None:
    e.logs.strange.append("votes.validation 0 17")


def repeated_without_a_mark(e: Evidence) -> None:
    item = next(i for i in e.logs.items if not e.messages[i.number or 0].message_id and i.ballot)
    e.logs.items.append(item)


def in_two_partitions(e: Evidence) -> None:
    [index] = [i for i, item in enumerate(e.logs.items) if item.number == 4]
    partition, offset, place = e.logs.items[index].place
    copy = replace(e.logs.items[index], place=(1 - partition, offset, place))
    e.logs.items.append(copy)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lose_a_vote, "lost"),
        (lose_a_vote, "vote_audit"),
        (lose_a_vote, "audit_sum"),
        (lose_before_kafka, "lost_before_kafka"),
        (count_twice, "counted_twice"),
        (count_and_reject, "counted_and_rejected"),
        (reject_twice, "rejected_twice"),
        (review_anew, "reviewed_twice"),
        (lose_a_review, "not_reviewed"),
        (invent, "invented"),
        (change_a_choice, "changed_item"),
        (add_to_a_total, "contest_results"),
        (add_to_a_law, "vote_results"),
        (move_between_windows, "vote_windows"),
        (lose_a_window, "window_sum"),
        (attempt_number, "rejected_votes"),
        (attempts_in_table, "duplicate_attempts"),
        (attempts_in_redis, "duplicate_count"),
        (voter_missing_in_redis, "voted_hashes_missing"),
        (voter_surplus_in_redis, "voted_hashes_surplus"),
        (other_verdicts_on_a_replay, "votes.validated"),
        (hole_in_the_verdicts, "verdicts_missing"),
        (voted_too_late, "voted_table"),
        (changelog_short, "changelog_missing"),
        (lag, "lag"),
        (fence_behind, "sink_offsets"),
        (another_log, "sink_offsets"),
        (window_topic_behind, "votes.windows"),
        (strange_record, "strange_record"),
        (repeated_without_a_mark, "unmarked_repeat"),
        (in_two_partitions, "scattered_voter"),
    ],
)
def test_what_is_wrong_is_found_by_name(change: Callable[[Evidence], None], name: str) -> None:
    given = evidence()
    change(given)
    assert name in names(given)


def test_an_unconfirmed_message_may_be_counted_or_not() -> None:
    given = evidence()
    missing = next(m.number for m in VOTES.messages if not m.message_id)
    given.confirmed.discard(missing)
    given.uncertain.add(missing)
    assert names(given) == set()


def message(number: int, voter: str, *, sent_as: str | None = "id", choice: str = "oui") -> Message:
    return Message(number, b"", sent_as, Ballot(voter, "law-001", choice))


def item(offset: int, given: Message) -> Item:
    return Item((0, offset, 0), given.number, given.ballot, given.message_id is not None, 0)


def test_the_first_in_the_log_counts_and_later_ones_are_numbered() -> None:
    votes = [message(0, "a"), message(1, "b"), message(2, "a", choice="non"), message(3, "a")]
    log = [item(offset, votes[n]) for offset, n in enumerate((2, 0, 1, 3))]
    out = fold(log, {m.number: m for m in votes})
    assert out.counted.keys() == {2, 1}
    assert out.refused == {
        0: Verdict("duplicate", "already_voted", 1),
        3: Verdict("duplicate", "already_voted", 2),
    }
    assert out.totals() == {("law-001", "non"): 1, ("law-001", "oui"): 1}


def test_the_same_message_again_is_a_replay_of_what_it_was() -> None:
    votes = [message(0, "a"), message(1, "a")]
    log = [item(offset, votes[n]) for offset, n in enumerate((0, 1, 1, 0))]
    out = fold(log, {m.number: m for m in votes})
    assert out.refused == {1: Verdict("duplicate", "already_voted", 1)}
    assert out.verdicts[0, 2, 0] == out.verdicts[0, 3, 0] == Verdict("replay", "replay")
    assert out.attempts == {("", "a"): 1}


def test_the_votes_are_the_same_for_the_same_seed_and_bear_their_numbers() -> None:
    again = Votes(COUNT, seed=5)
    assert again.messages == VOTES.messages
    assert again.order == VOTES.order
    assert Votes(COUNT, seed=6).messages != VOTES.messages
    assert [number_of(m.body.decode()) for m in VOTES.messages] == list(range(COUNT))
    assert Counter(VOTES.order).keys() == set(range(COUNT))


def test_of_the_votes_in_the_assembly_the_last_counts_with_its_weight() -> None:
    votes = Votes(COUNT, seed=5, assembly=True)
    log = sorted(items(votes), key=lambda item: item.place)
    messages = {message.number: message for message in votes.messages}
    out = fold(log, messages, votes.weights)
    last = {
        item.ballot.key: item
        for item in log
        if item.ballot is not None
        and item.ballot.contest == ASSEMBLY
        and item.number is not None
        and item.place not in out.verdicts
    }
    counted = {i.number: i for i in out.counted.values() if i.ballot and i.ballot.key in last}
    assert counted == {item.number: item for item in last.values()}
    assert len(out.replaced) == out.revotes.total() > 5
    assert not out.replaced.keys() & out.counted.keys()
    by_hand: Counter[str] = Counter()
    for item in last.values():
        assert item.ballot is not None
        by_hand[item.ballot.choice] += votes.weights[item.ballot.voter]
    totals = {choice: n for (contest, choice), n in out.totals().items() if contest == ASSEMBLY}
    assert totals == dict(by_hand)
    assert sum(by_hand.values()) > len(last)
