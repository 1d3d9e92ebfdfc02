"""Operators' keys, and their sessions."""

from __future__ import annotations

import pytest

from streams.console.keys import Operators, new_entry
from streams.console.sessions import IDLE_S, LONGEST_S, MAX_SESSIONS, Sessions
from streams.errors import SettingsError


def test_a_key_admits_its_operator_alone() -> None:
    operators = Operators.read([new_entry("ann", "her key"), new_entry("bob", "his key")])
    assert operators.admits("ann", "her key")
    assert not operators.admits("ann", "his key")
    assert not operators.admits("bob", "her key")
    assert not operators.admits("eve", "her key")
    assert not operators.admits("ann", "")
    assert not operators.admits("ann", "\ud800")


def test_the_entry_holds_no_key() -> None:
    assert "her key" not in new_entry("ann", "her key")
    assert new_entry("ann", "her key") != new_entry("ann", "her key")


@pytest.mark.parametrize("entry", ["ann", "ann=12:34", "a b=" + "0" * 32 + ":" + "0" * 64])
def test_an_entry_of_another_form_is_refused(entry: str) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        Operators.read([entry])


def test_a_name_is_there_once() -> None:
    with pytest.raises(SettingsError, match="twice"):
        Operators.read([new_entry("ann", "1"), new_entry("ann", "2")])


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_session_lives_while_it_is_used_and_not_longer_than_a_shift() -> None:
    clock = Clock()
    sessions = Sessions(clock)
    token = sessions.begin("ann")
    while clock.now_s + IDLE_S <= LONGEST_S:
        clock.now_s += IDLE_S
        found = sessions.find(token)
        assert found is not None
        assert found.actor == "console:ann"
    clock.now_s += 1
    clock.now_s = LONGEST_S + 1
    assert sessions.find(token) is None


def test_a_session_ends_when_idle_or_logged_out() -> None:
    clock = Clock()
    sessions = Sessions(clock)
    idle, left = sessions.begin("ann"), sessions.begin("bob")
    sessions.end(left)
    assert sessions.find(left) is None
    assert sessions.find(None) is None
    clock.now_s = IDLE_S + 1
    assert sessions.find(idle) is None


def test_a_form_of_another_session_is_not_taken() -> None:
    sessions = Sessions()
    first, second = sessions.find(sessions.begin("ann")), sessions.find(sessions.begin("bob"))
    assert first is not None
    assert second is not None
    assert first.sent_by_its_page(first.csrf)
    assert not first.sent_by_its_page(second.csrf)
    assert not first.sent_by_its_page("")


def test_many_sessions_end_the_oldest() -> None:
    sessions = Sessions()
    tokens = [sessions.begin("ann") for _ in range(MAX_SESSIONS + 1)]
    assert sessions.find(tokens[0]) is None
    assert sessions.find(tokens[1]) is not None
