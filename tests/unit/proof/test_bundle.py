"""A bundle is checked by a stand-alone program; each kind of tampering is found and named."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest

from streams.errors import LogMismatch, ScrutinError
from streams.proof.bundle import BundleFolder, LeafWriter
from streams.proof.checkpoints import Checkpoint
from tests.small_bundle import (
    KEY,
    LAW,
    OTHER_KEY,
    RANKED,
    SECRET,
    SINGLE,
    WITNESS,
    SmallCount,
    edit_document,
    edit_lines,
)

VERIFIER: Final = Path(__file__).parents[3] / "proof" / "verify.py"


def verify(*words: str | Path, code: int = 0) -> dict[str, Any]:
    """Run the verifier with nothing but Python's standard library."""
    command = [sys.executable, "-I", "-S", str(VERIFIER), *map(str, words), "--json"]
    done = subprocess.run(command, env={}, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == code, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def kinds(found: dict[str, Any]) -> list[str]:
    return [fault["kind"] for fault in found["faults"]]


@pytest.fixture(scope="module")
def count() -> SmallCount:
    return SmallCount()


@pytest.fixture(scope="module")
def written(count: SmallCount, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return count.write(tmp_path_factory.mktemp("published") / "bundle", [LAW])


@pytest.fixture
def bundle(written: Path, tmp_path: Path) -> Path:
    """A copy to tamper with."""
    return Path(shutil.copytree(written, tmp_path / "bundle"))


def saved(path: Path, document: object) -> Path:
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def test_the_verifier_is_small_and_stands_alone() -> None:
    text = VERIFIER.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 600
    tree = ast.parse(text, feature_version=(3, 8))
    imported = {
        alias.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    } | {
        (node.module or "").partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
    }
    assert imported <= sys.stdlib_module_names


def test_a_bundle_holds(written: Path, count: SmallCount, tmp_path: Path) -> None:
    receipt = saved(tmp_path / "receipt.json", count.receipt(1, 7))
    words = ["--key", KEY.verifier.text, "--witness", WITNESS.verifier.text]
    found = verify(written, *words, "--receipt", receipt)
    assert found["ok"]
    said = "\n".join(found["checked"])
    assert f"{sum(map(len, count.leaves))} leaves in trees" in said
    assert f"{RANKED}: {sum(n for (c, _), n in count.totals.items() if c == RANKED)} votes" in said
    assert "2 seats counted again" in said
    assert "accepted in" in said or "malformed in" in said or "invalid in" in said
    assert found["not_checked"] == [
        f"{name}: that its leaves commit to these choices (withheld)" for name in (RANKED, SINGLE)
    ]


def test_a_bundle_holds_as_an_archive(written: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bundle.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in written.rglob("*"):
            archive.write(file, Path("count") / file.relative_to(written))
    assert verify(tmp_path / "bundle.zip", "--key", KEY.verifier.text)["ok"]


def test_withheld_choices_are_in_no_row(count: SmallCount, tmp_path: Path) -> None:
    folder = count.write(tmp_path / "withheld")
    rows = (folder / "leaves/0.jsonl").read_text() + (folder / "leaves/1.jsonl").read_text()
    assert "opening" not in rows
    assert "salt" not in rows
    for vote in ("oui", "21", "voter", "region"):
        assert f'"{vote}"' not in rows
    assert verify(folder)["ok"]


def test_a_receipt_is_checked_without_a_bundle(count: SmallCount, tmp_path: Path) -> None:
    receipt = saved(tmp_path / "receipt.json", count.receipt(0, 3))
    assert verify("--key", KEY.verifier.text, "--receipt", receipt)["ok"]


def change_row(rows: list[Any]) -> None:
    rows[20]["commitment"] = "0" * 64


def swap_rows(rows: list[Any]) -> None:
    first = next(n for n, (a, b) in enumerate(pairwise(rows)) if a != b)
    rows[first], rows[first + 1] = rows[first + 1], rows[first]


def swap_salts(rows: list[Any]) -> None:
    opened = [row for row in rows if "salt" in row]
    opened[0]["salt"], opened[1]["salt"] = opened[1]["salt"], opened[0]["salt"]


def another_choice(rows: list[Any]) -> None:
    row = next(row for row in rows if row.get("opening") == b"oui".hex())
    row["opening"] = b"non".hex()


def reject_row(rows: list[Any]) -> None:
    row = next(row for row in rows if row["status"] == "accepted")
    row |= {"status": "invalid", "reason": "not_on_roll"}


def more_votes(rows: list[Any]) -> None:
    rows[-1]["note"] = rows[-1]["note"].replace(" 1\n", " 9\n")


def swap_checkpoints(rows: list[Any]) -> None:
    rows[0], rows[1] = rows[1], rows[0]


ROWS: Final[dict[str, tuple[str, Callable[[list[Any]], None], str]]] = {
    "a row is changed": ("leaves/0.jsonl", change_row, "leaf_changed"),
    "a vote is made invalid": ("leaves/1.jsonl", reject_row, "leaf_changed"),
    "rows change places": ("leaves/0.jsonl", swap_rows, "leaf_changed"),
    "a row is removed": ("leaves/0.jsonl", lambda rows: rows.pop(20), "leaf_removed"),
    "a row is added": ("leaves/0.jsonl", lambda rows: rows.insert(20, rows[3]), "leaf_added"),
    "a row is added at the end": ("leaves/0.jsonl", lambda r: r.append(r[3]), "leaf_added"),
    "the leaves are cut off": (
        "leaves/1.jsonl",
        lambda r: r.__delitem__(slice(9, None)),
        "leaf_removed",
    ),
    "salts change places": ("leaves/0.jsonl", swap_salts, "opening_differs"),
    "a choice is changed": ("leaves/0.jsonl", another_choice, "opening_differs"),
    "totals are edited": ("checkpoints.jsonl", more_votes, "bad_signature"),
    "checkpoints change places": ("checkpoints.jsonl", swap_checkpoints, "checkpoint_order"),
    "a checkpoint is missing": ("checkpoints.jsonl", lambda r: r.pop(1), "checkpoint_order"),
    "the last checkpoint is missing": ("checkpoints.jsonl", lambda r: r.pop(), "leaf_added"),
}


@pytest.mark.parametrize("case", ROWS)
def test_tampering_with_rows_is_named(case: str, bundle: Path) -> None:
    name, change, kind = ROWS[case]
    edit_lines(bundle, name, change)
    found = verify(bundle, "--key", KEY.verifier.text, code=1)
    assert kinds(found)[0] == kind


def fewer_votes(value: Any) -> None:
    choice = next(iter(value[LAW]["totals"]))
    value[LAW]["totals"][choice] -= 1


def other_rounds(value: Any) -> None:
    value[RANKED]["seats"][0]["rounds"][0]["votes"]["11"] += 1


def other_winner(value: Any) -> None:
    seat = value[RANKED]["seats"][1]
    seat["ahead"] = next(name for name in seat["rounds"][0]["votes"] if name != seat["ahead"])


def no_seat(value: Any) -> None:
    value[RANKED]["seats"].pop()


def other_rules(value: Any) -> None:
    value[0]["rules"]["overvote"] = "exhaust_immediately"


DOCUMENTS: Final[dict[str, tuple[str, Callable[[Any], None], str]]] = {
    "totals": ("results.json", fewer_votes, "results_differ"),
    "rounds": ("results.json", other_rounds, "recount_differs"),
    "winner": ("results.json", other_winner, "recount_differs"),
    "seats": ("results.json", no_seat, "results_differ"),
    "rules": ("contests.json", other_rules, "recount_differs"),
    "contests": ("contests.json", lambda value: value.pop(), "contest_missing"),
    "key": ("keys.json", lambda v: v.update(log=[OTHER_KEY.verifier.text]), "unknown_signer"),
}


@pytest.mark.parametrize("case", DOCUMENTS)
def test_tampering_with_documents_is_named(case: str, bundle: Path) -> None:
    name, change, kind = DOCUMENTS[case]
    edit_document(bundle, name, change)
    assert kinds(verify(bundle, code=1))[0] == kind


def test_openings_are_the_signed_totals(bundle: Path) -> None:
    edit_lines(bundle, "openings/2.jsonl", lambda rows: rows[0].update(votes=1))
    assert kinds(verify(bundle, code=1)) == ["results_differ"]


def test_a_method_that_is_not_counted_again_is_said(bundle: Path) -> None:
    edit_document(bundle, "contests.json", lambda value: value[0].update(method="stv_scottish"))
    found = verify(bundle, "--key", KEY.verifier.text)
    assert f"{RANKED}: the method stv_scottish is unknown here" in found["not_checked"]
    votes = sum(n for (contest, _), n in SmallCount().totals.items() if contest == RANKED)
    assert f"{RANKED}: {votes} votes; signed totals" in found["checked"]


def test_files_are_those_of_the_manifest(bundle: Path) -> None:
    (bundle / "README.md").write_text("All is well.", encoding="utf-8")
    (bundle / "more.txt").write_text("", encoding="utf-8")
    (bundle / "schema.json").unlink()
    found = verify(bundle, code=1)
    assert kinds(found) == ["file_changed", "file_added", "file_missing"]


def test_an_office_that_signs_false_totals_is_found(count: SmallCount, tmp_path: Path) -> None:
    """A signature over totals that do not follow from the leaves that it signs as well."""
    other = SmallCount(100)
    other.totals[LAW, "oui"] += 1
    other.checkpoint(final=True)
    found = verify(other.write(tmp_path / "withheld"), code=1)
    assert kinds(found) == ["totals_differ"]
    moved = SmallCount(100)
    moved.totals[LAW, "oui"] += 1
    moved.totals[LAW, "non"] -= 1
    moved.checkpoint(final=True)
    found = verify(moved.write(tmp_path / "public", [LAW]), code=1)
    assert kinds(found) == ["totals_differ"]


def test_weights_are_part_of_what_leaves_commit_to(tmp_path: Path) -> None:
    heavy = SmallCount(100, weighted=True)
    votes = sum(n for (contest, _), n in heavy.totals.items() if contest == LAW)
    leaves = sum(
        one.leaf.contest == LAW and one.leaf.status == "accepted"
        for of in heavy.leaves
        for one in of
    )
    assert votes > leaves
    folder = heavy.write(tmp_path / "public", [LAW])
    assert f"{LAW}: {votes} votes; signed totals" in verify(folder)["checked"]

    def lighter(rows: list[Any]) -> None:
        row = next(row for row in rows if b"weight=" in bytes.fromhex(row.get("opening", "")))
        row["opening"] = bytes.fromhex(row["opening"]).partition(b"\0")[0].hex()

    edit_lines(folder, "leaves/0.jsonl", lighter)
    assert kinds(verify(folder, code=1))[0] == "opening_differs"
    # Signed totals that count such a vote once more.
    heavy.totals[LAW, "oui"] += 1
    heavy.checkpoint(final=True)
    assert kinds(verify(heavy.write(tmp_path / "more", [LAW]), code=1)) == ["totals_differ"]
    # Without openings nobody but the office knows weights, and the verifier says so.
    found = verify(heavy.write(tmp_path / "withheld"))
    assert f"{LAW}: votes by leaves (weighted)" in found["not_checked"]


def test_checkpoints_of_another_log_and_old_ones_are_named(tmp_path: Path) -> None:
    one, two = SmallCount(), SmallCount(seed=2)
    # The second half of one log behind the first half of another.
    one.notes[1:] = two.notes[1:]
    one.batches, one.leaves = two.batches, two.leaves
    found = verify(one.write(tmp_path / "mixed"), code=1)
    assert kinds(found)[0] in {"leaf_changed", "checkpoint_swapped"}
    assert "checkpoint_swapped" in kinds(found)
    back = SmallCount()
    text = Checkpoint.parse(back.notes[0]).text
    back.checkpoint(text=text)
    back.notes.append(back.checkpoint(final=True))
    back.notes.pop()
    found = verify(back.write(tmp_path / "back"), code=1)
    assert kinds(found) == ["rollback"]


def test_two_views_are_found_by_what_somebody_else_kept(
    count: SmallCount, written: Path, tmp_path: Path
) -> None:
    shown = SmallCount(400, seed=3)
    other = tmp_path / "other.txt"
    other.write_text(shown.notes[1], encoding="utf-8")
    found = verify(written, "--other", other, code=1)
    assert kinds(found) == ["split_view"]
    kept = tmp_path / "kept.jsonl"
    kept.write_text("".join(f"{json.dumps({'note': note})}\n" for note in count.notes))
    assert verify(written, "--other", kept)["ok"]
    newer = SmallCount()
    newer.checkpoint(final=True)
    other.write_text(newer.notes[-1], encoding="utf-8")
    assert kinds(verify(written, "--other", other, code=1)) == ["bundle_old"]


def swap_salt(receipt: dict[str, Any]) -> None:
    receipt["opening"]["salt"] = "00" * 32


def other_leaf(receipt: dict[str, Any]) -> None:
    receipt["leaf"]["commitment"] = "00" * 32


def other_place(receipt: dict[str, Any]) -> None:
    receipt["index"] += 1


RECEIPTS: Final[dict[str, tuple[Callable[[dict[str, Any]], None], str]]] = {
    "another salt": (swap_salt, "opening_differs"),
    "another leaf": (other_leaf, "not_included"),
    "another place": (other_place, "not_included"),
    "a shorter proof": (lambda receipt: receipt["path"].pop(), "not_included"),
    "a longer proof": (lambda receipt: receipt["path"].append("00" * 32), "not_included"),
    "no tree": (lambda receipt: receipt.update(tree=7), "malformed"),
}


@pytest.mark.parametrize("case", RECEIPTS)
def test_a_false_receipt_is_named(case: str, count: SmallCount, tmp_path: Path) -> None:
    change, kind = RECEIPTS[case]
    receipt = count.receipt(1, 8)
    change(receipt)
    path = saved(tmp_path / "receipt.json", receipt)
    found = verify("--key", KEY.verifier.text, "--receipt", path, code=1)
    assert kinds(found) == [kind]


def test_the_opening_of_another_vote_is_named(count: SmallCount, tmp_path: Path) -> None:
    receipt = count.receipt(1, 8) | {"opening": count.receipt(1, 9)["opening"]}
    path = saved(tmp_path / "receipt.json", receipt)
    found = verify("--key", KEY.verifier.text, "--receipt", path, code=1)
    assert kinds(found) == ["opening_differs"]


def test_a_receipt_of_another_count_is_named(written: Path, tmp_path: Path) -> None:
    path = saved(tmp_path / "receipt.json", SmallCount(seed=4).receipt(1, 8))
    assert kinds(verify(written, "--receipt", path, code=1)) == ["split_view"]


def test_a_witness_that_is_demanded_must_have_signed(tmp_path: Path) -> None:
    count = SmallCount(60)
    count.checkpoint(final=True, signers=[KEY])
    folder = count.write(tmp_path / "unwitnessed")
    assert any("no witness" in line for line in verify(folder)["not_checked"])
    found = verify(folder, "--witness", WITNESS.verifier.text, code=1)
    assert kinds(found) == ["witness_missing"]


def test_what_is_no_bundle_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("[]", encoding="utf-8")
    command = [sys.executable, "-I", "-S", str(VERIFIER), str(tmp_path)]
    done = subprocess.run(command, env={}, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 2
    assert "cannot be read" in done.stderr


def write_without_the_last_record(count: SmallCount, path: Path) -> None:
    head = Checkpoint.parse(count.notes[-1]).statement.trees[0]
    with BundleFolder(path) as folder, folder.lines("leaves/0.jsonl") as out:
        writer = LeafWriter(head, out, secret=SECRET)
        for verdicts in count.batches[0][:-1]:
            writer.add(verdicts)
        writer.end()


def test_nothing_is_published_of_a_log_that_differs(count: SmallCount, tmp_path: Path) -> None:
    with pytest.raises(LogMismatch):
        write_without_the_last_record(count, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_is_never_written_over_another(written: Path) -> None:
    with pytest.raises(ScrutinError, match="exists"), BundleFolder(written):
        pass
