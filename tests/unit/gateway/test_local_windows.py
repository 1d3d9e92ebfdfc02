"""The moving windows of one process: exact, and bounded in memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.gateway.local_windows import LocalWindow, Room

PERIOD_S = 10.0


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 4)), max_size=60),
    st.integers(1, 5),
)
def test_no_window_holds_more_than_the_limit(requests: list[tuple[str, float]], most: int) -> None:
    window = LocalWindow(most, PERIOD_S)
    passed: dict[str, list[float]] = {"a": [], "b": []}
    now_s = 0.0
    for who, pause_s in requests:
        now_s += pause_s
        recent = [at_s for at_s in passed[who] if at_s > now_s - PERIOD_S]
        assert window.room(who, now_s).remaining == most - len(recent)
        assert window.hit(who, now_s) == (len(recent) < most)
        if len(recent) < most:
            passed[who].append(now_s)
    assert len(window) <= sum(map(len, passed.values()))


def test_what_is_left_and_when_there_is_more() -> None:
    window = LocalWindow(2, PERIOD_S)
    assert window.room("a", 0.0) == Room(2, 0.0)
    assert window.hit("a", 0.0)
    assert window.hit("a", 3.0)
    assert not window.hit("a", 4.0)
    assert window.room("a", 4.0) == Room(0, 6.0)
    assert window.room("a", 10.0) == Room(1, 3.0)
    assert window.hit("a", 10.0)
    assert window.room("b", 10.0) == Room(2, 0.0)


def test_many_clients_take_no_more_memory_and_the_least_recent_is_forgotten() -> None:
    window = LocalWindow(2, PERIOD_S, max_requests=100)
    for n in range(40):
        assert window.hit("persistent", 0.0) == (n < 2)
        assert window.hit(f"client {n}", 0.0)
    assert len(window) == 42
    for n in range(5000):
        assert window.hit(f"other {n}", 1.0)
        assert len(window) <= 100
    assert window.room("other 4999", 1.0).remaining == 1
    assert window.room("client 39", 1.0).remaining == 2


def test_a_client_that_left_takes_no_memory() -> None:
    window = LocalWindow(5, PERIOD_S)
    for n in range(5):
        assert window.hit("a", float(n))
    assert window.room("a", 100.0) == Room(5, 0.0)
    assert len(window) == 0
