"""Failpoints: what the setting may say, who may set it, and what happens at a point."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from streams.errors import ExitCode, SettingsError
from streams.inspect import check_host
from streams.inspect.checks import CheckStatus
from streams.runtime import failpoints
from streams.runtime.failpoints import Action, Failpoint, FailpointReached, Point, parse
from streams.settings.build import doctor_config
from streams.settings.load import load_settings

MARKED = {"SCRUTIN_TEST_DEPLOYMENT": "true"}


@pytest.fixture(autouse=True)
def _off_again() -> Iterator[None]:
    yield
    failpoints.arm([])


def test_every_part_of_an_entry() -> None:
    assert parse(" after_changelog:kill@7, before_commit:delay=2.5 ,after_confirm:stop@3,") == [
        Failpoint(Point.AFTER_CHANGELOG, Action.KILL, 7),
        Failpoint(Point.BEFORE_COMMIT, Action.DELAY, 1, 2.5),
        Failpoint(Point.AFTER_CONFIRM, Action.STOP, 3),
    ]
    assert parse("") == []


@pytest.mark.parametrize(
    ("entry", "hint"),
    [
        ("after_lunch:kill", "after_kafka_ack"),
        ("after_commit:explode", "kill, exit"),
        ("after_commit", "POINT:ACTION"),
        ("after_commit:kill@x", "POINT:ACTION"),
        ("after_commit:kill@0", "from 1"),
        ("after_commit:delay", "delay=2.5"),
        ("after_commit:kill=3", "delay=2.5"),
    ],
)
def test_what_is_wrong_with_an_entry_is_said(entry: str, hint: str) -> None:
    with pytest.raises(SettingsError, match="SCRUTIN_TEST_FAILPOINTS") as caught:
        load_settings({**MARKED, "SCRUTIN_TEST_FAILPOINTS": entry})
    assert repr(entry) in str(caught.value)
    assert hint in str(caught.value)


def test_only_a_test_may_turn_them_on() -> None:
    given = {"SCRUTIN_TEST_FAILPOINTS": "after_commit:kill"}
    with pytest.raises(SettingsError, match="SCRUTIN_TEST_DEPLOYMENT"):
        load_settings(given)
    assert load_settings({**MARKED, **given}).test_failpoints == "after_commit:kill"


def test_a_point_strikes_once_at_its_passage() -> None:
    failpoints.arm(parse("after_commit:raise@2"))
    failpoints.at(Point.AFTER_COMMIT)
    failpoints.at(Point.BEFORE_COMMIT)
    with pytest.raises(FailpointReached, match="after_commit"):
        failpoints.at(Point.AFTER_COMMIT)
    failpoints.at(Point.AFTER_COMMIT)


def test_off_is_an_empty_call() -> None:
    before = failpoints.at
    failpoints.arm(parse("after_commit:raise"))
    failpoints.arm([])
    assert failpoints.at is before
    failpoints.at(Point.AFTER_COMMIT)


def run(action: str) -> subprocess.Popen[bytes]:
    code = (
        "from streams.runtime import failpoints\n"
        f"failpoints.arm(failpoints.parse('after_verdict:{action}@2'))\n"
        "for _ in range(2): failpoints.at(failpoints.Point.AFTER_VERDICT)\n"
        "print('went on')"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


@pytest.mark.parametrize(
    ("action", "returncode", "goes_on"),
    [
        ("kill", -signal.SIGKILL, False),
        ("exit", ExitCode.FAILED, False),
        ("raise", 1, False),
        ("delay=0.01", 0, True),
    ],
)
def test_what_happens_to_a_process(action: str, returncode: int, goes_on: bool) -> None:
    process = run(action)
    output, _ = process.communicate(timeout=100)
    assert process.returncode == returncode
    assert (b"went on" in output) == goes_on
    assert b"fails on purpose" in output


def test_a_stopped_process_goes_on_when_it_is_told() -> None:
    process = run("stop")
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    process.send_signal(signal.SIGCONT)
    output, _ = process.communicate(timeout=100)
    assert b"went on" in output


def test_doctor_tells() -> None:
    def found(**env: str) -> list[CheckStatus]:
        config = doctor_config(load_settings(env))
        return [check.status for check in check_host.evaluate_marks(config)]

    armed = {**MARKED, "SCRUTIN_TEST_FAILPOINTS": "after_commit:kill"}
    assert found(**armed) == [CheckStatus.FAILURE]
    assert found(**MARKED) == [CheckStatus.WARNING]
    assert found() == []
