"""What a flush adds to the totals, and how far it moves the fences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from streams.adapters.postgres import statements
from streams.core.fence import Fence
from streams.core.rows import moment
from streams.core.tree_growth import Growth
from streams.core.windows import Deltas


async def plan_flush(connection: Any) -> None:
    """Have a connection plan the statements of a flush; without fences they change nothing."""
    async with connection.transaction():
        await connection.fetch(statements.LOCK_FENCE, [])
        await add_and_move(connection, Deltas(), {}, [])


async def add_and_move(
    connection: Any, deltas: Deltas, fences: Mapping[int, Fence], grown: Sequence[Growth]
) -> tuple[dict[tuple[str, str], int], Counter[tuple[str, str]]]:
    """Add to the totals and the trees, and move the fences.

    Returns:
        What others may see: the new totals, and the votes that were added. Votes of hidden
        contests were added for the empty name, and have no totals. Totals that may fall cannot
        be compared by their size; they stand as 0 for the empty name.
    """
    segments = [growth.segment for growth in grown]
    nodes = [(growth.segment.partition, node) for growth in grown for node in growth.nodes]
    laws = sorted({law for law, _ in deltas.laws})
    windows = sorted(deltas.windows.items())
    contests = sorted(deltas.totals().items())
    totals = await connection.fetch(
        statements.ADD_AND_MOVE,
        laws,
        [deltas.laws[law, "oui"] for law in laws],
        [deltas.laws[law, "non"] for law in laws],
        [contest for (contest, _, _), _ in windows],
        [choice for (_, choice, _), _ in windows],
        [moment(start_ms * 1000) for (_, _, start_ms), _ in windows],
        [votes for _, votes in windows],
        list(fences),
        [fence.source_offset for fence in fences.values()],
        [fence.validated_offset for fence in fences.values()],
        [contest for (contest, _), _ in contests],
        [choice for (_, choice), _ in contests],
        [votes for _, votes in contests],
        [fence.tree.size for fence in fences.values()],
        [fence.tree.peaks for fence in fences.values()],
        [fence.tree_secret for fence in fences.values()],
        [segment.partition for segment in segments],
        [segment.first for segment in segments],
        [segment.last_offset for segment in segments],
        [segment.records for segment in segments],
        [segment.hashes for segment in segments],
        [partition for partition, _ in nodes],
        [node.level for _, node in nodes],
        [node.number for _, node in nodes],
        [node.hash for _, node in nodes],
    )
    shown = {
        (row["contest_id"], "" if row["may_fall"] else row["choice"]): (
            0 if row["may_fall"] else row["votes"]
        )
        for row in totals
        if not row["hidden"]
    }
    hidden = {row["contest_id"] for row in totals if row["hidden"]}
    if not hidden:
        return shown, deltas.contests
    counted: Counter[tuple[str, str]] = Counter()
    for (contest, choice), votes in deltas.contests.items():
        counted[contest, "" if contest in hidden else choice] += votes
    return shown, counted
