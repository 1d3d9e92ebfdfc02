"""A record that electionguard 1.4.0 publishes verifies as it is, and no change to it does."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from streams.tally.crypto.manifest import plain_manifest
from streams.tally.helpers import Helpers
from streams.tally.published_layout import write_published
from streams.tally.record import verify
from streams.tally.record_files import (
    BALLOT_FOLDER,
    COEFFICIENTS,
    CONSTANTS,
    CONTEXT,
    ENCRYPTED,
    GUARDIAN_FOLDER,
    MANIFEST,
    SPOILED_FOLDER,
    TALLY,
    NotARecord,
)
from streams.tally.refusals import RefusalCheck, Refused
from tests.oracle.program import Reference
from tests.small_election import make_election
from tests.small_record import write_record

pytestmark = pytest.mark.timeout(240, func_only=True)


@pytest.fixture(scope="module")
def published(
    reference: Reference, rng: random.Random, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, int]]:
    """The record of an election with an absent guardian, and its votes before encryption."""
    directory = tmp_path_factory.mktemp("published") / "election_record"
    held = reference(
        "election",
        seed=rng.random(),
        guardians=3,
        quorum=2,
        absent=1,
        cast=3,
        spoiled=1,
        record=str(directory),
    )
    return directory, held["counts"]


async def test_a_published_record_verifies_as_it_is(published: tuple[Path, dict[str, int]]) -> None:
    directory, counts = published
    assert directory.name == "election_record"
    async with Helpers(1) as helpers:
        found = await verify(directory, helpers)
        assert await verify(directory.parent, helpers) == found
    assert (found.cast, found.spoiled, found.tallies) == (3, 1, 2)
    assert (found.guardians, found.quorum) == (3, 2)
    assert found.counts == counts
    assert found.notes == ["encryption_devices is not checked"]


async def test_the_reference_reads_our_record_with_its_own_loader(
    reference: Reference, tmp_path: Path
) -> None:
    manifest = plain_manifest(
        "e",
        {"mayor": ["ann", "bob"], "board": ["cem", "dan", "eve"]},
        number_elected=2,
        moment=datetime(2026, 1, 1, tzinfo=UTC),
    )
    held = make_election(manifest, random.Random(1), guardians=3, quorum=2, cast=3, spoiled=1)
    write_record(held, tmp_path / "ours", present=2)
    write_published(tmp_path / "ours", tmp_path / "theirs")
    found = reference("record", record=str(tmp_path / "theirs"))
    counts, spoiled = found.pop("counts"), found.pop("spoiled")
    assert counts == held.counts
    assert spoiled == held.spoiled_counts
    assert set(found.values()) == {True}, found
    # Ours reads it too, with ballots in the same order.
    async with Helpers(1) as helpers:
        again, first = [await verify(tmp_path / each, helpers) for each in ("theirs", "ours")]
    assert replace(again, notes=[]) == replace(first, notes=[])
    assert again.notes == ["encryption_devices is not checked"]

    # And notices what it should.
    document = next((tmp_path / "theirs" / BALLOT_FOLDER).iterdir())
    ballot = json.loads(document.read_text())
    proof = ballot["contests"][0]["ballot_selections"][0]["proof"]
    proof["proof_one_response"], proof["proof_zero_response"] = (
        proof["proof_zero_response"],
        proof["proof_one_response"],
    )
    document.write_text(json.dumps(ballot))
    assert not reference("record", record=str(tmp_path / "theirs"))["ballots"]


def digits(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Places of numbers in a document, but for a device's notes, which no hash of 1.x holds."""
    if isinstance(value, dict | list):
        for name, each in value.items() if isinstance(value, dict) else enumerate(value):
            if name != "extended_data":
                yield from digits(each, (*path, name))
    elif isinstance(value, str) and len(value) > 8 and not set(value) - set("0123456789ABCDEF"):
        yield path


async def test_one_digit_changed_in_any_document_is_noticed(
    published: tuple[Path, dict[str, int]], rng: random.Random, tmp_path: Path
) -> None:
    directory, _ = published
    names = (CONSTANTS, CONTEXT, COEFFICIENTS, ENCRYPTED, TALLY)
    documents = [directory / name for name in names]
    for folder in (GUARDIAN_FOLDER, BALLOT_FOLDER, SPOILED_FOLDER):
        documents.append(rng.choice(sorted((directory / folder).iterdir())))
    async with Helpers(1) as helpers:
        for path in documents:
            copy = tmp_path / "copy"
            shutil.copytree(directory, copy)
            document = json.loads(path.read_text())
            *steps, last = rng.choice(list(digits(document)))
            place = document
            for step in steps:
                place = place[step]
            # Neither the first digit, so that constants keep their size, nor the same digit.
            at = rng.randrange(1, len(place[last]))
            other = rng.choice([c for c in "0123456789ABCDEF" if c != place[last][at]])
            place[last] = place[last][:at] + other + place[last][at + 1 :]
            (copy / path.relative_to(directory)).write_text(json.dumps(document))
            with pytest.raises(Refused) as caught:
                await verify(copy, helpers)
            assert not isinstance(caught.value, NotARecord), (path.name, steps, last)
            shutil.rmtree(copy)


async def test_what_is_no_record_of_a_supported_version_is_named(
    published: tuple[Path, dict[str, int]], tmp_path: Path
) -> None:
    directory, _ = published

    def decimal(document: Any) -> None:
        document["elgamal_public_key"] = str(int(document["elgamal_public_key"], 16))

    def small(document: Any) -> None:
        document["large_prime"] = "FFFFFFFFFFB43EA5"

    def newer(document: Any) -> None:
        document["large_prime"] = "F" * 64 + "B17217F7D1CF79ABC9E3B398" + "F" * 936

    def ranges(document: Any) -> None:
        document["contests"][0]["proof"] = {"challenge": "01", "proofs": [], "range_limit": 1}

    ballot = next((directory / BALLOT_FOLDER).iterdir()).relative_to(directory)
    async with Helpers(1) as helpers:
        for name, edit, words in (
            (CONTEXT, decimal, "0.95"),
            (CONSTANTS, small, "64 bits"),
            (CONSTANTS, newer, "1.9 and 2"),
            (ballot, ranges, "1.5"),
            (MANIFEST, None, "lacks manifest.json"),
            (TALLY, None, "lacks tally.json"),
        ):
            copy = tmp_path / "copy"
            shutil.copytree(directory, copy)
            if edit is None:
                (copy / name).unlink()
            else:
                for path in (copy / name).parent.iterdir() if name == ballot else [copy / name]:
                    document = json.loads(path.read_text())
                    edit(document)
                    path.write_text(json.dumps(document))
            with pytest.raises(NotARecord, match=words) as caught:
                await verify(copy, helpers)
            assert "1.0, 1.1 and 2 " in str(caught.value)
            shutil.rmtree(copy)
        for path in (tmp_path / "nowhere", tmp_path):
            with pytest.raises(NotARecord):
                await verify(path, helpers)


async def test_a_published_spoiled_ballot_and_total_are_those_of_the_ballots(
    published: tuple[Path, dict[str, int]], tmp_path: Path
) -> None:
    """A decryption left out, one twice, and a cast ballot left out."""
    directory, _ = published
    (spoiled,) = (directory / SPOILED_FOLDER).iterdir()
    name = json.loads(spoiled.read_text())["object_id"]
    cast = next(p for p in sorted((directory / BALLOT_FOLDER).iterdir()) if name not in p.name)
    async with Helpers(1) as helpers:
        for change in (
            lambda copy: (copy / SPOILED_FOLDER / spoiled.name).unlink(),
            lambda copy: shutil.copy(
                copy / SPOILED_FOLDER / spoiled.name, copy / SPOILED_FOLDER / "again.json"
            ),
            lambda copy: (copy / BALLOT_FOLDER / cast.name).unlink(),
        ):
            copy = tmp_path / "copy"
            shutil.copytree(directory, copy)
            change(copy)
            with pytest.raises(Refused) as caught:
                await verify(copy, helpers)
            assert caught.value.check == RefusalCheck.TALLY
            shutil.rmtree(copy)
