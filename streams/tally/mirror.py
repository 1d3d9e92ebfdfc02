"""Converts the state of an election's jobs to rows of `election_jobs`. Pure."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from schemas.tally import Create, JobState, Lane, Mode, Phase

_NAMESPACE: Final = uuid.UUID("5c277153-7a11-4e1e-8c7e-9a2f6f5b7d10")

OPERATIONS: Final = {
    Phase.PLAN: "TALLY",
    Phase.TALLY: "TALLY",
    Phase.TOTAL: "TALLY",
    Phase.PARTIAL: "DECRYPTION",
    Phase.COMPENSATED: "COMPENSATED_DECRYPTION",
    Phase.COMBINE: "COMBINE",
    Phase.PUBLISH: "COMBINE",
}
"""Phase -> documented name of its operation."""

_ENDS: Final = {"TALLY": Phase.TOTAL, "COMBINE": Phase.PUBLISH}


def job_id(election_id: str, operation: str, guardian: str = "", missing: str = "") -> uuid.UUID:
    """A deterministic id, so that every process computes the same id for a job."""
    return uuid.uuid5(_NAMESPACE, "\0".join((election_id, operation, guardian, missing)))


def job_rows(state: JobState, now_ms: int) -> list[tuple[Any, ...]]:
    """One row for every job: the tally, each guardian's shares, the combination."""
    jobs: dict[tuple[str, str, str], list[Lane]] = {}
    for lane in state.lanes:
        key = (OPERATIONS[lane.key.phase], lane.key.guardian, lane.key.missing)
        jobs.setdefault(key, []).append(lane)
    return [_row(state, *key, lanes=lanes, now_ms=now_ms) for key, lanes in jobs.items()]


def queued_row(asked: Create, chunks: int, now_ms: int) -> tuple[Any, ...]:
    """The row of a tally that no worker has started; every other row of it is newer."""
    return (
        job_id(asked.election_id, "TALLY"),
        asked.election_id,
        "TALLY",
        "",
        "",
        "QUEUED",
        chunks,
        0,
        0,
        asked.created_by,
        _moment(now_ms),
        None,
        None,
        _metadata(asked.mode, asked.chunk_size),
        0,
    )


def _metadata(mode: Mode, chunk_size: int) -> str:
    return json.dumps({"mode": mode, "chunkSize": chunk_size})


def _row(
    state: JobState,
    operation: str,
    guardian: str,
    missing: str,
    *,
    lanes: Sequence[Lane],
    now_ms: int,
) -> tuple[Any, ...]:
    # Planning, multiplying the chunks and publishing do not count as chunks.
    counted = [lane for lane in lanes if lane.key.phase not in {Phase.PLAN, Phase.TOTAL}]
    counted = [lane for lane in counted if lane.key.phase != Phase.PUBLISH]
    errors = [error for lane in lanes for error in lane.failed.values()]
    status = _status(state, operation, lanes)
    return (
        job_id(state.election_id, operation, guardian, missing),
        state.election_id,
        operation,
        guardian,
        missing,
        status,
        sum(lane.units for lane in counted),
        sum(lane.done for lane in counted),
        sum(len(lane.failed) for lane in lanes),
        state.created_by,
        _moment(state.created_ms),
        _moment(now_ms) if status == "COMPLETED" else None,
        errors[0] if errors else None,
        _metadata(state.mode, state.chunk_size),
        state.version,
    )


def _status(state: JobState, operation: str, lanes: Sequence[Lane]) -> str:
    end = _ENDS.get(operation)
    ended = [lane for lane in lanes if end is None or lane.key.phase == end]
    if ended and all(lane.complete for lane in ended):
        return "COMPLETED"
    if state.cancelled:
        return "CANCELLED"
    if any(lane.stuck for lane in lanes):
        return "FAILED"
    waits = all(not lane.sealed or not lane.given_out for lane in lanes)
    return "QUEUED" if waits else "IN_PROGRESS"


def _moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
