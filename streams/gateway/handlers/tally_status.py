"""The three statuses of a tally in the form that deployed clients read; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


def tally_status(row: Row | None) -> dict[str, Any]:
    """A row of `tally_creation_status`; None before the tally is requested."""
    return _status(row, {"createdBy": row["created_by"] if row else None})


def combine_status(row: Row | None) -> dict[str, Any]:
    """A row of `combine_status`; None before the combination began."""
    return _status(row, {})


def decryption_status(rows: Sequence[Row], guardian: str | None = None) -> dict[str, Any]:
    """Rows of `decryption_status`, one for each guardian that takes part.

    Args:
        rows: of one election.
        guardian: whose status is shown beside the list; by default the slowest.
    """
    guardians = [_guardian(row) for row in rows]
    named = [each for each in guardians if guardian in {None, each["guardianId"]}]
    shown = min(named, key=lambda each: each["progressPercentage"], default=_guardian(None))
    return {**shown, "guardians": guardians}


def _guardian(row: Row | None) -> dict[str, Any]:
    return _status(
        row,
        {
            "guardianId": row["guardian_id"] if row else None,
            "currentPhase": row["current_phase"] if row else None,
            "totalCompensatedGuardians": row["total_compensated_guardians"] if row else 0,
            "processedCompensatedGuardians": row["processed_compensated_guardians"] if row else 0,
        },
    )


def _status(row: Row | None, more: dict[str, Any]) -> dict[str, Any]:
    total = row["total_chunks"] if row else 0
    done = row["processed_chunks"] if row else 0
    status = row["status"] if row else "not_started"
    share = 100.0 if status == "completed" else (100 * done / total if total else 0.0)
    return {
        "success": True,
        "status": status,
        "totalChunks": total,
        "processedChunks": done,
        "failedChunks": row["failed_chunks"] if row else 0,
        "progressPercentage": round(share, 1),
        "startedAt": _moment(row, "started_at"),
        "completedAt": _moment(row, "completed_at"),
        "errorMessage": row["error_message"] if row else None,
        **more,
    }


def _moment(row: Row | None, name: str) -> str | None:
    return row[name].isoformat() if row and row[name] else None
