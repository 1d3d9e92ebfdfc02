"""Finds the leaf of a vote in the stored trees, and makes its receipt."""

from __future__ import annotations

from typing import Any, Final

from schemas.verdicts import Status
from streams.core.leaves import (
    ACCEPTED,
    Leaf,
    commit,
    encode_opening,
    id_of_secret,
    pads_of,
    salt_of,
)
from streams.core.rows import moment
from streams.core.tree_growth import hashes_of, records_of
from streams.errors import LogMismatch, SettingsError
from streams.proof.receipts import (
    CONSISTENCY_FORMAT,
    RECEIPT_FORMAT,
    Consistency,
    LeafFields,
    OpeningFields,
    Receipt,
)
from streams.proof.store import (
    consistency_path,
    inclusion_path,
    latest_checkpoint,
    statement_path,
)

_COUNTED: Final = frozenset({ACCEPTED, str(Status.REPLACED)})
_ALREADY_COUNTED: Final = "already_counted"
_COLUMNS: Final = "contest, choice, weight, source_partition, source_offset, source_index"
_ROWS: Final = f"""
SELECT 'accepted' AS status, '' AS reason, NULL::bytea AS body_sha256, {_COLUMNS}
FROM vote_audit WHERE vote_hash = $1 AND "timestamp" = $2
UNION ALL (
    SELECT status, reason, body_sha256, {_COLUMNS} FROM rejected_votes
    WHERE identity = $3 ORDER BY id LIMIT 16
) UNION ALL (
    SELECT status, reason, body_sha256, {_COLUMNS} FROM rejected_votes
    WHERE vote_hash = $1 AND "timestamp" = $2 AND status = 'replaced' ORDER BY id LIMIT 16
)
"""  # noqa: S608 - all names are constants
_FENCE: Final = """
SELECT log_id, epoch, tree_secret, coalesce((
    SELECT start_offset FROM proof_starts AS s WHERE s.partition = o.partition
), 0) AS start_offset
FROM sink_offsets AS o WHERE partition = $1
"""
_SEGMENT: Final = """
SELECT first_leaf, records, hashes FROM proof_leaves
WHERE partition = $1 AND last_offset >= $2 ORDER BY last_offset LIMIT 1
"""


async def find_receipt(
    connection: Any,
    secret: bytes,
    *,
    stored_hash: str,
    timestamp_us: int,
    identity: bytes,
    opened: bool,
) -> Receipt | None:
    """The receipt of a vote against the latest checkpoint.

    Args:
        connection: to the database.
        secret: of the proof.
        stored_hash: of the vote, as `vote_audit.vote_hash` has it.
        timestamp_us: when the voter voted.
        identity: of the voter's message.
        opened: with what opens the commitment.

    Returns:
        None if no checkpoint holds the vote yet.

    Raises:
        LogMismatch: the database has the vote, and its leaf says something else.
        SettingsError: the trees were made with another secret.
    """
    rows = await connection.fetch(_ROWS, stored_hash, moment(timestamp_us), identity)
    checkpoint = await latest_checkpoint(connection)
    if not rows or checkpoint is None:
        return None
    sizes = {tree.partition: tree.size for tree in checkpoint.statement.trees}
    waiting = False
    for row in rows:
        partition, offset, number = (
            row[name] for name in ("source_partition", "source_offset", "source_index")
        )
        fence = await connection.fetchrow(_FENCE, partition)
        if fence is None or offset < fence["start_offset"]:
            waiting = True
            continue
        if fence["tree_secret"] != id_of_secret(secret):
            raise SettingsError(
                "The trees of the proof were made with another secret",
                where={"variable": "SCRUTIN_PROOF_SECRET"},
                todo="Give gateways the workers' secret",
            )
        pads = pads_of(secret, fence["log_id"], partition, offset, number + 1)
        salt, opening = salt_of(pads, number, identity), _opening_of(row)
        leaf = _leaf_of(row, fence["epoch"], commit(salt, opening))
        index = await _index_of(connection, partition, offset, leaf.hash())
        if index is None:
            continue
        if index >= (size := sizes.get(partition, 0)):
            waiting = True
            continue
        path = await inclusion_path(connection, partition, index, size)
        return Receipt(
            RECEIPT_FORMAT,
            checkpoint.note.text(),
            partition,
            index,
            LeafFields.of(leaf),
            [each.hex() for each in path],
            OpeningFields(salt.hex(), opening.hex()) if opened else None,
        )
    if waiting:
        return None
    raise LogMismatch(
        "The database has the vote, and the tree has another verdict or none",
        where={"tables": "vote_audit, rejected_votes, proof_leaves"},
        todo="Run `scrutin audit verify`",
    )


def _opening_of(row: Any) -> bytes:
    if row["status"] == Status.MALFORMED:
        digest: bytes = row["body_sha256"]
        return digest
    return encode_opening(row["choice"], row["weight"] if row["status"] in _COUNTED else 1)


def _leaf_of(row: Any, epoch: int, commitment: bytes) -> Leaf:
    status, reason = row["status"], row["reason"]
    # What the sink found out is not in the tree, which follows from the log alone.
    if status in _COUNTED or reason == _ALREADY_COUNTED:
        status, reason = ACCEPTED, ""
    return Leaf(status, epoch, row["contest"] or "", reason, commitment)


async def _index_of(connection: Any, partition: int, offset: int, leaf: bytes) -> int | None:
    """The number of a leaf of an input record; replays have none, so its place is searched."""
    segment = await connection.fetchrow(_SEGMENT, partition, offset)
    if segment is None:
        return None
    first: int = segment["first_leaf"]
    for at, start, count in records_of(first, segment["records"]):
        if at == offset:
            hashes = hashes_of(segment["hashes"])[start - first : start - first + count]
            return start + hashes.index(leaf) if leaf in hashes else None
    return None


async def find_consistency(
    connection: Any, tree: int | None, start: int, end: int, statements: list[bytes]
) -> Consistency:
    """The proof that a tree of one size continues that of a smaller one.

    Args:
        connection: to the database.
        tree: a partition; None: the tree of statements.
        start: the smaller size.
        end: the larger size.
        statements: hashes of statements that were read before; it grows.

    Raises:
        BadNote: the tree is not that large.
    """
    if tree is None:
        path = await statement_path(connection, start, end, statements)
    else:
        path = await consistency_path(connection, tree, start, end)
    return Consistency(CONSISTENCY_FORMAT, tree, start, end, [each.hex() for each in path])
