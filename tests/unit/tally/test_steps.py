"""A record's verification names the step that fails, by the specification's numbers."""

from __future__ import annotations

import json
import random
import shutil
import zipfile
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from streams.tally.crypto.manifest import plain_manifest
from streams.tally.helpers import Helpers
from streams.tally.record import verify
from streams.tally.record_files import BALLOTS, CONSTANTS, CONTEXT, GUARDIANS, TALLIES, NotARecord
from streams.tally.refusals import Refused
from streams.tally.steps import NAMES, StepOutcome, Steps
from streams.tally.zipped import unpacked
from tests.small_election import make_election
from tests.small_record import write_record


def write(folder: Path, *, guardians: int, present: int, spoiled: int) -> Path:
    manifest = plain_manifest(
        "e", {"mayor": ["ann", "bob"]}, moment=datetime(2026, 1, 1, tzinfo=UTC)
    )
    held = make_election(
        manifest, random.Random(3), guardians=guardians, quorum=present, cast=2, spoiled=spoiled
    )
    write_record(held, folder, present=present)
    return folder


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cast ballots and a spoiled one; one of three guardians was absent."""
    return write(tmp_path_factory.mktemp("record"), guardians=3, present=2, spoiled=1)


async def outcomes(record: Path) -> dict[StepOutcome, list[int]]:
    steps = Steps()
    async with Helpers(1) as helpers:
        with suppress(Refused):
            await verify(record, helpers, steps=steps)
    found: dict[StepOutcome, list[int]] = {outcome: [] for outcome in StepOutcome}
    for each in steps.results():
        found[each.outcome].append(each.step)
    return found


async def test_all_steps_pass_or_do_not_apply(record: Path, tmp_path: Path) -> None:
    assert await outcomes(record) == {
        StepOutcome.PASS: list(range(1, 17)),
        StepOutcome.FAIL: [],
        StepOutcome.NOT_APPLICABLE: [17, 18, 19],
        StepOutcome.NOT_REACHED: [],
    }
    simple = write(tmp_path, guardians=1, present=1, spoiled=0)
    found = await outcomes(simple)
    assert found[StepOutcome.PASS] == [1, 2, 3, 4, 5, 6, 7, 8, 11]
    assert found[StepOutcome.NOT_APPLICABLE] == [9, 10, *range(12, 20)]


def other(number: str) -> str:
    return number[:-1] + ("0" if number[-1] != "0" else "1")


def shares(tally: Any, *, own: bool) -> Any:
    """The first share of a tally that its guardian made, or that others made for it."""
    (contest,) = tally["plain"]["contests"].values()
    selection = next(iter(contest["selections"].values()))
    return next(each for each in selection["shares"] if (each["recovered_parts"] is None) == own)


def change_own(tally: Any) -> None:
    proof = shares(tally, own=True)["proof"]
    proof["response"] = other(proof["response"])


def change_part(tally: Any) -> None:
    proof = next(iter(shares(tally, own=False)["recovered_parts"].values()))["proof"]
    proof["response"] = other(proof["response"])


def change_replaced(tally: Any) -> None:
    share = shares(tally, own=False)
    share["share"] = other(share["share"])


def change_count(tally: Any) -> None:
    (contest,) = tally["plain"]["contests"].values()
    selection = next(iter(contest["selections"].values()))
    selection["tally"] = 1 - min(selection["tally"], 1)


def change(*path: Any) -> Callable[[Any], None]:
    def apply(document: Any) -> None:
        place = document
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = other(place[path[-1]])

    return apply


SELECTION = ("contests", 0, "ballot_selections", 0)


Edit = Callable[[Any], None] | None


@pytest.mark.parametrize(
    "case",
    [
        (1, CONSTANTS, 0, change("generator")),
        (1, CONTEXT, 0, change("crypto_base_hash")),
        (2, GUARDIANS, 0, change(0, "coefficient_proofs", 1, "response")),
        (4, BALLOTS, 1, change(*SELECTION, "proof", "proof_zero_response")),
        (4, BALLOTS, 1, change(*SELECTION, "proof", "challenge")),
        (4, BALLOTS, 1, change("crypto_hash")),
        (5, BALLOTS, 1, change("contests", 0, "proof", "response")),
        (5, BALLOTS, 1, change("contests", 0, "proof", "challenge")),
        (5, BALLOTS, 1, change("contests", 0, "ciphertext_accumulation", "pad")),
        (6, BALLOTS, 1, change("code")),
        (7, TALLIES, 0, None),
        (8, TALLIES, 0, change_own),
        (9, TALLIES, 0, change_part),
        (10, TALLIES, 0, change_replaced),
        (11, TALLIES, 0, change_count),
        (12, TALLIES, 1, change_own),
        (13, TALLIES, 1, change_part),
        (14, TALLIES, 1, change_replaced),
        (15, TALLIES, 1, change_count),
    ],
)
async def test_what_was_changed_tells_the_step(
    record: Path, tmp_path: Path, case: tuple[int, str, int, Edit]
) -> None:
    step, file, line, edit = case
    copy = tmp_path / "copy"
    shutil.copytree(record, copy)
    lines = (copy / file).read_text().splitlines()
    if edit is None:
        del lines[line]
    else:
        document = json.loads(lines[line])
        edit(document)
        lines[line] = json.dumps(document)
    (copy / file).write_text("\n".join(lines) + "\n")
    found = await outcomes(copy)
    assert found[StepOutcome.FAIL] == [step]
    assert not [passed for passed in found[StepOutcome.PASS] if passed > step]
    assert sorted(each for steps in found.values() for each in steps) == list(NAMES)


async def test_a_zipped_record_is_read_and_another_file_is_not(
    record: Path, tmp_path: Path
) -> None:
    zipped = Path(shutil.make_archive(str(tmp_path / "zipped"), "zip", record.parent, record.name))
    with unpacked(zipped) as folder:
        assert (await outcomes(folder))[StepOutcome.FAIL] == []
    assert not folder.exists()
    with unpacked(record) as same:
        assert same == record
    large, plain, outside = (tmp_path / name for name in ("large.zip", "plain", "outside.zip"))
    plain.write_text("{}")
    with zipfile.ZipFile(large, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", "0" * 10_000_000)
    for file in (large, plain):
        with pytest.raises(NotARecord), unpacked(file):
            pass
    with zipfile.ZipFile(outside, "w") as archive:
        archive.writestr("../../out.json", "{}")
    with unpacked(outside) as folder:
        assert [path.relative_to(folder).name for path in folder.rglob("*")] == ["out.json"]
