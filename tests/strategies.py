"""Hypothesis strategies for votes, batches and logs.

Voters, contests and identities come from small pools, so that duplicates and replays are common.
"""

from __future__ import annotations

import hashlib
from typing import Final

from hypothesis import strategies as st

from schemas.control import (
    Conduct,
    ConductedContest,
    Contest,
    ContestMethod,
    ContestRoll,
    ContestsChanged,
    ContestState,
    Control,
    ElectionContest,
    EpochOpened,
    RankedContest,
    RankedRules,
    RollChanged,
    changes_of,
)
from schemas.votes import Flag, Kind, Malformed, Rule, RuledVoteBatch, Vote, VoteBatch
from streams.core.contests import kind_of
from streams.core.keys import voter_key

LOG_ID: Final = bytes(range(16))

LAWS: Final = ("L2025-001", "L2025-002")
ELECTIONS: Final = ("election:1", "election:")


def law_hash(number: int) -> str:
    """A voter's hash as deployed clients make it."""
    return hashlib.sha256(f"nas{number}|CODE|L2025-001".encode()).hexdigest()


HASHES: Final = (*(law_hash(n) for n in range(5)), "short", "nas1CODE")


def identity(name: object) -> bytes:
    """A message's identity, 16 bytes."""
    return hashlib.blake2b(str(name).encode(), digest_size=16).digest()


def make_vote(
    voter: str | int = 1,
    *,
    contest: str = LAWS[0],
    kind: Kind = Kind.LAW,
    choice: str = "oui",
    flags: int = Flag.ON_ROLL,
    message: object = None,
    timestamp_us: int = 1_760_000_000_000_000,
    citizen_id: str | None = None,
    metadata: str | None = None,
) -> Vote:
    """A vote, valid unless told otherwise; `message` names its delivery's identity."""
    name = f"{voter}/{contest}/{choice}" if message is None else message
    return Vote(
        hash=law_hash(voter) if isinstance(voter, int) else voter,
        contest=contest,
        kind=int(kind),
        choice=choice,
        flags=int(flags),
        identity=identity(name),
        timestamp_us=timestamp_us,
        citizen_id=citizen_id,
        metadata=metadata,
    )


def make_malformed(
    message: object = "bad", *, reason: str = "not_json", flags: int = 0, body: bytes = b"{"
) -> Malformed:
    """A malformed message."""
    return Malformed(
        reason, int(flags), identity(message), len(body), hashlib.sha256(body).digest(), body[:4096]
    )


def make_batch(
    *votes: Vote, malformed: tuple[Malformed, ...] = (), ingest_ms: int = 1_760_000_000_123
) -> VoteBatch:
    """A record of the input log."""
    return VoteBatch(ingest_ms, "bridge-1", list(votes), list(malformed))


def under(batch: VoteBatch, rules: int = Rule.CONTESTS, *, epoch: int = 0) -> RuledVoteBatch:
    """The same record, under rules."""
    return RuledVoteBatch(
        batch.ingest_ms, batch.bridge, batch.votes, batch.malformed, epoch, int(rules)
    )


def make_contest(
    name: str = LAWS[0],
    state: str = ContestState.OPEN,
    *,
    choices: list[str] | None = None,
    roll: str = ContestRoll.DEFAULT,
    opens_ms: int | None = None,
    closes_ms: int | None = None,
    ranked: bool = False,
    regions: list[str] | None = None,
    rules: RankedRules | None = None,
    conduct: Conduct | None = None,
) -> Contest:
    """A contest, open unless told otherwise."""
    kind = kind_of(name)
    fields = (name, kind, name, state, choices, roll, opens_ms, closes_ms)
    if conduct is not None:
        method = ContestMethod.RANKED if ranked else ContestMethod.SINGLE
        return ConductedContest(*fields, method, regions, rules, conduct)
    if not ranked and regions is None:
        return Contest(*fields)
    method = ContestMethod.RANKED if ranked else ContestMethod.SINGLE
    if rules is not None:
        return RankedContest(*fields, method, regions, rules)
    return ElectionContest(*fields, method, regions)


def contests_changed(number: int, *contests: Contest, enforced: bool = True) -> ContestsChanged:
    """A command about contests."""
    return changes_of(
        number, identity(number), 1_760_000_000_000, enforced=enforced, contests=list(contests)
    )


def roll_changed(
    number: int,
    *,
    added: tuple[bytes, ...] = (),
    withdrawn: tuple[bytes, ...] = (),
    sequence: int = 0,
) -> RollChanged:
    """A command about the roll."""
    return RollChanged(
        number=number,
        command_id=identity(number),
        sequence=sequence,
        last=True,
        issued_ms=1_760_000_000_000,
        added=b"".join(added),
        withdrawn=b"".join(withdrawn),
    )


def epoch_opened(number: int, epoch: int) -> EpochOpened:
    """A reset."""
    return EpochOpened(number, identity(number), 1_760_000_000_000, epoch)


flags = st.builds(
    lambda bits, on_roll: int(bits | (Flag.ON_ROLL if on_roll else 0)),
    st.sampled_from(
        [
            Flag(0),
            Flag.REDELIVERED,
            Flag.REPRODUCED,
            Flag.MESSAGE_ID,
            Flag.REDELIVERED | Flag.MESSAGE_ID,
        ]
    ),
    # Mostly on the roll: what is not leaves no trace in the table.
    st.sampled_from([True, True, True, False]),
)

law_votes = st.builds(
    lambda voter, contest, choice, bits, message: make_vote(
        voter, contest=contest, choice=choice, flags=bits, message=message
    ),
    st.sampled_from(HASHES),
    st.sampled_from(LAWS),
    st.sampled_from(["oui", "non", "oui", "non", "peut-être"]),
    flags,
    st.integers(0, 12),
)

candidate_votes = st.builds(
    lambda voter, contest, choice, bits, message: make_vote(
        voter,
        contest=contest,
        kind=Kind.CANDIDATE,
        choice=choice,
        flags=bits,
        message=message,
    ),
    st.sampled_from(HASHES),
    st.sampled_from(ELECTIONS),
    st.sampled_from(["7", "42", "independent", "7>42", "42>7", "7>7"]),
    flags,
    st.integers(0, 12),
)

votes = st.one_of(law_votes, candidate_votes)

malformed = st.builds(
    lambda message, reason, bits: make_malformed(message, reason=reason, flags=bits),
    st.integers(0, 3),
    st.sampled_from(["not_json", "too_large", "missing_field"]),
    flags,
)

batches = st.builds(
    lambda vs, ms, ingest_ms: VoteBatch(ingest_ms, "bridge-1", vs, ms),
    st.lists(votes, max_size=8),
    st.lists(malformed, max_size=2),
    st.integers(1_760_000_000_000, 1_760_000_005_000),
)

logs = st.lists(batches, min_size=1, max_size=8)

contests = st.one_of(
    st.builds(
        make_contest,
        st.sampled_from((*LAWS, *ELECTIONS)),
        st.sampled_from(list(ContestState)),
        choices=st.sampled_from([None, ["oui", "non"], ["7", "42"]]),
        roll=st.sampled_from(list(ContestRoll)),
    ),
    st.builds(
        make_contest,
        st.sampled_from(ELECTIONS),
        choices=st.just(["7", "42"]),
        ranked=st.booleans(),
        regions=st.sampled_from([None, ["5", "5"], ["5", "6"]]),
    ),
)

_keys = st.lists(
    st.sampled_from(
        [
            *(voter_key(voter, LAWS[0], Kind.LAW) for voter in HASHES),
            *(voter_key(voter, ELECTIONS[0], Kind.CANDIDATE) for voter in HASHES),
        ]
    ),
    max_size=4,
).map(tuple)

controls: st.SearchStrategy[Control] = st.one_of(
    st.builds(
        lambda number, changed: contests_changed(number, *changed),
        st.integers(1, 30),
        st.lists(contests, min_size=1, max_size=3, unique_by=lambda contest: contest.id),
    ),
    st.builds(
        roll_changed,
        st.integers(1, 30),
        added=_keys,
        withdrawn=_keys,
        sequence=st.integers(0, 2),
    ),
    st.builds(epoch_opened, st.integers(1, 30), st.integers(1, 3)),
)

ruled_batches = st.builds(
    lambda batch, rules, epoch: under(batch, rules, epoch=epoch),
    batches,
    st.integers(0, 3),
    st.integers(0, 2),
)

ruled_logs = st.lists(st.one_of(batches, ruled_batches, controls), min_size=1, max_size=12)
"""Votes under rules and not, and the control records that make the rules."""
