"""Roll entries on their way into the log."""

from __future__ import annotations

import pytest

from schemas.codec import decode_input
from schemas.control import KEY_BYTES, MAX_WEIGHT, RollChanged, WeighedRollChanged
from schemas.votes import Kind
from streams.control.roll_loader import RECORD_KEYS, RollCommand, pack, weights_by_key
from streams.core.keys import partition_of, voter_key
from streams.core.records import OutRecord
from streams.core.rules import RECENT_ROLL_COMMANDS, Rules
from streams.core.topics import MAX_RECORD_BYTES
from tests.strategies import law_hash, roll_changed


class Writer:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.records: list[OutRecord] = []

    async def write(self, records: list[OutRecord]) -> None:
        self.records += records

    def changes(self) -> list[RollChanged]:
        found = [decode_input(record.value or b"") for record in self.records]
        assert all(isinstance(record, RollChanged) for record in found)
        return found  # type: ignore[return-value]


def test_a_key_lies_where_its_voters_vote_will() -> None:
    hashes = [law_hash(1).upper(), law_hash(2), "nas1CODE"]
    packed = pack(hashes, [], 5)
    for entry in hashes:
        key = voter_key(entry.lower() if len(entry) == 64 else entry, "L", Kind.LAW)
        assert key in packed[partition_of(key, 5)]
    assert sum(map(len, packed.values())) == 3 * KEY_BYTES


def test_every_election_has_keys_of_its_own() -> None:
    packed = pack(["nas1CODE"], ["election:1", "election:2"], 1)
    expected = [voter_key("nas1CODE", f"election:{n}", Kind.CANDIDATE) for n in (1, 2)]
    assert bytes(packed[0]) == b"".join(expected)


async def test_long_rolls_come_in_records_that_kafka_takes() -> None:
    writer = Writer()
    command = RollCommand(writer)
    await command.add({0: bytes(KEY_BYTES) * (RECORD_KEYS + 1), 3: bytes(KEY_BYTES)})
    await command.withdraw({0: bytes(KEY_BYTES)})
    await command.end([0, 3])
    assert all(len(record.value or b"") < MAX_RECORD_BYTES for record in writer.records)
    places = [
        (record.partition, change.sequence, change.last)
        for record, change in zip(writer.records, writer.changes(), strict=True)
    ]
    assert places == [
        (0, 0, False),
        (0, 1, False),
        (3, 0, False),
        (0, 2, False),
        (0, 3, True),
        (3, 1, True),
    ]
    assert {change.command_id for change in writer.changes()} == {command.command_id}


def test_a_record_that_comes_again_does_not_undo_what_came_between() -> None:
    rules, key = Rules(), bytes(KEY_BYTES)
    added = roll_changed(1, added=(key,))
    rules.apply(added)
    rules.apply(roll_changed(2, withdrawn=(key,)))
    rules.apply(added)
    assert key not in rules.roll
    rules.apply(roll_changed(3, added=(key,)))
    assert key in rules.roll


@pytest.mark.parametrize("between", [1, RECENT_ROLL_COMMANDS - 1])
def test_commands_are_remembered_for_a_while(between: int) -> None:
    rules, key = Rules(), bytes(KEY_BYTES)
    first = roll_changed(1, added=(key,))
    rules.apply(first)
    for number in range(between):
        rules.apply(roll_changed(2 + number, withdrawn=(key,)))
    rules.apply(first)
    assert key not in rules.roll


async def test_weights_travel_with_their_keys_in_records_that_kafka_takes() -> None:
    hashes = [law_hash(n) for n in range(RECORD_KEYS + 2)]
    heavy = dict.fromkeys(hashes[1:], MAX_WEIGHT)
    writer = Writer()
    command = RollCommand(writer, weights_by_key(heavy, ["election:1"]))
    await command.add(pack(hashes, ["election:1"], 1))
    assert all(len(record.value or b"") < MAX_RECORD_BYTES for record in writer.records)
    rules = Rules()
    for change in writer.changes():
        assert isinstance(change, WeighedRollChanged)
        rules.apply(change)
    light = voter_key(law_hash(0), "election:1", Kind.CANDIDATE)
    assert (len(rules.roll), len(rules.weights)) == (len(hashes), len(heavy))
    assert (light in rules.roll, light in rules.weights) == (True, False)


async def test_a_roll_without_weights_is_of_the_first_version() -> None:
    writer = Writer()
    await RollCommand(writer, weights_by_key({law_hash(9): 2}, [])).add(pack([law_hash(1)], [], 1))
    assert [type(change) for change in writer.changes()] == [RollChanged]
