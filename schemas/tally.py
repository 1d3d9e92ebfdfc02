"""Records of the encrypted tally: events, tasks and job states.

`tally.events` holds commands and outcomes by election, `tally.tasks` the resulting work, and the
changelog of the table `tally_jobs` the state of each election's jobs.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Phase(StrEnum):
    """Phases of an election's tally, in order."""

    PLAN = "plan"
    """Number the ballots, shuffle them, and distribute them to chunks."""
    TALLY = "tally"
    """Multiply a chunk's ballots."""
    TOTAL = "total"
    """Multiply the chunks, and gather spoiled ballots."""
    PARTIAL = "partial"
    """A guardian's shares."""
    COMPENSATED = "compensated"
    """A guardian's shares for a missing one."""
    COMBINE = "combine"
    """Check all shares and decrypt."""
    PUBLISH = "publish"
    """Assemble the result."""


class Mode(StrEnum):
    """What is decrypted."""

    SINGLE = "single"
    """The product of all chunks, once: the votes of a chunk stay secret."""
    CHUNKED = "chunked"
    """Each chunk, as older deployments do: a unanimous chunk reveals how its voters voted."""


class LaneKey(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One line of work: a phase, its guardian if any, and the missing guardian compensated for."""

    phase: Phase
    guardian: str = ""
    missing: str = ""


class TallyTask(msgspec.Struct, array_like=True, frozen=True, tag="tally-task/1"):
    """One unit of work; idempotent."""

    election_id: str
    lane: LaneKey
    unit: int
    """Number of the chunk, or of the product to decrypt."""
    attempt: int
    """From 1."""
    mode: Mode
    chunk_size: int
    present: list[str]
    """Guardians whose own shares are used to decrypt."""


# Commands.


class Create(msgspec.Struct, array_like=True, frozen=True, tag="create/1"):
    """Tally an election whose ballots are all in the database."""

    election_id: str
    guardians: list[str]
    """Ordered by number."""
    quorum: int
    mode: Mode
    chunk_size: int
    created_by: str = ""


class Decrypt(msgspec.Struct, array_like=True, frozen=True, tag="decrypt/1"):
    """A guardian takes part: workers use its sealed secret."""

    election_id: str
    guardian: str


class Uploaded(msgspec.Struct, array_like=True, frozen=True, tag="uploaded/1"):
    """All shares of one line were computed elsewhere and are in the database."""

    election_id: str
    lane: LaneKey


class Combine(msgspec.Struct, array_like=True, frozen=True, tag="combine/1"):
    """No more guardians will take part: compensate for the missing ones, then decrypt."""

    election_id: str


class Cancel(msgspec.Struct, array_like=True, frozen=True, tag="cancel/1"):
    """Assign no more work."""

    election_id: str


class Resume(msgspec.Struct, array_like=True, frozen=True, tag="resume/1"):
    """Resume after a cancel, and retry failed units."""

    election_id: str


# Outcomes.


class Done(msgspec.Struct, array_like=True, frozen=True, tag="done/1"):
    """A task's result is in the database."""

    election_id: str
    lane: LaneKey
    unit: int
    chunks: int = 0
    """For a plan: the number of chunks."""
    centers: int = 0
    """For a total: the number of products to decrypt."""


class Failed(msgspec.Struct, array_like=True, frozen=True, tag="failed/1"):
    """A task failed."""

    election_id: str
    lane: LaneKey
    unit: int
    attempt: int
    error: str


TallyEvent = Create | Decrypt | Uploaded | Combine | Cancel | Resume | Done | Failed


# State.


class Running(msgspec.Struct, array_like=True):
    """A unit that is assigned or waits to be assigned again."""

    attempt: int
    at_ms: int
    """When it was assigned, or the earliest time of the next assignment."""


class Lane(msgspec.Struct, array_like=True):
    """Progress of one line of work."""

    key: LaneKey
    units: int
    sealed: bool = True
    """Whether workers can do it; otherwise shares are uploaded."""
    given_out: int = 0
    """Units below this number were assigned at least once."""
    running: dict[int, Running] = {}
    waiting: dict[int, Running] = {}
    """Units to retry."""
    failed: dict[int, str] = {}
    """Permanently failed units, with the error."""

    @property
    def done(self) -> int:
        """Number of finished units."""
        return self.given_out - len(self.running) - len(self.waiting) - len(self.failed)

    @property
    def complete(self) -> bool:
        """Whether all units are finished."""
        return self.done == self.units

    @property
    def stuck(self) -> bool:
        """Whether some units failed and none is running or waiting."""
        return bool(self.failed) and not self.running and not self.waiting


class JobState(msgspec.Struct, array_like=True, tag="tally-job/1"):
    """All jobs of one election."""

    election_id: str
    guardians: list[str]
    quorum: int
    mode: Mode
    chunk_size: int
    created_by: str
    created_ms: int
    lanes: list[Lane]
    """In the order in which they were opened."""
    centers: int = 0
    asked: list[str] = []
    """Guardians whose sealed secrets workers use."""
    uploaded: list[LaneKey] = []
    """Lines whose shares were computed elsewhere, open or not yet open."""
    combining: bool = False
    present: list[str] = []
    """Guardians whose own shares are used to decrypt, once determined."""
    cancelled: bool = False
    version: int = 0
    """Counts the changes."""
    applied: int = -1
    """Offset of the last applied event."""
