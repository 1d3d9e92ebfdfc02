"""Records of the encrypted tally: what happened, what is to be done, how far a job is.

`tally.events` holds commands and outcomes by election, `tally.tasks` the work that follows from
them, and the changelog of the table `tally_jobs` the state of every election's jobs.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Phase(StrEnum):
    """What is done to an election, in this order."""

    PLAN = "plan"
    """Number the ballots, shuffle them, and spread them over chunks."""
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
    """Put the result together."""


class Mode(StrEnum):
    """What is decrypted."""

    SINGLE = "single"
    """The product of all chunks, once: nobody learns how a chunk voted."""
    CHUNKED = "chunked"
    """Each chunk, as older deployments do: a unanimous chunk tells how its voters voted."""


class LaneKey(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One line of work: a phase, where it has one its guardian, and whom that one stands in for."""

    phase: Phase
    guardian: str = ""
    missing: str = ""


class TallyTask(msgspec.Struct, array_like=True, frozen=True, tag="tally-task/1"):
    """One piece of work; doing it twice does it once."""

    election_id: str
    lane: LaneKey
    unit: int
    """Number of the chunk, or of the center that is decrypted."""
    attempt: int
    """From 1."""
    mode: Mode
    chunk_size: int
    present: list[str]
    """Guardians whose own shares are decrypted with."""


# Commands.


class Create(msgspec.Struct, array_like=True, frozen=True, tag="create/1"):
    """Tally an election whose ballots are in."""

    election_id: str
    guardians: list[str]
    """By their numbers."""
    quorum: int
    mode: Mode
    chunk_size: int
    created_by: str = ""


class Decrypt(msgspec.Struct, array_like=True, frozen=True, tag="decrypt/1"):
    """A guardian takes part: workers use its sealed secret."""

    election_id: str
    guardian: str


class Uploaded(msgspec.Struct, array_like=True, frozen=True, tag="uploaded/1"):
    """All shares of one line were made elsewhere and are in the database."""

    election_id: str
    lane: LaneKey


class Combine(msgspec.Struct, array_like=True, frozen=True, tag="combine/1"):
    """No more guardians are to come: stand in for those that are missing, then decrypt."""

    election_id: str


class Cancel(msgspec.Struct, array_like=True, frozen=True, tag="cancel/1"):
    """Give out no more work."""

    election_id: str


class Resume(msgspec.Struct, array_like=True, frozen=True, tag="resume/1"):
    """Go on after a cancel, and try again what failed."""

    election_id: str


# Outcomes.


class Done(msgspec.Struct, array_like=True, frozen=True, tag="done/1"):
    """A task's result is in the database."""

    election_id: str
    lane: LaneKey
    unit: int
    chunks: int = 0
    """Of a plan: how many chunks there are,"""
    centers: int = 0
    """of a total: how many products are to be decrypted."""


class Failed(msgspec.Struct, array_like=True, frozen=True, tag="failed/1"):
    """A task could not be done."""

    election_id: str
    lane: LaneKey
    unit: int
    attempt: int
    error: str


TallyEvent = Create | Decrypt | Uploaded | Combine | Cancel | Resume | Done | Failed


# State.


class Running(msgspec.Struct, array_like=True):
    """A unit that is given out, or waits to be given out again."""

    attempt: int
    at_ms: int
    """When it was given out, or not before when it will be."""


class Lane(msgspec.Struct, array_like=True):
    """How far one line of work is."""

    key: LaneKey
    units: int
    sealed: bool = True
    """Whether workers can do it; if not, shares are uploaded."""
    given_out: int = 0
    """Units below this were given out at least once."""
    running: dict[int, Running] = {}
    waiting: dict[int, Running] = {}
    """To be tried again."""
    failed: dict[int, str] = {}
    """Given up, with the error."""

    @property
    def done(self) -> int:
        """How many units are finished."""
        return self.given_out - len(self.running) - len(self.waiting) - len(self.failed)

    @property
    def complete(self) -> bool:
        """Whether all are."""
        return self.done == self.units

    @property
    def stuck(self) -> bool:
        """Whether some failed and nothing is under way."""
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
    """In the order they were opened."""
    centers: int = 0
    asked: list[str] = []
    """Guardians whose sealed secrets are to be used."""
    uploaded: list[LaneKey] = []
    """Lines whose shares were made elsewhere, whether or not they are open."""
    combining: bool = False
    present: list[str] = []
    """Guardians whose own shares are decrypted with, once that is settled."""
    cancelled: bool = False
    version: int = 0
    """Counts the changes."""
    applied: int = -1
    """Offset of the last event in it."""
