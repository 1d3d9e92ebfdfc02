"""Poll votes on the queue: the quick reading says what the thorough one says, or nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.polls import SIGNED_FIELDS, Who, poll_key, sign
from streams.messages.fields import NotAVote
from streams.messages.incoming import ParsedVote, read_body, read_poll_vote

KEY = poll_key("a secret")
VOTE = {
    "poll_id": "7",
    "option_id": "2",
    "voter_hash": "ab" * 32,
    "vote_timestamp": "2026-03-01T12:00:00.000000Z",
    "who": "name",
}


def signed(fields: dict[str, str], **more: Any) -> dict[str, Any]:
    return {**fields, "signature": sign(KEY, fields), **more}


def thorough(body: bytes, key: bytes = KEY) -> ParsedVote | None:
    try:
        return read_body(body, max_metadata_bytes=65536, poll_key=key)
    except NotAVote:
        return None


texts = st.text(max_size=12)
fields = st.fixed_dictionaries(
    {
        "poll_id": st.one_of(st.just("7"), texts),
        "option_id": st.one_of(st.just("2"), texts),
        "voter_hash": st.one_of(st.just("AB" * 32), st.just("x" * 129), texts),
        "vote_timestamp": st.one_of(st.just(VOTE["vote_timestamp"]), texts),
        "who": st.one_of(st.sampled_from(sorted(Who)), texts),
    },
    optional={"voter_name": st.one_of(st.just("Zoë"), texts)},
)


@given(fields, st.booleans(), st.data())
def test_both_readings_agree(vote: dict[str, str], ascii_only: bool, data: st.DataObject) -> None:
    message = signed(vote)
    if data.draw(st.booleans()):
        name = data.draw(st.sampled_from([*SIGNED_FIELDS, "signature", "law_id", "more"]))
        message[name] = data.draw(st.one_of(st.none(), st.integers(), st.just("x"), texts))
    body = json.dumps(message, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    quick = read_poll_vote(body, KEY)
    assert quick is None or quick == thorough(body)


def test_what_a_gateway_writes_is_read_quickly() -> None:
    for vote in (VOTE, VOTE | {"voter_name": "Zoë"}):
        body = json.dumps(signed(vote), ensure_ascii=False).encode()
        quick = read_poll_vote(body, KEY)
        assert quick is not None
        assert quick == thorough(body)
        assert (quick.contest, quick.candidate_id, quick.poll) == ("poll:7", "2", True)


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(VOTE | {"signature": "0" * 64}),
        json.dumps(VOTE),
        json.dumps(signed(VOTE, more="x")),
        json.dumps(signed(VOTE, law_id="L-1")),
        json.dumps(signed(VOTE))[:-1] + ', "poll_id": "7"}',
        json.dumps(signed(VOTE)).replace("name", "n\\u0061me"),
        '{"poll_id": 7}',
        '["poll_id"]',
        '{"poll_id": ',
    ],
)
def test_all_else_goes_the_thorough_way(body: str) -> None:
    assert read_poll_vote(body.encode(), KEY) is None


def test_nothing_is_signed_without_a_secret() -> None:
    body = json.dumps({**VOTE, "signature": sign(b"", VOTE)}).encode()
    assert read_poll_vote(body, b"") is None
    assert thorough(body, b"") is None
