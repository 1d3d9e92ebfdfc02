"""Seats of party lists: against a list of all averages, by published examples, by properties."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.control import SeatMethod
from streams.core.seats import TRANSFERABLE
from streams.elections.seats.lists import ListSeats, allot

METHODS = [method for method in SeatMethod if method not in TRANSFERABLE]
votes_of = st.dictionaries(st.sampled_from("ABCDEF"), st.integers(0, 5000), min_size=1)


def shares(found: ListSeats) -> list[int]:
    return list(found.seats.values())


@given(votes_of, st.integers(1, 40), st.sampled_from(METHODS))
def test_every_seat_is_given_or_tied(votes: dict[str, int], seats: int, method: SeatMethod) -> None:
    found = allot(votes, seats, method)
    if not any(votes.values()):
        assert found.below == tuple(votes)
        return
    assert sum(found.seats.values()) == len(found.awards) == seats - found.tied_seats
    assert bool(found.tied) == bool(found.tied_seats)
    assert found.tied_seats < max(1, len(found.tied))
    ranked = sorted((p for p in votes if p not in found.tied), key=lambda p: votes[p])
    given_seats = [found.seats[party] for party in ranked]
    assert given_seats == sorted(given_seats) or method == SeatMethod.HARE


@given(votes_of, st.integers(1, 12), st.sampled_from(["dhondt", "sainte_lague"]))
def test_averages_are_the_highest_of_all(votes: dict[str, int], seats: int, name: str) -> None:
    step = 1 if name == "dhondt" else 2
    every = sorted(
        (
            Fraction(number, 1 + step * k)
            for number in votes.values()
            if number
            for k in range(seats)
        ),
        reverse=True,
    )
    found = allot(votes, seats, SeatMethod(name))
    assert [award.by for award in found.awards] == every[: len(found.awards)]
    if found.tied:
        assert every[seats - 1] == every[seats] == every[len(found.awards)]


@given(votes_of, st.integers(1, 40))
def test_hare_gives_the_whole_quotas_or_one_more(votes: dict[str, int], seats: int) -> None:
    found = allot(votes, seats, SeatMethod.HARE)
    for party, number in votes.items():
        if total := sum(votes.values()):
            assert found.seats[party] - number * seats // total in (0, 1)


def test_published_examples() -> None:
    four = {"A": 100000, "B": 80000, "C": 30000, "D": 20000}
    assert shares(allot(four, 8, SeatMethod.DHONDT)) == [4, 3, 1, 0]
    assert shares(allot(four, 8, SeatMethod.SAINTE_LAGUE)) == [3, 3, 1, 1]
    six = {"A": 47000, "B": 16000, "C": 15800, "D": 12000, "E": 6100, "F": 3100}
    assert shares(allot(six, 10, SeatMethod.HARE)) == [5, 2, 1, 1, 1, 0]
    assert shares(allot(six, 10, SeatMethod.DHONDT)) == [5, 2, 2, 1, 0, 0]
    assert shares(allot(six, 10, SeatMethod.SAINTE_LAGUE)) == [4, 2, 2, 1, 1, 0]


def test_a_tie_for_the_last_seat_is_told_and_not_broken() -> None:
    found = allot({"A": 20, "B": 10, "C": 5}, 2, SeatMethod.DHONDT)
    assert (found.seats, found.tied, found.tied_seats) == (
        {"A": 1, "B": 0, "C": 0},
        ("A", "B"),
        1,
    )
    hare = allot({"A": 5, "B": 5, "C": 2}, 3, SeatMethod.HARE)
    assert (hare.seats, hare.tied) == ({"A": 1, "B": 1, "C": 1}, ())
    tied = allot({"A": 3, "B": 3}, 3, SeatMethod.HARE)
    assert (tied.seats, tied.tied, tied.tied_seats) == ({"A": 1, "B": 1}, ("A", "B"), 1)


def test_thresholds_are_exact_and_spare_the_exempt() -> None:
    votes = {"A": 90, "B": 5, "C": 4, "M": 1}
    found = allot(votes, 20, SeatMethod.DHONDT, threshold=Fraction(5, 100), exempt=frozenset("M"))
    assert found.below == ("C",)
    assert (found.seats["B"], found.seats["C"]) == (1, 0)
    assert shares(allot(votes, 20, SeatMethod.DHONDT, threshold=Fraction(51, 1000))) == [
        20,
        0,
        0,
        0,
    ]


def test_the_first_divisor_keeps_small_parties_out() -> None:
    votes = {"A": 53, "B": 24, "C": 23}
    assert shares(allot(votes, 3, SeatMethod.SAINTE_LAGUE)) == [1, 1, 1]
    assert shares(allot(votes, 3, SeatMethod.MODIFIED_SAINTE_LAGUE)) == [2, 1, 0]


@pytest.mark.parametrize(
    ("votes", "seats", "threshold"), [({"A": 1}, 0, 0), ({"A": -1}, 1, 0), ({"A": 1}, 1, 2)]
)
def test_impossible_numbers_are_refused(votes: dict[str, int], seats: int, threshold: int) -> None:
    with pytest.raises(ValueError, match="at least"):
        allot(votes, seats, SeatMethod.HARE, threshold=Fraction(threshold))
