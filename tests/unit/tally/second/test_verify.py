"""Records of ElectionGuard 2: a right one verifies, and one changed digit in any field is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from streams.cli import attach
from streams.tally.record_files import NotARecord
from streams.tally.refusals import Refused
from streams.tally.second.files import open_second
from streams.tally.second.verify import NAMES, SecondVerified, verify_second
from streams.tally.steps import StepOutcome, Steps
from tests.digits import fields
from tests.second_record import DEVICE, SecondElectionMaker


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("second")
    SecondElectionMaker(folder).write([(1, 1, 0)], [(0, 0, 1)])
    return folder


@pytest.fixture
def copy(record: Path, tmp_path: Path) -> Path:
    return shutil.copytree(record, tmp_path / "copy")


def verify(folder: Path, steps: Steps | None = None) -> SecondVerified:
    files = open_second(folder)
    assert files is not None
    return verify_second(files, steps or Steps(NAMES))


def test_a_right_record_verifies_by_numbered_steps(record: Path) -> None:
    steps = Steps(NAMES)
    found = verify(record, steps)
    assert (found.guardians, found.quorum, found.cast, found.spoiled) == (2, 2, 1, 1)
    assert found.counts == {"board/ann": 1, "board/bob": 1, "board/cem": 0}
    outcomes = {each.step: each.outcome for each in steps.results()}
    assert [step for step, outcome in outcomes.items() if outcome != StepOutcome.PASS] == [
        *(11, 15, 16, 17, 18)
    ]


def test_the_command_reads_it(record: Path, copy: Path) -> None:
    app = typer.Typer()
    attach(app, "tally")
    done = CliRunner().invoke(app, ["tally", "verify", str(record), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["counts"]["board/bob"] == 1
    assert found["steps"][11] == {
        "step": 12,
        "name": "Decryptions of challenged ballots",
        "outcome": "pass",
        "note": "",
    }
    (copy / "challenged_ballots" / "dballot-id-1.json").unlink()
    done = CliRunner().invoke(app, ["tally", "verify", str(copy)])
    assert done.exit_code == 3
    assert "not every challenged ballot is decrypted" in done.stdout


BALLOT = f"encrypted_ballots/{DEVICE}/eballot-id-0.json"
CHAIN = f"encrypted_ballots/{DEVICE}/ballot_chain.json"
CHALLENGED = "challenged_ballots/dballot-id-1.json"
STEP_OF: dict[tuple[str, str], set[int]] = {
    ("election_config.json", ""): {1, 2, 7},
    ("election_initialized.json", "public_key"): {2},
    ("election_initialized.json", "challenge"): {2},
    ("election_initialized.json", "response"): {2},
    ("election_initialized.json", "joint_public_key"): {3},
    ("election_initialized.json", "extended_base_hash"): {4},
    ("election_initialized.json", "x_coordinate"): {2},
    (BALLOT, ""): {5, 6, 7},
    (CHAIN, ""): {7},
    ("encrypted_tally.json", ""): {8},
    ("tally.json", ""): {9, 10},
    (CHALLENGED, ""): {12, 13, 14},
}
FREE: set[tuple[str, str]] = {
    # A name only: nothing of the proofs is about it.
    ("election_initialized.json", "guardian_id"),
    ("encrypted_tally.json", "election_id"),
    ("tally.json", "id"),
    # On a cast ballot nothing decrypts these notes, and no hash of the published records has them.
    *((BALLOT, name) for name in ("c0", "c1", "c2")),
}


@pytest.mark.parametrize(
    "name",
    [
        *("election_config.json", "election_initialized.json", "encrypted_tally.json"),
        *("tally.json", CHALLENGED, BALLOT, CHAIN),
    ],
)
def test_one_digit_changed_in_any_field_is_found_at_its_step(name: str, copy: Path) -> None:
    whole = (copy / name).read_text()
    document = json.loads(whole)
    for each in fields(document):
        field = each.label
        (copy / name).write_text(json.dumps(each.changed(document)))
        steps = Steps(NAMES)
        if (name, field) in FREE:
            verify(copy, steps)
            continue
        try:
            verify(copy, steps)
        except Refused as refused:
            if "file" in refused.where:
                # It cannot be read any more.
                continue
        else:
            pytest.fail(f"{field} changed and not noticed")
        failed = {each.step for each in steps.results() if each.outcome == StepOutcome.FAIL}
        expected = STEP_OF.get((name, field)) or STEP_OF[name, ""]
        assert failed <= expected, field
        assert len(failed) == 1, field


def test_what_is_not_read_is_named(copy: Path) -> None:
    constants = json.loads((copy / "constants.json").read_text())
    for change, words in (
        ({"type": "EllipticCurve"}, "EllipticCurve"),
        ({"protocolVersion": "v3"}, "v3"),
        ({"type": None}, "before ElectionGuard 2"),
    ):
        (copy / "constants.json").write_text(json.dumps(constants | change))
        with pytest.raises(NotARecord, match=words):
            open_second(copy)
    (copy / "constants.json").write_text(json.dumps(constants))
    ballot = json.loads((copy / BALLOT).read_text())
    (copy / BALLOT).write_text(json.dumps(ballot | {"is_preencrypt": True}))
    with pytest.raises(NotARecord, match="encrypted before voting"):
        verify(copy)
    (copy / "election_initialized.json").unlink()
    with pytest.raises(NotARecord, match=r"lacks election_initialized\.json"):
        open_second(copy)
