"""A changelog of the voted table with resets, rules and later attempts."""

from __future__ import annotations

import random

from schemas.codec import ChangelogRecord
from schemas.voted import ControlRecord
from schemas.votes import Flag
from streams.core.decide import VoterEntry, decide
from streams.core.voted_partition import VotedPartition
from tests.strategies import (
    LOG_ID,
    contests_changed,
    epoch_opened,
    make_batch,
    make_contest,
    make_vote,
)


def changelog(
    count: int, *, seed: int = 1
) -> tuple[list[ChangelogRecord], dict[bytes, VoterEntry]]:
    """Records of few voters who vote often, with a reset; and what is known after them."""
    rng = random.Random(seed)
    table = VotedPartition(0)
    records: list[ChangelogRecord] = []
    for offset in range(count):
        record: ChangelogRecord
        if offset == count // 3:
            record = ControlRecord(LOG_ID, epoch_opened(1, 1))
        elif offset == count // 2:
            record = ControlRecord(LOG_ID, contests_changed(2, make_contest()))
        else:
            votes = [
                make_vote(rng.randrange(count), message=rng.random(), flags=Flag.ON_ROLL)
                for _ in range(rng.randrange(6))
            ]
            record = decide(make_batch(*votes), offset, LOG_ID, table.get)
        table.apply(offset, record)
        records.append(record)
    return records, content(table)


def content(table: VotedPartition) -> dict[bytes, VoterEntry]:
    found = {key: table.get(key) for key in table}
    assert len(found) == len(table)
    return {key: entry for key, entry in found.items() if entry is not None}
