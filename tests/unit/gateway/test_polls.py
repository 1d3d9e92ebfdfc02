"""Poll votes: whose they are, and that the bridge believes signed ones only; without services."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.control import Contest, ContestsChanged
from schemas.votes import Flag, Kind, Malformed, Rule, RuledVoteBatch, Vote
from streams.core.dates import parse_begin, parse_end
from streams.core.keys import stored_hash, voter_key
from streams.core.polls import Who, is_signed, poll_key, sign
from streams.core.rules import Rules
from streams.gateway.handlers.poll_forms import OptionForm, PollForm, checked
from streams.gateway.handlers.polls import page_link
from streams.gateway.poll_store import contest_for
from streams.gateway.problems import Problem
from streams.gateway.voters import Voters
from streams.messages.decode import Decoded, decode
from streams.runtime.zones import zone_of

KEY = poll_key("a secret of thirty-two characters")
API_KEY = "an api key"
VOTERS = Voters(KEY, [hashlib.sha256(API_KEY.encode()).hexdigest()])


def decoded(body: bytes, message_id: str = "m", key: bytes = KEY) -> Decoded:
    return decode(
        body,
        message_id.encode(),
        redelivered=False,
        prevalidated=False,
        ingest_us=0,
        max_body_bytes=65536,
        poll_key=key,
    )


@given(
    name=st.text(min_size=1, max_size=100).filter(lambda t: "\0" not in t and t.isprintable()),
    at_us=st.integers(0, 4_000_000_000_000_000),
    who=st.sampled_from(list(Who)),
)
def test_the_bridge_reads_what_the_gateway_signed(name: str, at_us: int, who: Who) -> None:
    voter = VOTERS.by_name("poll:7", name)
    out = VOTERS.vote(
        7, 2, voter, who=who, voter_name=name if who is Who.NAME else None, at_us=at_us
    )
    found = decoded(out.body, out.message_id)
    vote = found.item
    assert isinstance(vote, Vote)
    assert (vote.contest, vote.choice, vote.kind) == ("poll:7", "2", Kind.CANDIDATE)
    assert (vote.timestamp_us, vote.identity) == (at_us, out.submission.identity)
    assert stored_hash(vote.hash, vote.contest, vote.kind) == out.submission.stored_hash
    assert found.key == voter_key(voter, "poll:7", Kind.CANDIDATE)
    # Nobody asks the roll about a voter that is on none.
    assert bool(vote.flags & Flag.PREVALIDATED) == (who is not Who.ROLL)
    assert (vote.metadata is not None) == (who is Who.NAME)


OUT = VOTERS.vote(7, 2, "f" * 64, who=Who.COOKIE, voter_name=None, at_us=10)


@pytest.mark.parametrize(
    "change",
    [
        {"option_id": "1"},
        {"poll_id": "8"},
        {"voter_hash": "e" * 64},
        {"who": "roll"},
        {"voter_name": "x"},
        {"vote_timestamp": "2026-01-01T00:00:00Z"},
        {"signature": "0" * 64},
        {"signature": ""},
        {"extra": "x"},
    ],
)
def test_a_changed_vote_is_malformed(change: dict[str, str]) -> None:
    body = json.dumps({**json.loads(OUT.body), **change}).encode()
    item = decoded(body).item
    assert isinstance(item, Malformed)
    assert item.reason == "bad_signature"


def test_without_a_secret_there_are_no_poll_votes() -> None:
    item = decoded(OUT.body, key=b"").item
    assert isinstance(item, Malformed)
    assert item.reason == "bad_signature"
    fields = json.loads(OUT.body)
    signature = fields.pop("signature")
    assert is_signed(KEY, fields, signature)
    assert not is_signed(b"", fields, sign(b"", fields))


def test_beside_a_law_a_poll_id_is_metadata() -> None:
    body = json.dumps({"hash": "h", "law_id": "L", "vote": "oui", "poll_id": "7"}).encode()
    item = decoded(body).item
    assert isinstance(item, Vote)
    assert (item.contest, json.loads(item.metadata or "")) == ("L", {"poll_id": "7"})


@pytest.mark.parametrize(
    "ballot", [{"law_id": "L", "vote": "oui"}, {"election_id": "1", "candidate_id": "7"}]
)
def test_a_signature_makes_no_vote_in_a_law_or_an_election(ballot: dict[str, str]) -> None:
    """Who has the secret still needs a hash, and the roll is asked for it."""
    signed = {**json.loads(OUT.body), **ballot}
    item = decoded(json.dumps(signed).encode()).item
    assert isinstance(item, Vote)
    assert item.hash == signed["voter_hash"]
    assert not item.contest.startswith("poll:")
    assert not item.flags & Flag.PREVALIDATED
    without = {name: value for name, value in signed.items() if name != "voter_hash"}
    nobody = decoded(json.dumps(without).encode()).item
    assert isinstance(nobody, Malformed)
    assert nobody.reason == "missing_hash"


def test_a_name_is_the_same_however_it_is_written() -> None:
    assert VOTERS.by_name("poll:1", " Zoë  ÉTÉ ") == VOTERS.by_name("poll:1", "zoe\u0308 été")
    assert VOTERS.by_name("poll:1", "Ann") != VOTERS.by_name("poll:2", "Ann")


@pytest.mark.parametrize(
    ("name", "again"),
    [
        ("Μαΐου", "Μαΐου".upper()),
        ("Ann Bee", "A\u200bnn\ufeff B\u200dee"),
        ("Ann Bee", "Ann\u00adBee".replace("Bee", " Bee")),
        ("Aoife O'Neill", "Aoife O\u2019Neill"),
        ("Aoife O'Neill", "Aoife O\u00b4Neill"),
        ("Aoife O'Neill", "AOIFE O\uff07NEILL"),
        ("Jean-Luc", "Jean\u2010Luc"),
        ("Jean-Luc", "Jean\u2013luc"),
        ("Jean-Luc", "Jean\u2212Luc"),
        ("Straße", "STRASSE"),
    ],
)
def test_names_that_look_the_same_are_one_voter(name: str, again: str) -> None:
    assert VOTERS.by_name("poll:1", name) == VOTERS.by_name("poll:1", again)


@pytest.mark.parametrize(("one", "other"), [("Zoë", "Zoe"), ("Jean Luc", "Jean-Luc")])
def test_names_that_look_different_are_two_voters(one: str, other: str) -> None:
    assert VOTERS.by_name("poll:1", one) != VOTERS.by_name("poll:1", other)


def test_a_cookie_of_another_deployment_is_not_read() -> None:
    token, cookie = VOTERS.new_cookie()
    assert VOTERS.read_cookie(cookie) == token
    for other in (None, "", token, cookie[:-1], f"x{cookie}", Voters(b"k", []).new_cookie()[1]):
        assert VOTERS.read_cookie(other) is None


def test_an_api_key_has_to_be_known() -> None:
    assert VOTERS.by_api_key("poll:1", API_KEY)
    assert VOTERS.by_api_key("poll:1", "another") is None


def form(**more: object) -> PollForm:
    fields: dict[str, object] = {
        "title": "Best?",
        "creator_name": "Ann",
        "end_time": "2999-01-01T00:00:00",
        "options": [OptionForm("a"), OptionForm("b")],
        **more,
    }
    return PollForm(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"title": "x" * 51}, "title"),
        ({"title": "  "}, "title"),
        ({"description": "x" * 501}, "description"),
        ({"creator_name": ""}, "creator_name"),
        ({"options": [OptionForm("a")]}, "options"),
        ({"options": [OptionForm(str(n)) for n in range(11)]}, "options"),
        ({"options": [OptionForm("a"), OptionForm(" a ")]}, "options"),
        ({"options": [OptionForm("a"), OptionForm("x" * 256)]}, "options"),
        ({"end_time": "2001-01-01T00:00:00Z"}, "end_time"),
        ({"end_time": "soon"}, "end_time"),
        ({"opens_at": "2999-02-01T00:00:00Z"}, "end_time"),
        ({"who": "all"}, "who"),
    ],
)
def test_a_poll_is_refused_by_field(more: dict[str, object], field: str) -> None:
    with pytest.raises(Problem) as problem:
        checked(form(**more))
    assert problem.value.status == 400
    assert list(problem.value.faults) == [field]


@pytest.mark.parametrize("day", ["2999-12-05", "29991205"])
def test_a_date_alone_is_a_whole_day(day: str) -> None:
    wanted = checked(form(opens_at=day, end_time=day), zone_of("America/Toronto"))
    assert wanted.opens_ms == parse_begin("2999-12-05T05:00Z")
    assert wanted.closes_ms == parse_end("2999-12-06T05:00Z")


def test_a_time_that_comes_twice_is_refused_with_its_meanings() -> None:
    with pytest.raises(Problem) as problem:
        checked(form(end_time="2030-11-03T01:30"), zone_of("America/Toronto"))
    [fault] = problem.value.faults["end_time"]
    assert "-04:00 or 2030-11-03T01:30:00-05:00" in fault


def test_a_poll_is_a_contest() -> None:
    wanted = checked(form(opens_at="2998-01-01T00:00:00Z"))
    contest = contest_for(5, wanted, now_ms=0)
    assert (contest.id, contest.state, contest.choices) == ("poll:5", "draft", ["1", "2"])
    assert contest_for(5, checked(form()), now_ms=0).state == "open"
    assert contest.roll == "open"
    assert contest_for(5, checked(form(who="roll")), now_ms=0).roll == "table"


def test_polls_are_validated_by_their_contest_and_laws_are_not() -> None:
    rules = Rules()
    poll = Contest("poll:7", "poll", "?", "open", ["1", "2"], "open", None, None)
    rules.apply(ContestsChanged(1, b"c" * 16, 0, True, [poll]))

    def vote(contest: str, choice: str, flags: int) -> Vote:
        kind = Kind.CANDIDATE if contest.startswith("poll:") else Kind.LAW
        return Vote("h", contest, kind, choice, flags, b"i" * 16, 0)

    on_roll = int(Flag.ON_ROLL)
    judge = rules.validator(RuledVoteBatch(0, "b", [], [], 0, int(Rule.POLLS)))
    assert judge(vote("poll:7", "2", 0), b"k") is None
    assert judge(vote("poll:7", "3", on_roll), b"k") == "choice_not_allowed"
    assert judge(vote("poll:8", "1", on_roll), b"k") == "unknown_contest"
    assert judge(vote("L", "oui", on_roll), b"k") is None
    assert judge(vote("L", "oui", 0), b"k") == "not_on_roll"
    closed = Contest("poll:7", "poll", "?", "closed", ["1", "2"], "open", None, None)
    rules.apply(ContestsChanged(2, b"d" * 16, 0, True, [closed]))
    assert judge(vote("poll:7", "2", on_roll), b"k") == "contest_closed"


def test_the_next_page_stays_under_the_path_of_the_list() -> None:
    asked = [("full_name", "Ann Lee"), ("page", "1"), ("page_size", "5")]
    assert page_link("/api/polls/get-list/", asked, 2, 5) == (
        "api/polls/get-list/?full_name=Ann+Lee&page=2&page_size=5"
    )
    assert page_link("/polls", [], 2, 10) == "polls/?page=2&page_size=10"
