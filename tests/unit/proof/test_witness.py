"""Witnesses: what continues is countersigned, a rollback and two views are found."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streams.cli.audit.commands import app
from streams.core.merkle import extend, leaf_hash, root_of
from streams.errors import ServiceUnavailable
from streams.proof.chain import BrokenChain, CheckpointChain, faults_between
from streams.proof.checkpoints import Checkpoint, ClosedContest, Head, Statement, TreeHead, body_of
from streams.proof.notes import COSIGNATURE, BadNote, Signer, Verifier, sign
from streams.proof.witness import Witness, cosigners

SIGNER = Signer.new("votes.example.org")
AT = datetime(2026, 11, 29, 20, tzinfo=UTC)
LOG_ID = bytes(16)


def statement(votes: int, *, time_s: int = 0, epoch: int = 0) -> Statement:
    """What a log of so many votes says."""
    root = root_of(extend(0, b"", [leaf_hash(b"%d" % n) for n in range(votes)])[0])
    return Statement(
        at=AT + timedelta(seconds=time_s),
        epoch=epoch,
        trees=(TreeHead(0, LOG_ID, votes, root, votes),),
        totals={("law-1", "oui"): votes},
        closings=(ClosedContest("law-0", {0: 5}),),
        keys=(SIGNER.verifier,),
    )


def notes(*statements: Statement, signer: Signer = SIGNER) -> list[str]:
    """Signed checkpoints of a log."""
    head, found = Head(), []
    for each in statements:
        head = head.after(each.text())
        body = body_of(SIGNER.name, head.size, head.root, each.text())
        found.append(sign(body, [signer]))
    return found


def write(folder: Path, texts: list[str]) -> Path:
    folder.mkdir(exist_ok=True)
    for number, text in enumerate(texts, start=1):
        (folder / f"{number}.txt").write_text(text, encoding="utf-8")
    return folder


GOOD = notes(statement(10), statement(20, time_s=1), statement(21, time_s=2))


def test_a_log_that_grows_is_followed() -> None:
    chain = CheckpointChain([SIGNER.verifier])
    for note in GOOD:
        chain.add(Checkpoint.parse(note))
    assert chain.head.size == 3


@pytest.mark.parametrize(
    ("second", "fault"),
    [
        (statement(9, time_s=1), "tree 0 is smaller"),
        (statement(20, time_s=-1), "it is older"),
        (replace(statement(20), trees=()), "tree 0 is of another log"),
        (replace(statement(20), closings=()), "a closing point is another one"),
        (
            replace(statement(10), trees=(replace(statement(10).trees[0], root=bytes(32)),)),
            "another root at the same size",
        ),
    ],
)
def test_what_does_not_continue_is_refused(second: Statement, fault: str) -> None:
    chain = CheckpointChain([SIGNER.verifier])
    first, then = notes(statement(10), second)
    chain.add(Checkpoint.parse(first))
    with pytest.raises(BrokenChain, match=fault):
        chain.add(Checkpoint.parse(then))
    assert chain.head.size == 1


def test_an_epoch_does_not_fall() -> None:
    assert list(faults_between(statement(1, epoch=1), statement(2)))


def test_only_listed_keys_sign() -> None:
    other = Signer.new(SIGNER.name)
    chain = CheckpointChain([SIGNER.verifier])
    with pytest.raises(BadNote, match="no known key"):
        chain.add(Checkpoint.parse(notes(statement(1), signer=other)[0]))
    with pytest.raises(BrokenChain, match="not number 1"):
        chain.add(Checkpoint.parse(GOOD[1]))


def test_a_witness_remembers_and_countersigns(tmp_path: Path) -> None:
    memory, key = tmp_path / "state", Signer.new("w.example", COSIGNATURE)
    witness = Witness.load(memory, [SIGNER.verifier], key)
    made = witness.follow(GOOD[0])
    witness.save(memory)
    text = witness.countersigned(made, 1_800_000_000)
    seen = Checkpoint.parse(text)
    assert cosigners(seen, [key.verifier]) == {"w.example": 1_800_000_000}
    assert seen.signer([SIGNER.verifier]) == SIGNER.verifier
    again = Witness.load(memory, [], key)
    assert again.follow(GOOD[1]).size == 2
    memory.write_bytes(memory.read_bytes().replace(b'"size":1', b'"size":2'))
    with pytest.raises(BadNote, match="memory"):
        Witness.load(memory, [], key)


def run(*words: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["witness", *map(str, words)])
    return done.exit_code, done.output


def test_the_command_finds_a_rollback_and_two_views(tmp_path: Path) -> None:
    source, state = write(tmp_path / "log", GOOD), tmp_path / "state"
    words = ("--key", SIGNER.verifier.text, "--sign", tmp_path / "w.key", "--name", "w.example")
    code, output = run(source, state, *words, "--out", tmp_path / "w")
    assert code == 0, output
    key = Verifier.parse(output.split("witness: ")[1].split()[0])
    for number in (1, 2, 3):
        text = (tmp_path / "w" / f"{number}.txt").read_text(encoding="utf-8")
        assert list(cosigners(Checkpoint.parse(text), [key])) == ["w.example"]
    code, output = run(source, state, *words, "--compare", tmp_path / "w")
    assert (code, "3 compared with" in output) == (0, True)
    # A mistyped folder is not one in which nothing differs.
    missing = ["witness", source, state, *words, "--compare", tmp_path / "x"]
    assert isinstance(CliRunner().invoke(app, [*map(str, missing)]).exception, ServiceUnavailable)

    # Another part of the public is shown something else from the second checkpoint on.
    view = write(
        tmp_path / "view",
        notes(statement(10), statement(19, time_s=1), statement(21, time_s=2)),
    )
    other = ("--key", SIGNER.verifier.text, "--out", tmp_path / "v")
    assert run(view, tmp_path / "other", *other)[0] == 0
    code, output = run(tmp_path / "w", state, *words, "--compare", tmp_path / "v")
    assert code == 3
    assert "two views of the log: checkpoint 2" in output
    # A witness that followed one view is not led to the other.
    code, output = run(view, state, *words)
    assert code == 3
    assert "two views" in output

    (source / "3.txt").unlink()
    code, output = run(source, state, *words)
    assert code == 3
    assert "rolled back" in output
