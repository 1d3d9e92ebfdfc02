"""One digit changed in any field of a record is found, and its step named."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
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
    BALLOTS,
    COEFFICIENTS,
    CONSTANTS,
    CONTEXT,
    ENCRYPTED,
    GUARDIAN_FOLDER,
    GUARDIANS,
    MANIFEST,
    RESULT,
    SPOILED_FOLDER,
    TALLIES,
    TALLY,
    NotARecord,
)
from streams.tally.refusals import Refused
from streams.tally.steps import StepOutcome, Steps
from tests.digits import Field, fields
from tests.small_election import make_election
from tests.small_record import write_record

STEPS_OF = {
    MANIFEST: {1, 11},
    CONSTANTS: {1},
    CONTEXT: {1, 3},
    COEFFICIENTS: {10},
    GUARDIANS: {2, 8},
    GUARDIAN_FOLDER: {2, 10},
    BALLOTS: {4, 5, 6, 7},
    BALLOT_FOLDER: {4, 5, 6, 7},
    ENCRYPTED: {7, 11},
    TALLY: {8, 9, 11},
    SPOILED_FOLDER: {12, 13, 15, 16},
    TALLIES: {1, 7, 8, 9, 11, 12, 13, 15, 16},
    RESULT: {1, 11},
}
"""The steps that find a change in a document."""

UNPROVED = {
    # No hash of the specification or of the reference covers these.
    (MANIFEST, "spec_version"),
    (MANIFEST, "candidates.*.name.text.*.language"),
    # Settings of the reference for encryption.
    (CONTEXT, "configuration.allow_overvotes"),
    (CONTEXT, "configuration.max_votes"),
    # What the record calls itself.
    (RESULT, "election"),
}
UNPROVED_NAMES = {
    (MANIFEST, "candidates.*.object_id"),
    (MANIFEST, "candidates.*.name.text.*.value"),
}
"""The published layout has no result, which names the candidates in Scrutin's."""


def unproved(layout: str, document: str, field: Field) -> bool:
    """Whether a field carries no proof; `usage` is a comment beside every proof."""
    place = (document, field.name)
    named = layout == "own" or place not in UNPROVED_NAMES
    return place in UNPROVED or not named or field.path[-1] == "usage"


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cast ballot and a spoiled one, decrypted while the second guardian was absent."""
    manifest = plain_manifest("e", {"mayor": ["ann"]}, moment=datetime(2026, 1, 1, tzinfo=UTC))
    held = make_election(manifest, random.Random(1), guardians=2, quorum=1, cast=1, spoiled=1)
    directory = tmp_path_factory.mktemp("record")
    write_record(held, directory / "own", present=1)
    write_published(directory / "own", directory / "published")
    return directory


def documents(directory: Path) -> Iterator[tuple[str, Path, int, Any]]:
    """Each document with its name or folder, its file and its line."""
    for path in sorted(directory.rglob("*.json*")):
        name = path.relative_to(directory).parts[0]
        lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
        for number, line in enumerate(lines):
            yield name, path, number, json.loads(line)


async def refusal(directory: Path, helpers: Helpers, steps: Steps) -> Refused | None:
    """Why a record does not verify."""
    try:
        await verify(directory, helpers, steps=steps)
    except Refused as refused:
        return refused
    return None


@pytest.mark.parametrize("layout", ["own", "published"])
async def test_one_digit_changed_in_any_field_is_found_at_its_step(
    record: Path, layout: str
) -> None:
    directory = record / layout
    done: set[tuple[str, str, str]] = set()
    wrong: list[tuple[object, ...]] = []
    async with Helpers(1) as helpers:
        whole = await verify(directory, helpers)
        assert (whole.cast, whole.spoiled, whole.tallies) == (1, 1, 2)
        for name, path, number, document in list(documents(directory)):
            text = path.read_text()
            for field in fields(document):
                # Of the documents of one kind, once.
                place = (name, document.get("kind", "") if name == TALLIES else "", field.name)
                if place in done:
                    continue
                done.add(place)
                lines = text.splitlines() if path.suffix == ".jsonl" else [text]
                lines[number] = json.dumps(field.changed(document))
                path.write_text("\n".join(lines) + "\n")
                steps = Steps()
                refused = await refusal(directory, helpers, steps)
                failed = {e.step for e in steps.results() if e.outcome == StepOutcome.FAIL}
                found = len(failed) == 1 and failed <= STEPS_OF[name]
                right = refused is None if unproved(layout, name, field) else found
                if not right or isinstance(refused, NotARecord):
                    wrong.append((*place, failed, refused))
            path.write_text(text)
        assert await verify(directory, helpers) == whole
    assert wrong == []
    assert len(done) > 120
