"""What a command is in the trail of operators' actions."""

from __future__ import annotations

import os
import pwd

from schemas.control import ContestState, EpochOpened
from streams.control.trail import actions_of, user_of_host
from tests.strategies import contests_changed, make_contest


def test_each_contest_of_a_command_has_a_row() -> None:
    closed = make_contest("C-1", state=ContestState.CLOSED)
    opened = make_contest("C-2", state=ContestState.OPEN)
    command = contests_changed(5, closed, opened)
    assert actions_of(command) == [("contest closed", "C-1"), ("contest open", "C-2")]


def test_a_reset_has_one_row() -> None:
    assert actions_of(EpochOpened(1, b"c" * 16, 1, 2)) == [("reset", "")]


def test_a_command_on_a_host_names_its_user() -> None:
    assert user_of_host().startswith(f"cli:{pwd.getpwuid(os.getuid()).pw_name}@")
