"""The jobs of an election as a pure state machine: events in, new state and tasks out.

    plan ─▶ tally ─▶ total ─▶ partial of each guardian ─┬─────────────────────▶ combine ─▶ publish
                                                        └▶ compensated for the missing ┘

A lane of work opens once, when its prerequisites are complete: `lanes` has each key at most once.
Events that are repeated, late, or for finished units change nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from schemas.tally import (
    Cancel,
    Combine,
    Create,
    Decrypt,
    Done,
    Failed,
    JobState,
    Lane,
    LaneKey,
    Mode,
    Phase,
    Resume,
    Running,
    TallyEvent,
    TallyTask,
    Uploaded,
)
from streams.tally.codec import decode_state, encode

MAX_ATTEMPTS: Final = 3
"""Attempts after which a unit fails permanently; other units continue."""


@dataclass(frozen=True)
class Pace:
    """Limits for assigning work."""

    in_flight: int = 1
    """Units assigned at a time in each lane, so that elections take turns."""
    retry_ms: int = 1_000
    """Delay before a second attempt; doubled before the third."""
    timeout_ms: int = 300_000
    """A unit without an outcome for this long counts as failed."""


@dataclass
class JobStep:
    """The outcome of an event."""

    state: JobState | None
    tasks: list[TallyTask] = field(default_factory=list)
    changed: bool = False


def step(
    state: JobState | None, event: TallyEvent, *, offset: int, now_ms: int, pace: Pace
) -> JobStep:
    """Apply one event of `tally.events`.

    Args:
        state: of the event's election, which is not modified; None before the first command.
        offset: of the event; an event that is already applied changes nothing.
    """
    if state is not None and offset <= state.applied:
        return JobStep(state)
    state = None if state is None else _copy(state)
    if state is None:
        if not isinstance(event, Create | Decrypt | Combine):
            return JobStep(None)
        # A guardian's command may arrive before the request for the tally.
        state = JobState(event.election_id, [], 0, Mode.SINGLE, 0, "", now_ms, [])
    _apply(state, event, now_ms, pace)
    state.applied = offset
    tasks = _advance(state, now_ms, pace)
    state.version += 1
    return JobStep(state, tasks, changed=True)


def tick(state: JobState, *, now_ms: int, pace: Pace) -> JobStep:
    """Assign due units again: those whose delay is over, and those without an answer in time."""
    due = any(
        unit.at_ms <= now_ms for lane in state.lanes for unit in lane.waiting.values()
    ) or any(
        unit.at_ms + pace.timeout_ms <= now_ms
        for lane in state.lanes
        for unit in lane.running.values()
    )
    if not due or state.cancelled:
        return JobStep(state)
    state = _copy(state)
    for lane in state.lanes:
        for unit, running in list(lane.running.items()):
            if running.at_ms + pace.timeout_ms <= now_ms:
                _failed(lane, unit, running.attempt, "no answer in time", now_ms, pace=pace)
    tasks = _advance(state, now_ms, pace)
    state.version += 1
    return JobStep(state, tasks, changed=True)


def lane_of(state: JobState, key: LaneKey) -> Lane | None:
    """The lane with this key; None if it is not open."""
    return next((lane for lane in state.lanes if lane.key == key), None)


def _copy(state: JobState) -> JobState:
    return decode_state(encode(state))


def _create(state: JobState, event: Create, now_ms: int) -> None:
    if state.lanes:
        return
    state.guardians, state.quorum = list(event.guardians), event.quorum
    state.mode, state.chunk_size = event.mode, event.chunk_size
    state.created_by, state.created_ms = event.created_by, now_ms
    early, state.asked = state.asked, []
    for named in early:
        _ask(state, named)
    state.lanes.append(Lane(LaneKey(Phase.PLAN), 1))


def _ask(state: JobState, named: str) -> None:
    """Let a guardian take part. Before the tally is requested the guardians are unknown."""
    guardian = _guardian(state, named)
    possible = guardian in state.guardians if state.guardians else True
    if possible and guardian not in state.asked and not state.present:
        state.asked.append(guardian)


def _apply(state: JobState, event: TallyEvent, now_ms: int, pace: Pace) -> None:
    match event:
        case Done():
            _done(state, event)
        case Failed():
            lane = lane_of(state, event.lane)
            if lane is not None:
                _failed(lane, event.unit, event.attempt, event.error, now_ms, pace=pace)
        case Decrypt(guardian=named):
            _ask(state, named)
        case Uploaded():
            _uploaded(state, event.lane)
        case Combine():
            state.combining = True
        case Cancel():
            state.cancelled = True
        case Resume():
            state.cancelled = False
            for lane in state.lanes:
                for unit in lane.failed:
                    lane.waiting[unit] = Running(0, now_ms)
                lane.failed = {}
        case Create():
            _create(state, event, now_ms)


def _guardian(state: JobState, named: str) -> str:
    """A guardian by its name, or by its number as in older deployments."""
    if named not in state.guardians and named.isascii() and named.isdigit():
        number = int(named)
        if 1 <= number <= len(state.guardians):
            return state.guardians[number - 1]
    return named


def _done(state: JobState, event: Done) -> None:
    lane = lane_of(state, event.lane)
    if lane is None:
        return
    known = lane.running.pop(event.unit, None) or lane.waiting.pop(event.unit, None)
    if known is None and lane.failed.pop(event.unit, None) is None:
        return
    if event.lane.phase == Phase.PLAN:
        state.lanes.append(Lane(LaneKey(Phase.TALLY), event.chunks))
    if event.lane.phase == Phase.TOTAL:
        state.centers = event.centers


def _failed(lane: Lane, unit: int, attempt: int, error: str, now_ms: int, *, pace: Pace) -> None:
    running = lane.running.get(unit)
    if running is None or running.attempt != attempt:
        return
    del lane.running[unit]
    if attempt >= MAX_ATTEMPTS:
        lane.failed[unit] = error
    else:
        lane.waiting[unit] = Running(attempt, now_ms + pace.retry_ms * 2 ** (attempt - 1))


def _uploaded(state: JobState, key: LaneKey) -> None:
    """Shares computed elsewhere: the lane is complete, now or as soon as it opens."""
    if key.phase == Phase.PARTIAL:
        possible = not state.present and key.guardian in state.guardians
        if lane_of(state, key) is None and possible and _complete(state, Phase.TOTAL):
            state.lanes.append(Lane(key, state.centers, sealed=False))
    elif key not in state.uploaded and {key.guardian, key.missing} <= set(state.guardians):
        state.uploaded.append(key)
    lane = lane_of(state, key)
    if lane is not None and key.phase in {Phase.PARTIAL, Phase.COMPENSATED}:
        _finish(lane)


def _finish(lane: Lane) -> None:
    lane.given_out = lane.units
    lane.running, lane.waiting, lane.failed = {}, {}, {}


def _complete(state: JobState, phase: Phase) -> bool:
    lanes = [lane for lane in state.lanes if lane.key.phase == phase]
    return bool(lanes) and all(lane.complete for lane in lanes)


def _advance(state: JobState, now_ms: int, pace: Pace) -> list[TallyTask]:
    """Open lanes whose prerequisites are complete, and assign units up to the limit."""
    _open_lanes(state)
    tasks: list[TallyTask] = []
    if state.cancelled:
        return tasks
    for lane in state.lanes:
        if not lane.sealed:
            continue
        due = sorted(unit for unit, waiting in lane.waiting.items() if waiting.at_ms <= now_ms)
        while len(lane.running) < pace.in_flight and (due or lane.given_out < lane.units):
            if due:
                unit = due.pop(0)
                attempt = lane.waiting.pop(unit).attempt + 1
            else:
                unit, attempt = lane.given_out, 1
                lane.given_out += 1
            lane.running[unit] = Running(attempt, now_ms)
            tasks.append(_task(state, lane.key, unit, attempt))
    return tasks


def _task(state: JobState, key: LaneKey, unit: int, attempt: int) -> TallyTask:
    return TallyTask(
        state.election_id,
        key,
        unit,
        attempt,
        state.mode,
        state.chunk_size,
        list(state.present),
    )


def _open_lanes(state: JobState) -> None:
    def open_once(key: LaneKey, units: int, *, sealed: bool = True) -> None:
        if lane_of(state, key) is None:
            lane = Lane(key, units, sealed)
            state.lanes.append(lane)
            if key in state.uploaded:
                _finish(lane)

    if not _complete(state, Phase.TALLY):
        return
    open_once(LaneKey(Phase.TOTAL), 1)
    if not _complete(state, Phase.TOTAL):
        return
    for guardian in state.asked:
        open_once(LaneKey(Phase.PARTIAL, guardian), state.centers)
    _settle_guardians(state)
    if not state.present:
        return
    for guardian in state.present:
        for missing in state.guardians:
            if missing not in state.present:
                key = LaneKey(Phase.COMPENSATED, guardian, missing)
                open_once(key, state.centers, sealed=guardian in state.asked)
    compensated = [lane for lane in state.lanes if lane.key.phase == Phase.COMPENSATED]
    if all(lane.complete for lane in compensated):
        open_once(LaneKey(Phase.COMBINE), state.centers)
    if _complete(state, Phase.COMBINE):
        open_once(LaneKey(Phase.PUBLISH), 1)


def _settle_guardians(state: JobState) -> None:
    """Decide whose shares to decrypt with: all, or a quorum if no more are expected."""
    lanes = [lane for lane in state.lanes if lane.key.phase == Phase.PARTIAL]
    ready = [lane.key.guardian for lane in lanes if lane.complete]
    # Wait for guardians still working; treat those that failed permanently as missing.
    busy = any(not lane.complete and not lane.stuck for lane in lanes)
    everybody = len(ready) == len(state.guardians)
    enough = state.combining and len(ready) >= state.quorum and not busy
    if not state.present and (everybody or enough):
        state.present = [guardian for guardian in state.guardians if guardian in ready]
