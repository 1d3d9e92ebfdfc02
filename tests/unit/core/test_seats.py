"""Several seats in a contest: what is possible, what is fixed, and who can read the record."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from schemas.codec import decode_input, encode
from schemas.control import (
    Conduct,
    ConductedContest,
    ContestMethod,
    ContestState,
    RankedRules,
    SeatRules,
    changes_of,
)
from streams.core.contests import ContestRefused, draft, is_sound, may_become
from streams.core.seats import seats_of

STV = SeatRules("stv_scottish", {"10": 3, "20": 4})
LISTS = SeatRules("dhondt", 5, "1/20", lists={"1": "7"})


def contest(conduct: Conduct, *, ranked: bool, **more: Any) -> ConductedContest:
    found = draft(
        "election:1",
        choices=["1", "2"],
        method=ContestMethod.RANKED if ranked else ContestMethod.SINGLE,
        regions=["10", "20"],
        conduct=conduct,
        **more,
    )
    assert isinstance(found, ConductedContest)
    return found


def test_seats_of_a_region_and_of_the_whole_country() -> None:
    assert [seats_of(Conduct(seats=STV), region) for region in ("10", "20")] == [3, 4]
    assert seats_of(Conduct(seats=LISTS), None) == 5
    assert seats_of(Conduct(), "10") == 1


@pytest.mark.parametrize(
    ("seats", "ranked", "more", "why"),
    [
        (SeatRules("stv", 2), True, {}, "count_by is 'stv'"),
        (SeatRules("hare", 2), True, {}, "hare is for single choices"),
        (SeatRules("stv_meek", 2), False, {}, "stv_meek is for rankings"),
        (SeatRules("stv_meek", 0), True, {}, "from 1 to 999"),
        (SeatRules("stv_meek", {}), True, {}, "from 1 to 999"),
        (SeatRules("stv_meek", {"10": 2}), True, {}, "each region"),
        (SeatRules("stv_meek", 2, "1/20"), True, {}, "for party lists"),
        (SeatRules("stv_meek", 2), True, {"winner_quorum": "1/2"}, "for one seat"),
        (SeatRules("stv_meek", 2), True, {"withdrawn_votes": "cannot_be_elected"}, "next_pref"),
        (SeatRules("hare", 2, "5%"), False, {}, "threshold is '5%'"),
        (SeatRules("hare", 2, first_divisor="1.4"), False, {}, "first_divisor is '1.4'"),
        (SeatRules("hare", 2, list_order="age"), False, {}, "list_order is 'age'"),
        (SeatRules("hare", 2, lists={"3": "7"}), False, {}, "does not stand"),
        (SeatRules("hare", 2), False, {"lots_by_hand": True}, "lots_by_hand"),
        (SeatRules("hare", 2), False, {"undeclared_write_in": "1"}, "for one seat"),
    ],
)
def test_what_cannot_be_counted_is_refused(
    seats: SeatRules, ranked: bool, more: dict[str, Any], why: str
) -> None:
    conduct = Conduct(seats=seats, **more)
    with pytest.raises(ContestRefused, match=why):
        contest(conduct, ranked=ranked)
    method = ContestMethod.RANKED if ranked else ContestMethod.SINGLE
    good = contest(Conduct(hidden=True), ranked=ranked)
    assert is_sound(good)
    assert good.method == method
    assert not is_sound(msgspec.structs.replace(good, conduct=conduct)), "a forged record"


def test_rules_of_one_seat_are_refused_for_several() -> None:
    for rules in (RankedRules(max_rounds=2), RankedRules(tie_break="lot")):
        with pytest.raises(ContestRefused, match="for one seat"):
            contest(Conduct(seats=SeatRules("stv_meek", 2)), ranked=True, rules=rules)
    marks = RankedRules(max_ranks=3, lot_seed="s")
    assert contest(Conduct(seats=STV), ranked=True, rules=marks).rules == marks


def test_seats_do_not_change_once_it_is_open() -> None:
    was = contest(Conduct(seats=LISTS), ranked=False)
    other = msgspec.structs.replace(LISTS, lists={"1": "8"})
    now = msgspec.structs.replace(was, conduct=Conduct(seats=other))
    assert may_become(was, now)
    was = msgspec.structs.replace(was, state=ContestState.OPEN)
    assert may_become(was, was)
    assert not may_become(was, msgspec.structs.replace(now, state=ContestState.OPEN))


def test_the_record_comes_back_and_readers_of_before_stop() -> None:
    changed = changes_of(7, b"c" * 16, 1, enforced=True, contests=[contest(_BOTH, ranked=False)])
    assert decode_input(encode(changed)) == changed
    fields = [
        (name, kind, default)
        for name, kind, default in _fields_of(Conduct)
        if name not in {"seats", "lots", "withdrawn"}
    ]
    before = msgspec.defstruct("ConductBefore", fields, forbid_unknown_fields=True)
    body = msgspec.json.encode(_BOTH)
    with pytest.raises(msgspec.ValidationError, match="unknown field `seats`"):
        msgspec.json.decode(body, type=before)


_BOTH = Conduct(hidden=True, seats=LISTS)


def _fields_of(struct: type[msgspec.Struct]) -> list[tuple[str, Any, Any]]:
    return [(one.name, one.type, one.default) for one in msgspec.structs.fields(struct)]
