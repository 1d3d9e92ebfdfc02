"""What is fuzzed: each target takes any bytes, and raises if something is not as it must be."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from schemas.codec import DecodeError, decode_input, decode_verdicts, decode_voted, encode
from schemas.control import ContestsChanged
from schemas.genesis import RehearsalGenesis
from schemas.votes import Malformed, VoteBatch
from streams.cli.election.commands import read_tables
from streams.cli.roll.files import RollFiles
from streams.cli.roll.hash_kind import HashCheck, HashKind
from streams.core.contests import is_sound
from streams.core.keys import normalise_hash
from streams.core.polls import Who
from streams.core.transition import apply_record
from streams.core.voted_partition import VotedPartition
from streams.elections.definitions import Definitions, contest_of, merged, read
from streams.errors import ScrutinError
from streams.gateway.handlers.poll_forms import BallotForm, PollForm, checked, number_of
from streams.gateway.problems import Problem
from streams.messages.decode import decode
from streams.messages.incoming import read_body
from streams.messages.quick import read_quickly
from streams.tally.crypto.documents import from_json
from streams.tally.crypto.manifest import Manifest
from tests.fuzz import seeds
from tests.fuzz.wire import answers
from tests.strategies import LAWS, LOG_ID, make_batch, make_vote, under

KEY: Final = b"k" * 32
MOST_BYTES: Final = 4096
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_UPGRADE: Final = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_VOTES: Final = tuple(make_vote(n, contest=contest) for n, contest in enumerate(LAWS))
_folder: Final = Path(tempfile.mkdtemp(prefix="scrutin-fuzz-"))


def vote(data: bytes) -> None:
    """A message of a queue; the first byte decides what the bridge knows of it."""
    options, body = data[:1] or b"\0", data[1:]
    read_as_update = bool(options[0] & 1)
    decoded = decode(
        body,
        b"id" if options[0] & 2 else None,
        redelivered=bool(options[0] & 4),
        prevalidated=bool(options[0] & 8),
        poll_updates=read_as_update,
        ingest_us=1_800_000_000_000_000,
        max_body_bytes=2000,
        poll_key=KEY if options[0] & 16 else b"",
        default_election="1" if options[0] & 32 else "",
    )
    item = decoded.item
    malformed = isinstance(item, Malformed)
    batch = VoteBatch(1, "b", [] if malformed else [item], [item] if malformed else [])
    assert decode_input(encode(batch)) == batch
    quick = read_quickly(body, 2000, KEY)
    if quick is not None:
        full = read_body(body, max_metadata_bytes=2000, poll_key=KEY)
        # Hashes are normalised later, with the key.
        assert normalise_hash(quick.hash) == full.hash
        assert repr(quick).replace(quick.hash, full.hash) == repr(full)


def http(data: bytes) -> None:
    """Bytes of one connection: how they are cut into pieces makes no difference."""
    size, sent = 1 + (data[0] if data else 0), data[1:]
    whole = answers([sent])
    pieces = answers(sent[at : at + size] for at in range(0, len(sent), size))
    # An upgrade, and what is said after too many requests, depend on what is answered already. A
    # request that is refused ends its connection at once, and a head is looked at once it is whole.
    if b"pgrade" not in sent.lower() and sent.count(b"\n") < 16 and not (whole[1] or pieces[1]):
        assert whole == pieces, (whole, pieces)


def socket(data: bytes) -> None:
    """Frames of a WebSocket."""
    size, sent = 1 + (data[0] if data else 0), data[1:]
    answers([_UPGRADE, *(sent[at : at + size] for at in range(0, len(sent), size))])


def poll_form(data: bytes) -> None:
    """A form of a poll, and a vote in one."""
    with suppress(*_UNREADABLE):
        ballot = msgspec.json.decode(data, type=BallotForm)
        for given in (ballot.poll_id, ballot.option_id):
            number = number_of(given)
            assert number is None or 0 <= number < 2**63
    with suppress(*_UNREADABLE, Problem):
        form = msgspec.json.decode(data, type=PollForm)
        wanted = checked(form, ZoneInfo("America/Toronto"))
        assert 2 <= len(set(wanted.options)) == len(wanted.options) <= 10
        assert wanted.who in set(Who)
        assert wanted.opens_ms is None or wanted.opens_ms < wanted.closes_ms
        for text in (wanted.title, wanted.description, wanted.creator_name, *wanted.options):
            assert "\0" not in text
            text.encode()


def roll_file(data: bytes) -> None:
    """A roll; the first byte is its kind."""
    kind = list(HashKind)[(data[0] if data else 0) % len(HashKind)]
    path = _folder / "roll"
    path.write_bytes(data[1:])
    roll = RollFiles([path], None, kind)
    try:
        found = list(roll.hashes())
    except ScrutinError:
        return
    check = HashCheck(kind)
    assert all(check.fault(each) == "" for each in found)
    if found:
        assert roll.check().entries == len(found)


def election_tables(data: bytes) -> None:
    """A file with definitions of elections; the first byte is its form."""
    names = ("elections.json", "candidates.csv", "elections.csv", "regions.csv")
    path = _folder / names[(data[0] if data else 0) % len(names)]
    path.write_bytes(data[1:])
    with suppress(ScrutinError):
        known = merged(Definitions(), read(read_tables([path]), zone=ZoneInfo("America/Toronto")))
        for election in known.elections.values():
            contest = contest_of(known, election)
            assert contest is None or is_sound(contest)
            if contest is not None:
                encode(ContestsChanged(1, b"c" * 16, 1, False, [contest]))


def manifest(data: bytes) -> None:
    """The manifest of an encrypted election."""
    with suppress(ScrutinError):
        read_manifest = from_json(Manifest, data)
        read_manifest.check()
        read_manifest.crypto_hash()
        for contest in read_manifest.contests:
            contest.placeholders()


def control(data: bytes) -> None:
    """A record of the input log, forged by who may write there."""
    try:
        record = decode_input(data)
    except DecodeError:
        return
    assert decode_input(encode(record)) == record
    state = VotedPartition(0)
    fold = (
        RehearsalGenesis(LOG_ID, 1, "rehearsal"),
        seeds.OPEN_LAW,
        record,
        under(make_batch(*_VOTES)),
    )
    for offset, each in enumerate(fold):
        done = apply_record(state, LOG_ID, offset, each, encode(each), changelog_topic="c")
        decode_voted(done.changelog.value)
        decode_verdicts(done.verdicts.value)
    assert state.applied == len(fold) - 1
    assert all(is_sound(contest) for contest in state.rules.contests.values())


@dataclass(frozen=True)
class FuzzTarget:
    """A function and what to begin with."""

    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]


TARGETS: Final = {
    "vote": FuzzTarget(vote, seeds.VOTES),
    "http": FuzzTarget(http, seeds.HTTP),
    "socket": FuzzTarget(socket, seeds.FRAMES),
    "poll-form": FuzzTarget(poll_form, seeds.POLL_FORMS),
    "roll-file": FuzzTarget(roll_file, seeds.ROLLS),
    "election-tables": FuzzTarget(election_tables, seeds.ELECTIONS),
    "manifest": FuzzTarget(manifest, seeds.MANIFESTS),
    "control": FuzzTarget(control, seeds.CONTROL),
}
