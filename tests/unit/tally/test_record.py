"""A record speaks for itself: as it is it verifies, and no change to it goes unnoticed."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from streams.tally.ballot_file import MAX_DOCUMENT_BYTES, lines_of, published_ballots
from streams.tally.crypto.ballots import encrypt_ballot
from streams.tally.crypto.documents import to_json
from streams.tally.crypto.manifest import plain_manifest
from streams.tally.helpers import Helpers
from streams.tally.published_layout import write_published
from streams.tally.record import verify
from streams.tally.record_files import (
    ABOUT,
    BALLOTS,
    CONSTANTS,
    CONTEXT,
    GUARDIANS,
    MANIFEST,
    RESULT,
    TALLIES,
    NotARecord,
)
from streams.tally.refusals import RefusalCheck, Refused
from tests.small_election import make_election
from tests.small_record import described, write_record

SEED = random.randrange(10**9)


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cast ballots and a spoiled one; the third guardian was absent."""
    print(f"seed {SEED}")
    manifest = plain_manifest(
        "e", {"mayor": ["ann", "bob"]}, moment=datetime(2026, 1, 1, tzinfo=UTC)
    )
    held = make_election(manifest, random.Random(SEED), guardians=3, quorum=2, cast=2, spoiled=1)
    directory = tmp_path_factory.mktemp("record")
    write_record(held, directory, present=2)
    return directory


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict | list):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for name, each in inner:
            yield from leaves(each, (*path, name))
    else:
        yield path


def changed(value: object, rng: random.Random) -> object:
    """Another value of the same kind, or of none at all; never the same one."""
    if rng.random() < 0.2:
        others = [None, 1, "", [], {}, "zz", -1, 2**70]
        # By their text: to Python true and 1 are equal, in a document they are not.
        return rng.choice([each for each in others if json.dumps(each) != json.dumps(value)])
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str) and value:
        place = rng.randrange(len(value))
        other = rng.choice([c for c in "0123456789ABCDEF" if c != value[place]])
        return value[:place] + other + value[place + 1 :]
    return "changed"


WITHOUT_MEANING = {"usage", "configuration", "extended_data", "is_write_in", "nonce", "language"}
"""Fields of the reference that no hash covers and that nothing here depends on."""

NAME = ("election",)
"""What a record calls itself, in its result; no proof depends on it."""


async def test_a_record_verifies_and_every_change_to_it_is_noticed(
    record: Path, tmp_path: Path
) -> None:
    rng = random.Random(SEED)
    async with Helpers(1) as helpers:
        verified = await verify(record, helpers)
        assert (verified.cast, verified.spoiled, verified.tallies) == (2, 1, 2)
        for name in (MANIFEST, CONTEXT, CONSTANTS, GUARDIANS, BALLOTS, TALLIES, RESULT) * 2:
            copy = tmp_path / "copy"
            shutil.copytree(record, copy)
            lines = (copy / name).read_text().splitlines()
            number = rng.randrange(len(lines))
            document = json.loads(lines[number])
            path = rng.choice([p for p in leaves(document) if not WITHOUT_MEANING & set(p)])
            place = document
            for step in path[:-1]:
                place = place[step]
            before, place[path[-1]] = place[path[-1]], changed(place[path[-1]], rng)
            lines[number] = json.dumps(document)
            (copy / name).write_text("\n".join(lines) + "\n")
            try:
                again = await verify(copy, helpers)
            except Refused:
                pass
            else:
                # A default that is written out, or text that no hash covers.
                if path == NAME:
                    again = replace(again, election_id=verified.election_id)
                assert again == verified, (name, path, before)
                assert name == MANIFEST or before is None or path == NAME, (name, path, before)
            shutil.rmtree(copy)


async def test_the_order_of_a_tally_s_contests_and_selections_is_the_manifest_s(
    record: Path, tmp_path: Path
) -> None:
    async with Helpers(1) as helpers:
        lines = (record / TALLIES).read_text().splitlines()
        places = [
            (number, path)
            for number, line in enumerate(lines)
            for path in leaves(json.loads(line))
            if path[-1] == "sequence_order"
        ]
        assert {number for number, _ in places} == {0, 1}
        for number, path in places:
            copy = tmp_path / "copy"
            shutil.copytree(record, copy)
            document = json.loads(lines[number])
            place = document
            for step in path[:-1]:
                place = place[step]
            place[path[-1]] += 1
            forged = [*lines[:number], json.dumps(document), *lines[number + 1 :]]
            (copy / TALLIES).write_text("\n".join(forged) + "\n")
            with pytest.raises(Refused) as caught:
                await verify(copy, helpers)
            assert caught.value.check == RefusalCheck.TALLY
            shutil.rmtree(copy)


async def test_who_decrypted_is_what_the_shares_say(record: Path, tmp_path: Path) -> None:
    async with Helpers(1) as helpers:
        for guardian, present in ((1, False), (1, 1), (2, True)):
            copy = tmp_path / "copy"
            shutil.copytree(record, copy)
            result = json.loads((copy / RESULT).read_text())
            result["verification"]["guardians"][guardian]["present"] = present
            (copy / RESULT).write_text(json.dumps(result))
            with pytest.raises(Refused) as caught:
                await verify(copy, helpers)
            assert caught.value.check == RefusalCheck.TALLY
            shutil.rmtree(copy)


async def test_a_missing_or_meaningless_file_is_refused(record: Path, tmp_path: Path) -> None:
    async with Helpers(1) as helpers:
        for name in (MANIFEST, CONTEXT, GUARDIANS, BALLOTS, TALLIES, RESULT):
            for text in (None, "", "[]", "{}", "\x00", "[" * 5000):
                copy = tmp_path / "copy"
                shutil.copytree(record, copy)
                (copy / name).unlink()
                if text is not None:
                    (copy / name).write_text(text)
                elif name == RESULT:
                    # Made by Scrutin only; the count follows without it.
                    assert (await verify(copy, helpers)).notes == ["result.json is missing"]
                    shutil.rmtree(copy)
                    continue
                with pytest.raises(Refused) as caught:
                    await verify(copy, helpers)
                assert isinstance(caught.value, NotARecord) == (text is None)
                shutil.rmtree(copy)


async def test_a_line_or_document_without_end_is_not_read_into_memory(
    record: Path, tmp_path: Path
) -> None:
    async with Helpers(1) as helpers:
        for name in (MANIFEST, CONTEXT, GUARDIANS, BALLOTS, TALLIES, RESULT):
            copy = tmp_path / "copy"
            shutil.copytree(record, copy)
            with (copy / name).open("rb+") as file:
                file.truncate(0)
                file.truncate(MAX_DOCUMENT_BYTES + 2)
            with pytest.raises(Refused, match="longer than") as caught:
                await verify(copy, helpers)
            assert caught.value.check == RefusalCheck.FORMAT
            shutil.rmtree(copy)


def test_the_published_layout_has_one_tally_and_a_folder_of_its_own(
    record: Path, tmp_path: Path
) -> None:
    """What it holds is read by the reference in tests/oracle."""
    write_published(record, tmp_path / "published")
    told = (tmp_path / "published" / ABOUT).read_text()
    assert "any 2 of the 3 guardians" in told
    assert "has not been audited" in told
    with pytest.raises(Refused, match="not empty"):
        write_published(record, tmp_path / "published")
    chunks = tmp_path / "chunks"
    shutil.copytree(record, chunks)
    lines = (record / TALLIES).read_bytes().splitlines(keepends=True)
    (chunks / TALLIES).write_bytes(b"".join([lines[0], *lines]))
    with pytest.raises(Refused, match="2 chunks"):
        write_published(chunks, tmp_path / "of-chunks")


async def test_ballots_of_two_voters_may_have_one_id(tmp_path: Path) -> None:
    """Both are in the count; their codes differ."""
    manifest = plain_manifest(
        "e", {"mayor": ["ann", "bob"]}, moment=datetime(2026, 1, 1, tzinfo=UTC)
    )
    held = make_election(manifest, random.Random(SEED), guardians=1, quorum=1, cast=1, spoiled=0)
    again = encrypt_ballot(held.election, held.ballots[0].object_id, "ballot", {})
    ballots = tmp_path / BALLOTS
    ballots.write_bytes(b"".join(to_json(b) + b"\n" for b in (held.ballots[0], again)))
    async with Helpers(1) as helpers:
        found = [
            each
            async for each in published_ballots(
                partial(lines_of, ballots), described(held), helpers
            )
        ]
    assert len({each.admitted.ballot_id for each in found}) == 1
    assert len(found) == 2


async def test_a_ballot_twice_and_one_left_out_are_refused(record: Path, tmp_path: Path) -> None:
    lines = (record / BALLOTS).read_bytes().splitlines(keepends=True)
    async with Helpers(1) as helpers:
        for ballots, check in (
            ([*lines, lines[0]], RefusalCheck.REPEATED),
            (lines[1:], RefusalCheck.TALLY),
            (lines[:-1], RefusalCheck.TALLY),
        ):
            copy = tmp_path / "copy"
            shutil.copytree(record, copy)
            (copy / BALLOTS).write_bytes(b"".join(ballots))
            with pytest.raises(Refused) as caught:
                await verify(copy, helpers)
            assert caught.value.check == check
            shutil.rmtree(copy)
