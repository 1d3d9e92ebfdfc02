"""Every place where a value enters has a check, which refuses all bad values of its kind."""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import Callable
from functools import reduce
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import typer
from prometheus_client import CollectorRegistry

from schemas import codec
from schemas.votes import Malformed, Vote
from streams.cli.roll.hash_kind import HashCheck, HashKind
from streams.cli.since import parse_since
from streams.cli.values import check_arguments, contest_name, file_name
from streams.core.contests import ContestRefused, draft
from streams.core.dates import parse_begin, parse_end
from streams.core.live_totals import TotalsMessage, read_message
from streams.core.polls import poll_key
from streams.errors import ScrutinError, SettingsError
from streams.gateway.handlers.poll_forms import bounded, number_of
from streams.gateway.problems import Problem
from streams.gateway.submissions import Faulty, candidate_vote, law_hashes, law_vote
from streams.intake.receipts import BadReceipt, Receipts
from streams.messages.decode import Decoded, decode
from streams.runtime.status_server import StatusServer
from streams.settings.queues import POLL_UPDATES, TALLY_QUEUES
from streams.tally.messages import command_of
from streams.tally.refusals import Refused, plain_name
from tests.doors.places import PAGE, Door, Unguarded, commands, doors, page
from tests.doors.rules import Rule
from tests.doors.values import BAD, BODIES, ENDLESS, HIDDEN

DOORS = doors()
KEY = poll_key("a secret of thirty-two characters")


def bad(*kinds: str, but: str = "") -> list[Any]:
    """Bad values of some kinds, as parameters of a test."""
    return [
        pytest.param(value, id=f"{kind}, {label}")
        for kind in kinds
        for label, value in BAD[kind].items()
        if label != but
    ]


def test_the_page_lists_every_door() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `python -m tests.doors`"


def test_a_place_without_a_check_is_not_listed() -> None:
    from tests.doors.places import _door  # noqa: PLC0415

    with pytest.raises(Unguarded, match="GET /new, anything"):
        _door("HTTP", {"other": Rule("text", "x")}, "GET /new", "anything")


@pytest.mark.parametrize("name", sorted({door.rule.check for door in DOORS}))
def test_the_check_exists(name: str) -> None:
    module, _, rest = name, "", ""
    while True:
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError:
            module, _, last = module.rpartition(".")
            rest = f"{last}.{rest}".rstrip(".")
        else:
            break
    assert reduce(getattr, filter(None, rest.split(".")), found) is not None


# What stands at a door, by what it checks; each raises, or answers with None or False.
CHECKS: list[tuple[Callable[[str], object], list[Any]]] = [
    (plain_name, bad("name")),
    (contest_name, bad("contest")),
    (lambda text: file_name(text) if len(text) < 4096 else None, bad("name")),
    (draft, bad("contest")),
    (lambda text: draft("C-1", title=text), bad("text")),
    (lambda text: draft("election:1", choices=[text]), bad("contest")),
    (lambda text: bounded("x", text, 255), bad("text", "id", but="one byte over the bound")),
    (lambda text: bounded("x", text, 500, 0, lines=True), bad("lines")),
    (lambda text: law_hashes(text, "A", "L"), bad("text")),
    (lambda text: law_hashes("1", text, "L"), bad("text", but="line feed")),
    (lambda text: law_vote("h", text, "oui", at_us=1), bad("id")),
    (lambda text: law_vote("h", "L", text, at_us=1), bad("word")),
    (lambda text: law_vote(text, "L", "oui", at_us=1), bad("hash")),
    (lambda text: candidate_vote("h", text, election_id="1", at_us=1), bad("id")),
    (lambda text: candidate_vote("h", "7", election_id=text, at_us=1), bad("id")),
    (lambda text: candidate_vote("h", "7", election_id="1", region_id=text, at_us=1), bad("id")),
    (
        lambda text: candidate_vote("h", "7", election_id="1", ranked=["7", text], at_us=1),
        bad("id"),
    ),
    (number_of, bad("number")),
    (parse_begin, bad("date")),
    (parse_end, bad("date")),
    (parse_since, bad("date")),
    (lambda text: Receipts(b"s" * 32).open(text), bad("secret")),
    (lambda text: HashCheck(HashKind.HEX).fault(text) is None, bad("hash")),
]
REFUSALS = (
    *(BadReceipt, ContestRefused, Faulty, Problem, Refused, ValueError),
    typer.BadParameter,
)


@pytest.mark.parametrize(
    ("check", "value"),
    [
        pytest.param(check, *one.values, id=f"{number}, {one.id}")
        for number, (check, several) in enumerate(CHECKS)
        for one in several
    ],
)
def test_a_check_takes_no_bad_value(check: Callable[[str], object], value: str) -> None:
    try:
        taken = check(value)
    except REFUSALS:
        return
    assert taken in {None, False}


@pytest.mark.parametrize("value", [*HIDDEN.values(), *ENDLESS.values()], ids=[*HIDDEN, *ENDLESS])
def test_no_argument_of_a_command_is_hidden_or_endless(value: str) -> None:
    with pytest.raises(SettingsError, match="Argument 3"):
        check_arguments(["contest", "show", value])


def filled(command: Any, name: str, value: str) -> list[str]:
    """The arguments of a command with one bad value and harmless ones."""
    options, arguments = [], []
    for parameter in command.params:
        given = value if parameter.name == name else "1" if parameter.required else None
        if given is None:
            continue
        if parameter.param_type_name == "option":
            options.append(f"{parameter.opts[0]}={given}")
        else:
            arguments.append(given)
    return [*options, "--", *arguments]


COMMANDS = dict(commands())
PARSED = [
    door
    for door in DOORS
    if door.kind == "command" and door.rule.what in {"number", "seconds", "contest", "word"}
]


@pytest.mark.parametrize("door", PARSED, ids=lambda door: f"{door.place} {door.value}")
def test_a_command_refuses_what_it_cannot_use_before_it_does_anything(door: Door) -> None:
    command = COMMANDS[door.place]
    for label, value in BAD[door.rule.what].items():
        if label == "empty" and door.rule.what == "word":
            continue
        with pytest.raises(typer.BadParameter):  # noqa: PT012
            command.make_context(door.place, filled(command, door.value, value))
            pytest.fail(f"{door.place} takes {label}")


MESSAGES = [door for door in DOORS if door.kind == "RabbitMQ"]
CANDIDATE = {"vote_hash": "h", "candidate_id": "7", "election_id": "1"}
LAW = {"vote_hash": "h", "law_id": "L", "choice": "oui"}
UPDATE = {"voter_name": "Ann", "poll_id": 7, "option_id": 2}


def read(body: bytes, *, updates: bool) -> Decoded:
    return decode(
        body,
        b"m",
        redelivered=False,
        prevalidated=False,
        ingest_us=0,
        max_body_bytes=65536,
        poll_key=KEY,
        poll_updates=updates,
    )


def message_with(door: Door, value: object) -> bytes:
    base: dict[str, Any] = CANDIDATE if door.value in CANDIDATE else LAW
    if door.place == POLL_UPDATES:
        base = UPDATE
    elif door.place in TALLY_QUEUES:
        base = {"electionId": "e", "guardianId": "1"}
    return json.dumps({**base, door.value: value}).encode()


def takes(door: Door, body: bytes) -> bool:
    if door.place in TALLY_QUEUES:
        try:
            command_of(door.place, body)
        except Refused:
            return False
        return True
    found = read(body, updates=door.place == POLL_UPDATES).item
    assert isinstance(found, Malformed | Vote)
    return isinstance(found, Vote)


@pytest.mark.parametrize("door", MESSAGES, ids=lambda door: f"{door.place} {door.value}")
def test_a_message_with_a_bad_value_is_no_vote_and_no_command(door: Door) -> None:
    if door.rule.what == "body":
        for label, body in BODIES.items():
            assert not takes(door, body), label
        return
    for label, value in BAD[door.rule.what].items():
        for given in (value, [value], {"a": value}):
            assert not takes(door, message_with(door, given)), (label, type(given))


RECORDS = [door for door in DOORS if door.kind == "Kafka"]


@pytest.mark.parametrize("door", RECORDS, ids=lambda door: door.value)
@pytest.mark.parametrize("body", BODIES.values(), ids=list(BODIES))
def test_bytes_that_are_no_record_are_refused_as_such(door: Door, body: bytes) -> None:
    reader = getattr(codec, door.value)
    for each in (body, body[:100], b"\xc1" + body, b"\x9f" * 5000):
        with pytest.raises(codec.DecodeError):
            reader(each)


@pytest.mark.parametrize("body", BODIES.values(), ids=list(BODIES))
def test_a_live_message_that_is_none_is_dropped(body: bytes) -> None:
    assert read_message(body) == TotalsMessage({})


async def test_a_metrics_port_answers_anything(tmp_path: Path) -> None:
    def nothing() -> list[str]:
        return []

    server = StatusServer(
        host="127.0.0.1",
        port=0,
        registry=CollectorRegistry(),
        live=nothing,
        ready=nothing,
        port_variable="X",
    )
    async with server:
        for path in (
            "/live?" + "x" * 100_000,
            "/%00",
            "/live%ED%A0%80",
            "/\x1b",
            "/" + "a/" * 3000,
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(f"POST {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            async with asyncio.timeout(10):
                status = int((await reader.readline()).split()[1])
            writer.close()
            assert 400 <= status < 500, path[:20]


def test_bad_files_are_refused_by_name(tmp_path: Path) -> None:
    """Every reader of files that commands name."""
    from streams.cli.contest.changes import read_table  # noqa: PLC0415
    from streams.cli.election.commands import read_tables  # noqa: PLC0415
    from streams.cli.roll.files import RollFiles  # noqa: PLC0415
    from streams.load.expected import read_expected  # noqa: PLC0415
    from streams.tally.crypto.manifest import Manifest  # noqa: PLC0415
    from streams.tally.files import read_document  # noqa: PLC0415

    readers: dict[str, Callable[[Path], object]] = {
        "contests": read_table,
        "elections": lambda path: read_tables([path]),
        "roll": lambda path: RollFiles([path], None, HashKind.HEX).check(lambda _: None),
        "document": lambda path: read_document(Manifest, path),
        "expected": read_expected,
    }
    folder = tmp_path / "folder.json"
    folder.mkdir()
    for (name, reader), (label, body) in chain.from_iterable(
        ((r, b) for b in BODIES.items()) for r in readers.items()
    ):
        if name in {"contests", "elections"} and label.startswith("a list"):
            # No rows of a table, or of tables that are refused by name afterwards.
            continue
        path = tmp_path / "elections.json"
        path.write_bytes(body)
        with pytest.raises(ScrutinError):  # noqa: PT012
            reader(path)
            pytest.fail(f"{name} takes {label}")
    for name, reader in readers.items():
        # A folder of tables describes elections.
        for missing in (tmp_path / "nowhere.json", *([folder] if name != "elections" else [])):
            with pytest.raises(ScrutinError):  # noqa: PT012
                reader(missing)
                pytest.fail(f"{name} takes {missing.name}")
