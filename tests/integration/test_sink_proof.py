"""The trees of the proof follow from the log, whatever happens to the sink."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest
from typer.testing import CliRunner

from schemas.codec import decode_input
from schemas.votes import Flag, VoteBatch
from streams.cli import app, wire
from streams.core.leaves import leaves_of, secret_of
from streams.core.merkle import continues, extend, includes, root_of
from streams.errors import SettingsError
from streams.proof.checkpoints import Checkpoint, Head
from streams.proof.notes import Signer, Verifier
from streams.proof.store import consistency_path, inclusion_path, take_checkpoint
from streams.settings.model import Settings
from tests.integration.sink_harness import Log, OneSink, rows
from tests.strategies import make_batch, make_malformed, make_vote

TREES = "SELECT partition, tree_size, tree_peaks FROM sink_offsets ORDER BY 1"


def tree_of(log: Log) -> tuple[int, bytes, list[bytes]]:
    """Size, peaks and hashes that follow from a log."""
    hashes = []
    for verdicts in {v.offset: v for v in log.verdicts}.values():
        batch = decode_input(verdicts.record)
        assert isinstance(batch, VoteBatch)
        hashes += [leaf.hash() for _, leaf in leaves_of(secret_of(""), verdicts, batch)]
    return len(hashes), extend(0, b"", hashes)[0], hashes


async def check_trees(db: asyncpg.Connection, *logs: Log) -> None:
    """Fail unless the database holds the trees of logs."""
    assert await rows(db, TREES) == [(log.partition, *tree_of(log)[:2]) for log in logs]
    for log in logs:
        stored = await db.fetch(
            "SELECT first_leaf, hashes FROM proof_leaves WHERE partition = $1 ORDER BY 1",
            log.partition,
        )
        _, _, hashes = tree_of(log)
        assert b"".join(row["hashes"] for row in stored) == b"".join(hashes)
        nodes = await db.fetch(
            "SELECT level, number, hash FROM proof_nodes WHERE partition = $1 ORDER BY 1, 2",
            log.partition,
        )
        assert [tuple(row) for row in nodes] == [
            (8, n, extend(0, b"", hashes[256 * n : 256 * n + 256])[0])
            for n in range(len(hashes) // 256)
        ]


async def test_the_tree_is_the_same_however_the_log_was_flushed(
    one: OneSink, db: asyncpg.Connection
) -> None:
    log, other = Log(), Log(1, b"another log id.....1"[:16])
    log.decide(
        make_batch(make_vote(1), make_vote(2), make_vote(1, message="b")),
        make_batch(make_vote(3, flags=0), malformed=(make_malformed(),)),
    )
    for n in range(3):
        log.decide(make_batch(*(make_vote(100 + 200 * n + v) for v in range(200))))
    other.decide(make_batch(make_vote(900)))
    events = log.events()
    await one.sink.flush(events[:1])
    await one.sink.flush([*events[:3], *other.events()])
    await one.sink.flush(events)
    assert tree_of(log)[0] == 605
    await check_trees(db, log, other)


async def test_a_vote_that_the_database_already_has_keeps_the_leaf_of_its_verdict(
    one: OneSink, db: asyncpg.Connection
) -> None:
    log = Log()
    first = log.decide(make_batch(make_vote(1)))
    await one.sink.flush(first)
    await db.execute("UPDATE vote_audit SET source_partition = 7")
    again = Log(1, b"another log id.....1"[:16])
    result = await one.sink.flush(again.decide(make_batch(make_vote(1), make_vote(2))))
    assert result.already_counted == 1
    await check_trees(db, log, again)


async def test_redelivered_messages_leave_no_leaf(one: OneSink, db: asyncpg.Connection) -> None:
    log = Log()
    await one.sink.flush(log.decide(make_batch(make_vote(1))))
    await one.sink.flush(
        log.decide(make_batch(make_vote(1, flags=Flag.ON_ROLL | Flag.REDELIVERED)))
    )
    assert tree_of(log)[0] == 1
    await check_trees(db, log)


async def test_leaves_begin_where_a_counted_database_was_upgraded(
    one: OneSink, db: asyncpg.Connection
) -> None:
    """A rebuild begins the tree at the same record."""
    await db.execute("INSERT INTO proof_starts VALUES (0, 1)")
    log = Log()
    await one.sink.flush(log.decide(make_batch(make_vote(1)), make_batch(make_vote(2))))
    [(_, size, peaks)] = await rows(db, TREES)
    assert (size, peaks) == (1, tree_of(log)[2][1])


async def test_another_secret_is_refused(one: OneSink, own: Settings) -> None:
    log = Log()
    await one.sink.flush(log.decide(make_batch(make_vote(1))))
    other = OneSink(own, secret="another secret of thirty-two letters")
    async with other.sink:
        with pytest.raises(SettingsError, match="another secret"):
            await other.sink.flush(log.decide(make_batch(make_vote(2))))


async def test_checkpoints_hold_trees_and_totals_of_one_moment(
    one: OneSink, db: asyncpg.Connection
) -> None:
    log, signer, other = Log(), Signer.new("votes.example.org"), Signer.new("votes.example.org")
    await one.sink.flush(log.decide(make_batch(*(make_vote(n) for n in range(300)))))
    first = await take_checkpoint(db, signer)
    assert first is not None
    assert await take_checkpoint(db, signer) is None
    with pytest.raises(SettingsError, match="does not list"):
        await take_checkpoint(db, other)
    await one.sink.flush(log.decide(make_batch(*(make_vote(n) for n in range(300, 700)))))
    second = await take_checkpoint(db, signer, [other.verifier])
    assert second is not None
    await one.sink.flush(log.decide(make_batch(make_vote(1, message="again"))))
    third = await take_checkpoint(db, other)
    assert third is not None
    keys = [signer.verifier]
    head = Head()
    _, _, hashes = tree_of(log)
    for made, votes, size in ((first, 300, 300), (second, 700, 700), (third, 700, 701)):
        read = Checkpoint.parse(made.note.text())
        head = head.after(read.text)
        assert (read.size, read.root) == (head.size, head.root)
        read.signer(keys)
        keys = list(read.statement.keys)
        assert read.statement.votes == votes
        assert [(tree.size, tree.root) for tree in read.statement.trees] == [
            (size, root_of(extend(0, b"", hashes[:size])[0]))
        ]
    root = third.statement.trees[0].root
    for index in (0, 255, 256, 511, 512, 700):
        path = await inclusion_path(db, 0, index, 701)
        assert includes(hashes[index], index, 701, path, root)
    before = first.statement.trees[0].root
    assert continues(300, before, 701, root, await consistency_path(db, 0, 300, 701))


async def test_checkpoints_are_signed_by_commands(
    one: OneSink, own: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire(["audit"])
    await one.sink.flush(Log().decide(make_batch(make_vote(1))))
    for name in ("host", "port", "db", "user"):
        monkeypatch.setenv(f"POSTGRES_{name.upper()}", str(getattr(own, f"postgres_{name}")))
    monkeypatch.setenv("POSTGRES_PASSWORD", own.postgres_password.get_secret_value())
    file = str(tmp_path / "log.key")
    made = await asyncio.to_thread(CliRunner().invoke, app, ["audit", "key", "example.org", file])
    assert made.exit_code == 0, made.output
    words = ["audit", "checkpoint", "--key", file, "--every", "0", "--out", str(tmp_path)]
    signed = await asyncio.to_thread(CliRunner().invoke, app, words)
    assert signed.exit_code == 0, signed.output
    checkpoint = Checkpoint.parse((tmp_path / "1.txt").read_text(encoding="utf-8"))
    assert checkpoint.signer([Verifier.parse(made.output)]).name == "example.org"
    assert checkpoint.statement.votes == 1
