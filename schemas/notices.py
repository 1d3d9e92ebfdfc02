"""Notices to the intake, in the single partition of `votes.control`.

Each bridge reads all of them from the beginning and then follows new ones. A notice does not change
a verdict; only a control record among the votes does.
"""

from __future__ import annotations

import msgspec


class RollLoaded(msgspec.Struct, array_like=True, frozen=True, tag="roll-loaded/1"):
    """The roll in the log is not empty: with `SCRUTIN_ROLL=table` the intake may begin."""

    log_id: bytes
    """Identity of the log, 16 bytes; bridges of another log ignore the notice."""
    issued_ms: int
    """Unix time in milliseconds."""


class IntakePaused(msgspec.Struct, array_like=True, frozen=True, tag="intake-paused/1"):
    """A reset begins: bridges take no deliveries until it is over."""

    log_id: bytes
    """Identity of the log, 16 bytes."""
    epoch: int
    """The epoch that will be opened."""
    until_ms: int
    """Unix time in milliseconds. Later than this the reset has failed and the intake resumes."""


class IntakeResumed(msgspec.Struct, array_like=True, frozen=True, tag="intake-resumed/1"):
    """A reset is over: votes taken in from here on belong to its epoch."""

    log_id: bytes
    """Identity of the log, 16 bytes."""
    epoch: int


class AdoptionBegun(msgspec.Struct, array_like=True, frozen=True, tag="adoption-begun/1"):
    """Another system's votes are being written to the log; new votes must wait."""

    log_id: bytes
    """Identity of the log, 16 bytes."""
    issued_ms: int
    """Unix time in milliseconds."""


class AdoptionEnded(msgspec.Struct, array_like=True, frozen=True, tag="adoption-ended/1"):
    """The adoption is complete or abandoned: the intake resumes."""

    log_id: bytes
    """Identity of the log, 16 bytes."""
    issued_ms: int
    """Unix time in milliseconds."""


Notice = RollLoaded | IntakePaused | IntakeResumed | AdoptionBegun | AdoptionEnded
"""Record types of `votes.control`."""
