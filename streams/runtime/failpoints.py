"""Failpoints: places between two writes at which a test can stop or kill this process.

For tests only. `SCRUTIN_TEST_FAILPOINTS` is a comma-separated list of points and actions:

    after_changelog:kill@7          SIGKILL to this process at the seventh passage
    before_commit:delay=2.5         the whole process blocks for 2.5 s at the first
    after_confirm:stop@3            SIGSTOP to this process; another one sends SIGCONT

Each action happens once per process. Without the setting :func:`at` does nothing; it is called once
per batch, not per vote. Settings that turn a point on are refused unless
`SCRUTIN_TEST_DEPLOYMENT` marks the deployment as a test.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import structlog

from streams.errors import ExitCode, SettingsError

log = structlog.get_logger(__name__)

VARIABLE: Final = "SCRUTIN_TEST_FAILPOINTS"
_FORM: Final = re.compile(
    r"(?P<point>\w+):(?P<action>\w+)(=(?P<seconds>\d+(\.\d+)?))?(@(?P<passage>\d+))?"
)


class Point(StrEnum):
    """Places of failpoints."""

    AFTER_KAFKA_ACK = "after_kafka_ack"
    """Bridge: Kafka has a record; its deliveries are not acknowledged yet."""
    AFTER_CHANGELOG = "after_changelog"
    """Validation: the changelog has a batch; its verdicts are not written yet."""
    AFTER_VERDICT = "after_verdict"
    """Validation: the verdicts are written; the input is not acknowledged yet."""
    BEFORE_COMMIT = "before_commit"
    """Sink: everything is written; COMMIT is not sent yet."""
    AFTER_COMMIT = "after_commit"
    """Sink: the transaction is committed; the verdicts are not acknowledged yet."""
    AFTER_CONFIRM = "after_confirm"
    """Egress: RabbitMQ confirmed the messages; Kafka has no commit yet."""
    AFTER_ADOPTED = "after_adopted"
    """Adoption: Kafka has a chunk of adopted votes; the progress is not stored yet."""


class Action(StrEnum):
    """What happens at a point."""

    KILL = "kill"
    """SIGKILL to this process."""
    EXIT = "exit"
    """End at once with exit code `FAILED`, without clean-up."""
    STOP = "stop"
    """SIGSTOP to this process; it continues after a SIGCONT."""
    RAISE = "raise"
    """Raise :class:`FailpointReached`."""
    DELAY = "delay"
    """Block the process, including its event loop."""


class FailpointReached(Exception):
    """Raised at a failpoint, in place of an unexpected error."""


@dataclass(frozen=True)
class Failpoint:
    """One entry of the setting."""

    point: Point
    action: Action
    passage: int = 1
    """Passage of the point since the process started; the first is 1."""
    seconds: float = 0.0
    """Duration of a delay."""


def parse(text: str) -> list[Failpoint]:
    """Read the setting's value.

    Raises:
        SettingsError: names the invalid entry and the valid form.
    """
    return [_parse_one(entry.strip()) for entry in text.split(",") if entry.strip()]


def _parse_one(entry: str) -> Failpoint:
    match = _FORM.fullmatch(entry)
    if match is None:
        raise _refused(entry, "Write POINT:ACTION@PASSAGE, e.g. after_changelog:kill@7")
    point, action, seconds = match["point"], match["action"], match["seconds"]
    passage = int(match["passage"] or 1)
    if point not in set(Point):
        raise _refused(entry, f"There is no such point; choose from {', '.join(Point)}")
    if action not in set(Action):
        raise _refused(entry, f"There is no such action; choose from {', '.join(Action)}")
    if (action == Action.DELAY) != (seconds is not None):
        raise _refused(entry, "A delay, and nothing else, takes seconds: delay=2.5")
    if passage < 1:
        raise _refused(entry, "Passages count from 1")
    return Failpoint(Point(point), Action(action), passage, float(seconds or 0))


def _refused(entry: str, todo: str) -> SettingsError:
    return SettingsError(f"{entry!r} is not a failpoint", where={"variable": VARIABLE}, todo=todo)


def _off(point: Point) -> None:
    del point


at: Callable[[Point], None] = _off
"""Pass a point. Call it through the module, because :func:`arm` rebinds it."""


def arm(failpoints: Sequence[Failpoint]) -> None:
    """Turn points on for the rest of the process, or all off; entry points call it once.

    Args:
        failpoints: from :func:`parse`.
    """
    global at  # noqa: PLW0603 - so that a point that is off costs one empty call
    if not failpoints:
        at = _off
        return
    log.critical(
        "failpoints are on: this process fails on purpose",
        failpoints=[f"{f.point}:{f.action}@{f.passage}" for f in failpoints],
    )
    passages: Counter[Point] = Counter()

    def on(point: Point) -> None:
        passages[point] += 1
        for failpoint in failpoints:
            if failpoint.point is point and failpoint.passage == passages[point]:
                _strike(failpoint)

    at = on


def _strike(failpoint: Failpoint) -> None:
    log.critical("failpoint", point=str(failpoint.point), action=str(failpoint.action))
    match failpoint.action:
        case Action.KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        case Action.EXIT:
            os._exit(ExitCode.FAILED)
        case Action.STOP:
            os.kill(os.getpid(), signal.SIGSTOP)
        case Action.RAISE:
            raise FailpointReached(failpoint.point)
        case Action.DELAY:
            time.sleep(failpoint.seconds)
