"""Which publications RabbitMQ has."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.adapters.rabbitmq.confirms import Confirms


def confirms(count: int) -> Confirms[int]:
    found: Confirms[int] = Confirms()
    for number in range(1, count + 1):
        found.expect(f"m{number}", number)
    return found


def test_confirms_answer_those_they_name() -> None:
    found = confirms(4)
    found.returned("m2")
    assert found.answered(2, multiple=True, taken=True) == [(1, True), (2, False)]
    assert found.answered(4, multiple=False, taken=False) == [(4, False)]
    assert (found.waiting, len(found)) == ([3], 1)
    assert found.answered(4, multiple=False, taken=True) == []


@given(st.lists(st.tuples(st.integers(1, 12), st.booleans(), st.booleans()), max_size=30))
def test_every_publication_is_answered_once(answers: list[tuple[int, bool, bool]]) -> None:
    found = confirms(12)
    settled = [item for answer in answers for item, _ in found.answered(*answer)]
    assert sorted([*settled, *found.waiting]) == list(range(1, 13))
