"""Makes checkpoints of a count, and proofs from the trees that the sink keeps in PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg

from streams.core.merkle import (
    KEPT_LEVELS,
    Range,
    consistency_ranges,
    extend,
    inclusion_ranges,
    join,
    leaf_hash,
    perfect,
    root_of,
)
from streams.core.tree_growth import hashes_of
from streams.errors import SettingsError
from streams.proof.checkpoints import (
    Checkpoint,
    ClosedContest,
    Head,
    Statement,
    TreeHead,
    body_of,
)
from streams.proof.notes import BadNote, Signer, Verifier, sign

_LOCK: Final = "SELECT pg_advisory_xact_lock(1546088790)"
_LATEST: Final = "SELECT size, peaks, note FROM proof_checkpoints ORDER BY size DESC LIMIT 1"
_BETWEEN: Final = """
SELECT note FROM proof_checkpoints WHERE size > $1 AND size <= $2 ORDER BY size
"""
_TREES: Final = """
SELECT partition, log_id, source_offset, epoch, tree_size, tree_peaks FROM sink_offsets ORDER BY 1
"""
_TOTALS: Final = """
SELECT contest_id, choice, votes FROM contest_results AS r
WHERE votes <> 0
    AND NOT EXISTS (SELECT 1 FROM hidden_contests AS h WHERE h.contest_id = r.contest_id)
"""
_HIDDEN: Final = "SELECT contest_id FROM hidden_contests"
_CLOSED: Final = "SELECT contest_id, vector::text AS vector FROM contest_finals"
_ADD: Final = "INSERT INTO proof_checkpoints (size, peaks, note) VALUES ($1, $2, $3)"
_COSIGN: Final = """
INSERT INTO proof_cosignatures (size, witness, signed_at, line)
VALUES ($1, $2, to_timestamp($3), $4)
ON CONFLICT DO NOTHING
"""
_NOTE: Final = "SELECT note FROM proof_checkpoints WHERE size = $1"
_SHOWN: Final = """
SELECT c.note, c.created_at, count(s.witness)::int AS witnesses
FROM proof_checkpoints AS c LEFT JOIN proof_cosignatures AS s USING (size)
GROUP BY c.size ORDER BY c.size DESC LIMIT 1
"""
_SEGMENTS: Final = """
SELECT first_leaf, hashes FROM proof_leaves
WHERE partition = $1 AND first_leaf < $3 AND first_leaf >= coalesce((
    SELECT max(first_leaf) FROM proof_leaves WHERE partition = $1 AND first_leaf <= $2
), 0) ORDER BY first_leaf
"""
_NODES: Final = """
SELECT hash FROM proof_nodes
WHERE partition = $1 AND level = $2 AND number >= $3 AND number < $4 ORDER BY number
"""


async def take_checkpoint(
    connection: asyncpg.Connection, signer: Signer, keys: Sequence[Verifier] = ()
) -> Checkpoint | None:
    """Sign what the count holds now.

    Args:
        connection: to the database.
        signer: a key of the log; its name is the origin.
        keys: the keys that may sign the next checkpoint; empty: this one.

    Returns:
        The new checkpoint; None if nothing has changed since the latest one.

    Raises:
        SettingsError: the latest checkpoint is of another origin or does not list this key.
    """
    async with connection.transaction():
        await connection.execute(_LOCK)
        latest = await connection.fetchrow(_LATEST)
    async with connection.transaction(isolation="repeatable_read"):
        # Of two that run at once, the second finds its number taken.
        statement = await _statement(connection, keys or [signer.verifier])
        head = Head(latest["size"], latest["peaks"]) if latest else Head()
        if latest:
            previous = Checkpoint.parse(latest["note"])
            _check_signer(previous, signer)
            if _same(previous.statement, statement):
                return None
        head = head.after(statement.text())
        body = body_of(signer.name, head.size, head.root, statement.text())
        note = sign(body, [signer])
        await connection.execute(_ADD, head.size, head.peaks, note)
    return Checkpoint.parse(note)


def _check_signer(previous: Checkpoint, signer: Signer) -> None:
    if signer.verifier not in previous.statement.keys or signer.name != previous.origin:
        raise SettingsError(
            "The latest checkpoint does not list this key",
            where={"key": signer.verifier.text, "origin": previous.origin},
            todo="Sign with a listed key; a new key is first listed by a checkpoint of the old one",
        )


def _same(one: Statement, other: Statement) -> bool:
    """Whether two statements differ in their time only."""
    lines = [s.text().splitlines() for s in (one, other)]
    return lines[0][2:] == lines[1][2:]


async def _statement(connection: asyncpg.Connection, keys: Sequence[Verifier]) -> Statement:
    trees = await connection.fetch(_TREES)
    return Statement(
        at=datetime.now(UTC),
        epoch=max((row["epoch"] for row in trees), default=0),
        trees=tuple(
            TreeHead(
                row["partition"],
                row["log_id"],
                row["tree_size"],
                root_of(row["tree_peaks"]),
                row["source_offset"],
            )
            for row in trees
        ),
        totals={
            (row["contest_id"], row["choice"]): row["votes"]
            for row in await connection.fetch(_TOTALS)
        },
        hidden=tuple(row["contest_id"] for row in await connection.fetch(_HIDDEN)),
        closings=tuple(
            ClosedContest(row["contest_id"], _offsets(row["vector"]))
            for row in await connection.fetch(_CLOSED)
        ),
        keys=tuple(keys),
    )


def _offsets(vector: str) -> dict[int, int]:
    return {place["partition"]: place["offset"] for place in json.loads(vector)}


async def inclusion_path(
    connection: asyncpg.Connection, partition: int, index: int, size: int
) -> list[bytes]:
    """The proof that a leaf is in a tree of a size."""
    return [await _root(connection, partition, r) for r in inclusion_ranges(index, size)]


async def consistency_path(
    connection: asyncpg.Connection, partition: int, first: int, second: int
) -> list[bytes]:
    """The proof that a tree continues a smaller one."""
    return [await _root(connection, partition, r) for r in consistency_ranges(first, second)]


async def _root(connection: asyncpg.Connection, partition: int, leaves: Range) -> bytes:
    return join([await _node(connection, partition, *node) for node in perfect(leaves)])


async def _node(connection: asyncpg.Connection, partition: int, level: int, number: int) -> bytes:
    kept = level - level % KEPT_LEVELS
    start, end = number << level - kept, number + 1 << level - kept
    hashes: list[bytes]
    if kept:
        rows = await connection.fetch(_NODES, partition, kept, start, end)
        hashes = [row["hash"] for row in rows]
    else:
        hashes = []
        for row in await connection.fetch(_SEGMENTS, partition, start, end):
            first: int = row["first_leaf"]
            hashes += hashes_of(row["hashes"])[max(0, start - first) : max(0, end - first)]
    if len(hashes) != end - start:
        raise BadNote(f"leaves of partition {partition} are missing in the database")
    return root_of(extend(0, b"", hashes)[0])


async def statement_path(
    connection: Any, first: int, second: int, hashes: list[bytes]
) -> list[bytes]:
    """The proof that the tree of statements continues a smaller one.

    Args:
        connection: to the database.
        first: the smaller size.
        second: the larger size.
        hashes: of the statements that were read before; it grows.

    Raises:
        BadNote: there are not as many.
    """
    for row in await connection.fetch(_BETWEEN, len(hashes), second):
        hashes.append(leaf_hash(Checkpoint.parse(row["note"]).text.encode()))
    if len(hashes) < second:
        raise BadNote(f"there are {len(hashes)} checkpoints")
    return [
        root_of(extend(0, b"", hashes[start:end])[0])
        for start, end in consistency_ranges(first, second)
    ]


async def add_cosignatures(
    connection: Any, seen: Checkpoint, witnesses: Sequence[Verifier]
) -> list[str]:
    """Store what witnesses signed of a checkpoint.

    Args:
        connection: to the database.
        seen: the checkpoint as a witness published it.
        witnesses: known ones.

    Returns:
        Names of the witnesses among them that signed it.

    Raises:
        BadNote: it is not the checkpoint of the database, or a cosignature does not hold.
    """
    note = await connection.fetchval(_NOTE, seen.size)
    if note is None or Checkpoint.parse(note).note.body != seen.note.body:
        raise BadNote(f"checkpoint {seen.size} has another content here: two views of the log")
    names = []
    for witness in witnesses:
        time_s = seen.note.signed_by(witness)
        if time_s is not None:
            line = seen.note.line_of(witness)
            await connection.execute(_COSIGN, seen.size, witness.name, float(time_s), line)
            names.append(witness.name)
    return names


async def shown_checkpoint(connection: Any) -> tuple[Checkpoint, int] | None:
    """The latest checkpoint, and how many witnesses signed it."""
    row = await connection.fetchrow(_SHOWN)
    return (Checkpoint.parse(row["note"]), row["witnesses"]) if row else None


async def latest_checkpoint(connection: Any) -> Checkpoint | None:
    """The latest checkpoint, if there is one."""
    row = await connection.fetchrow(_LATEST)
    return Checkpoint.parse(row["note"]) if row else None
