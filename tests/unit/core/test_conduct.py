"""Settings of how an election is held, and facts that become known after its opening."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from schemas.codec import decode_voted, encode
from schemas.control import Conduct, Contest, ContestState, Lot, RankedRules, Withdrawal
from schemas.voted import ControlRecord
from streams.core.conduct import (
    ConductRefused,
    commit_seed,
    commitment_to,
    conduct_of,
    draw_lot,
    enter_eligible,
    reaches,
    reveal_seed,
    share_of,
    withdraw,
)
from streams.core.contests import ContestRefused, close_now, create, draft, reset_to_drafts
from streams.core.voted_partition import VotedPartition
from tests.strategies import LOG_ID, contests_changed, make_contest
from tests.unit.core.test_election_rules import ballot
from tests.unit.core.test_rules import last

SEED = "drawn in public on the market square"
NAMES = ["7", "8", "42"]


def election(state: str = ContestState.OPEN, **settings: object) -> Contest:
    return make_contest(
        "election:1",
        state,
        choices=NAMES,
        ranked=True,
        rules=RankedRules(),
        conduct=Conduct(**settings),  # type: ignore[arg-type]
    )


def after(*contests: Contest) -> Contest:
    """What the log says after these commands."""
    table = VotedPartition(0)
    for number, contest in enumerate(contests, 1):
        record = decode_voted(encode(ControlRecord(LOG_ID, contests_changed(number, contest))))
        table.apply(number - 1, record)
    return table.rules.contests["election:1"]


def closed(contest: Contest) -> Contest:
    [over] = close_now({contest.id: contest}, contest.id)
    return over


def test_a_candidate_withdraws_while_the_election_is_open() -> None:
    plain = make_contest("election:1", choices=NAMES)
    gone = withdraw(plain, "7", "dead")
    assert after(plain, gone) == gone
    assert conduct_of(gone).withdrawn == (Withdrawal("7", "dead"),)
    assert withdraw(gone, "7", "again") == gone
    assert conduct_of(after(plain, gone, closed(gone))).withdrawn
    with pytest.raises(ConductRefused, match="does not stand"):
        withdraw(plain, "9", "dead")
    for state in (ContestState.DRAFT, ContestState.CLOSED):
        with pytest.raises(ConductRefused, match=f"It is {state}"):
            withdraw(election(state), "7", "dead")


def test_a_seed_is_committed_to_before_the_closing_and_revealed_after_it() -> None:
    committed = commit_seed(election(), commitment_to(SEED))
    with pytest.raises(ConductRefused, match="It is open"):
        reveal_seed(committed, SEED)
    over = closed(committed)
    with pytest.raises(ConductRefused, match="not the one"):
        reveal_seed(over, SEED + "!")
    with pytest.raises(ConductRefused, match="It is closed"):
        commit_seed(closed(election()), commitment_to(SEED))
    with pytest.raises(ConductRefused, match="Another"):
        commit_seed(committed, commitment_to("another seed that was drawn"))
    revealed = reveal_seed(over, SEED)
    assert after(election(), committed, over, revealed) == revealed
    assert reveal_seed(revealed, SEED) == revealed


def test_lots_are_drawn_once_after_the_closing_and_between_candidates() -> None:
    over = closed(election(lots_by_hand=True))
    drawn = draw_lot(over, ["8", "7"], "8", elects=False)
    assert conduct_of(drawn).lots == (Lot(("7", "8"), "8"),)
    assert draw_lot(drawn, ["7", "8"], "8", elects=False) == drawn
    assert after(over, drawn) == drawn
    for tied, name in ((["7"], "7"), (["7", "8"], "42"), (["7", "9"], "7")):
        with pytest.raises(ConductRefused, match="not between"):
            draw_lot(over, tied, name, elects=False)
    with pytest.raises(ConductRefused, match="twice"):
        draw_lot(drawn, ["7", "8"], "7", elects=False)
    with pytest.raises(ConductRefused, match="It is open"):
        draw_lot(election(lots_by_hand=True), ["7", "8"], "7", elects=False)
    with pytest.raises(ConductRefused, match="not drawn by hand"):
        draw_lot(closed(election()), ["7", "8"], "7", elects=False)


def changed(contest: Contest, **fields: object) -> Contest:
    conduct = msgspec.structs.replace(conduct_of(contest), **fields)
    return msgspec.structs.replace(contest, conduct=conduct)


OPEN = election(
    withdrawn=(Withdrawal("7", "dead"),), seed_commitment=commitment_to(SEED), eligible=9
)
OVER = closed(changed(OPEN, lots_by_hand=True))


@pytest.mark.parametrize(
    ("known", "forged"),
    [
        (OPEN, changed(OPEN, hidden=True)),
        (OPEN, changed(OPEN, turnout_quorum="1/2")),
        (OPEN, changed(OPEN, withdrawn=())),
        (OPEN, changed(OPEN, withdrawn=(Withdrawal("8", "dead"),))),
        (OPEN, changed(OPEN, withdrawn=(Withdrawal("7", "dead"), Withdrawal("9", "dead")))),
        (OPEN, changed(OPEN, seed_commitment=commitment_to("x"))),
        (OPEN, changed(OPEN, seed=SEED)),
        (OPEN, changed(OPEN, eligible=10)),
        (OPEN, changed(OPEN, lots=(Lot(("7", "8"), "8"),))),
        (OVER, changed(OVER, withdrawn=(*conduct_of(OVER).withdrawn, Withdrawal("8", "dead")))),
        (OVER, changed(OVER, seed="another seed that was drawn")),
        (OVER, changed(OVER, lots=(Lot(("7", "9"), "7"),))),
    ],
)
def test_the_log_ignores_a_command_that_changes_what_is_known(
    known: Contest, forged: Contest
) -> None:
    assert after(known, forged) == known


@pytest.mark.parametrize(
    "conduct",
    [
        Conduct(turnout_quorum="2/8"),
        Conduct(turnout_quorum="0/1"),
        Conduct(winner_quorum="1/0"),
        Conduct(winner_quorum="half"),
        Conduct(withdrawn_votes="guess"),
        Conduct(seed_commitment="ab"),
        Conduct(eligible=0),
    ],
)
def test_conduct_that_nobody_can_follow_is_refused_by_command_and_log(conduct: Conduct) -> None:
    with pytest.raises(ContestRefused, match="rules are not possible"):
        draft("election:1", choices=NAMES, conduct=conduct)
    table = VotedPartition(0)
    forged = msgspec.structs.replace(election(), conduct=conduct)
    table.apply(0, ControlRecord(LOG_ID, contests_changed(1, forged)))
    assert table.rules.contests == {}


def test_facts_stay_when_the_election_is_announced_again_and_end_with_a_rehearsal() -> None:
    new = draft("election:1", choices=NAMES, method="ranked", rules=RankedRules())
    committed = commit_seed(new, commitment_to(SEED))
    assert create({new.id: committed}, [new]) == []
    over = reveal_seed(closed(msgspec.structs.replace(committed, state="open")), SEED)
    [again] = reset_to_drafts({over.id: over})
    assert conduct_of(again) == Conduct()


def test_the_number_of_eligible_voters_is_entered_once() -> None:
    known = enter_eligible(election(), 120)
    assert conduct_of(known).eligible == 120
    with pytest.raises(ConductRefused, match="Another"):
        enter_eligible(known, 121)


@pytest.mark.parametrize(
    ("conduct", "why"), [(None, ["choice_not_allowed"]), (Conduct(blank_ballots=True), [])]
)
def test_a_single_choice_ballot_may_be_blank_only_if_the_election_says_so(
    conduct: Conduct | None, why: list[str]
) -> None:
    contest = make_contest("election:1", choices=NAMES, conduct=conduct)
    assert last(contests_changed(1, contest), ballot(">")) == why


@pytest.mark.parametrize(
    ("text", "share"),
    [("1/4", "1/4"), ("2/8", "1/4"), ("25%", "1/4"), ("33.3 %", "333/1000"), ("0.5", "1/2")],
)
def test_shares_as_people_write_them(text: str, share: str) -> None:
    assert share_of(text) == share
    for wrong in ("0", "-1/2", "101%", "2", "half"):
        with pytest.raises(ValueError, match=r"."):
            share_of(wrong)


def test_a_share_is_reached_exactly() -> None:
    assert reaches(1, "1/3", 3)
    assert not reaches(33, "1/3", 100)
    assert reaches(34, "1/3", 100)


@pytest.mark.parametrize(
    "change", [lambda c: withdraw(c, "7", "x\n"), lambda c: commit_seed(c, "no hash")]
)
def test_a_fact_that_makes_no_sense_is_refused(change: Callable[[Contest], Contest]) -> None:
    with pytest.raises(ConductRefused, match="not possible"):
        change(election())
