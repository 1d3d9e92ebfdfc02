"""Notices to the bridges, in the one partition of `votes.control`.

Every bridge reads all of them from the beginning, and again as they come. None changes a verdict by
itself: what does is a control record among the votes.
"""

from __future__ import annotations

import msgspec


class RollLoaded(msgspec.Struct, array_like=True, frozen=True, tag="roll-loaded/1"):
    """The roll in the log holds somebody: with `SCRUTIN_ROLL=table` the intake may begin."""

    log_id: bytes
    """Identity of the log that it is about, 16 bytes; bridges of another pass over it."""
    issued_ms: int
    """Unix time in milliseconds."""


class IntakePaused(msgspec.Struct, array_like=True, frozen=True, tag="intake-paused/1"):
    """A reset begins: no bridge takes deliveries until it is over."""

    log_id: bytes
    """Identity of the log, 16 bytes."""
    epoch: int
    """The epoch that will be opened."""
    until_ms: int
    """Unix time in milliseconds after which the reset has failed and the intake goes on."""


class IntakeResumed(msgspec.Struct, array_like=True, frozen=True, tag="intake-resumed/1"):
    """A reset is over: what is taken in from here on belongs to its epoch."""

    log_id: bytes
    """Identity of the log, 16 bytes."""
    epoch: int


class AdoptionBegun(msgspec.Struct, array_like=True, frozen=True, tag="adoption-begun/1"):
    """Another system's votes go into the log: no vote of ours before them."""

    log_id: bytes
    """Identity of the log, 16 bytes."""
    issued_ms: int
    """Unix time in milliseconds."""


class AdoptionEnded(msgspec.Struct, array_like=True, frozen=True, tag="adoption-ended/1"):
    """They are all in the log, or none will be: the intake goes on."""

    log_id: bytes
    """Identity of the log, 16 bytes."""
    issued_ms: int
    """Unix time in milliseconds."""


Notice = RollLoaded | IntakePaused | IntakeResumed | AdoptionBegun | AdoptionEnded
"""What `votes.control` holds."""
