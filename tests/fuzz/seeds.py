"""Inputs to begin with, written by hand, and inputs that once showed a fault."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import msgspec

from schemas.codec import encode
from schemas.genesis import Genesis
from schemas.skip import Skip
from streams.tally.crypto.manifest import plain_manifest
from tests.hostile.clients import frame_of
from tests.strategies import (
    LOG_ID,
    contests_changed,
    epoch_opened,
    make_batch,
    make_contest,
    make_malformed,
    make_vote,
    roll_changed,
    under,
)

_HASH: Final = b"ab" * 32
_LINES: Final = _HASH + b"\n" + b"0c" * 32 + b"\n"

VOTES: Final = (
    b'\0{"vote_hash":"' + _HASH + b'","law_id":"L-1","choice":"oui"}',
    b'\2{"hash":"' + _HASH + b'","law_id":"L-1","vote":"NON","timestamp":"2025-11-14T12:00:00Z"}',
    b'\4{"vote_hash":"' + _HASH + b'","candidate_id":7,"election_id":1,"extra":{"a":[1,"b"]}}',
    b'\10{"voter_hash":"short","candidate_id":"7","ranked_choices":[7,"8"],'
    b'"voting_method":"ranked_choice","timestamp":1763121600.5}',
    b'\61{"voter_name":"Ann","poll_id":1,"option_id":2,"delta":1}',
    b'\20{"poll_id":"1","choice":"2","hash":"x","who":"name","signature":"00"}',
    b'\0{"nas":"123456789","code":"ABC123","law_id":"L-1","vote":"oui"}',
    b"\0[1]",
    b"\0\xff{",
)
HTTP: Final = (
    b"\7GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\3POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nouiXGET / HTTP/1.0\r\n\r\n",
    b"\1POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nT: r\r\n\r\n",
    b"\40POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
    b"\5GET / HTTP/1.1\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nHost: x\r\n\r\n",
    b"\5GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nHost: x\r\n\r\n",
    b"\2\r\n\r\nOPTIONS * HTTP/1.1\r\nA:\r\n b\r\n\r\n",
)
FRAMES: Final = (
    b"\100" + frame_of(0x81, b"?") + frame_of(0x89, b"ping") + frame_of(0x88, b"\x03\xe8"),
    b"\1" + frame_of(0x01, b"a") + frame_of(0x00, b"b") + frame_of(0x80, b"c"),
    b"\100" + frame_of(0x81, b"x" * 300) + frame_of(0x82, b"\0"),
    b"\100" + frame_of(0x8A, b"") + b"\x81\x01a",
)
POLL_FORMS: Final = (
    b'{"title":"T","creator_name":"A","end_time":"2099-06-01T20:00:00Z",'
    b'"options":[{"text":"a"},{"text":"b"}]}',
    b'{"title":"T","creator_name":"A","end_time":"2099-06-01","opens_at":"2098-03-08T02:30",'
    b'"who":"roll","description":"d","options":[{"text":"a"},{"text":"b"},{"text":"a"}]}',
    b'{"poll_id":1,"option_id":"2","voter_name":"Ann","voter_hash":null}',
)
ROLLS: Final = (
    b"\0" + _LINES,
    b"\0hash;nom\n" + _HASH + b';"A, B"\n',
    b"\0nas,Hash\n1," + _HASH + b"\n# end\n",
    b'\0["' + _HASH + b'"]',
    b'\0{"hash":"' + _HASH + b'"}\n{"voter_hash":"' + _HASH + b'"}\n',
    b'\0{"hashes":[{"hash":"' + _HASH + b'"}]}',
    b"\0\xff\xfe" + _LINES.decode().encode("utf-16-le"),
    b"\1short\nnas1CODE # comment\n",
    b"\0\x1f\x8b\x08\0",
)
ELECTIONS: Final = (
    b'\0{"elections":[{"id":1,"name":"E","start_date":"2026-06-01","end_date":"2026-06-02",'
    b'"election_date":"2026-06-01","voting_method":"ranked_choice"}],'
    b'"regions":[{"id":1,"code":"R","name":"R"}],"parties":[{"id":1,"party_code":"P"}],'
    b'"candidates":[{"id":1,"election_id":1,"region_code":"R","last_name":"L","party_id":1}]}',
    b"\1id,election_id,last_name\n1,1,Roy\n",
    b'\2id,code,name,end_datetime\n1,"E",Name,2026-06-01T20:00\n',
    b"\3id;code\n",
)
MANIFESTS: Final = (
    msgspec.json.encode(
        plain_manifest("e", {"c": ["a", "b"]}, moment=datetime(2026, 6, 1, tzinfo=UTC))
    ),
)
OPEN_LAW: Final = contests_changed(1, make_contest(choices=["oui", "non"]))
CONTROL: Final = tuple(
    encode(each)
    for each in (
        Genesis(LOG_ID, 1),
        OPEN_LAW,
        contests_changed(
            2, make_contest("election:1", choices=["1", "2"], ranked=True, regions=["1", "2"])
        ),
        contests_changed(2, make_contest(state="closed", choices=["oui", "non"]), enforced=False),
        roll_changed(3, added=(b"k" * 32,), withdrawn=(b"l" * 32,)),
        roll_changed(3, added=(b"k" * 32,), withdrawn=(b"l" * 33,)),
        roll_changed(3, added=(b"k" * 31,)),
        epoch_opened(4, 1),
        make_batch(make_vote(1), make_vote(2, choice="x")),
        make_batch(malformed=(make_malformed(1),)),
        under(make_batch(make_vote(3, metadata='{"ranked_choices":[1]}'))),
        Skip(1, 10, b"d" * 32, 1, "why"),
    )
)
