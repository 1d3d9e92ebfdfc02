"""`scrutin guardian` and `scrutin tally`, from keys made at home to a verified record."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import shutil
import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer
from typer.testing import CliRunner

from streams.cli import attach
from streams.devstack import Stack
from streams.errors import ExitCode, ScrutinError, SettingsError
from streams.settings.build import tally_config
from streams.tally.commands import tally
from streams.tally.crypto.ballots import encrypt_ballot
from streams.tally.crypto.ceremony import GuardianKey
from streams.tally.crypto.documents import to_json
from streams.tally.crypto.manifest import Manifest
from streams.tally.files import describe, read_document
from streams.tally.refusals import Refused
from streams.tally.work import load_election
from tests.harness import wipe
from tests.integration.tally_harness import TallyHarness

pytestmark = pytest.mark.timeout(240)

NAMES = ("ann", "bob", "cem")


class Scrutin:
    """Runs commands in this process: a new one for each would take most of the test's time."""

    def __init__(self) -> None:
        self._app = typer.Typer()
        attach(self._app, "guardian")
        attach(self._app, "tally")

    def __call__(self, *arguments: object, code: int = 0) -> str:
        done = CliRunner().invoke(self._app, [str(argument) for argument in arguments])
        if isinstance(done.exception, ScrutinError):
            raise done.exception
        assert done.exit_code == code, done.output
        return done.stdout


def plain(value: Any) -> Any:
    """A manifest with each text as a plain string."""
    if isinstance(value, dict):
        if set(value) == {"text"}:
            return value["text"][0]["value"]
        return {name: plain(inner) for name, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


def deployed(document: bytes, without: str = "") -> bytes:
    """A document as Base64 of MessagePack."""
    fields = {k: v for k, v in json.loads(document).items() if k != without}
    return base64.b64encode(msgspec.msgpack.encode(fields))


def test_an_election_is_held_with_secrets_at_home_and_one_that_is_sealed(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    world = TallyHarness(stack, tmp_path)
    asyncio.run(wipe(stack.env()))
    scrutin = Scrutin()
    request.addfinalizer(lambda: [program.send(signal.SIGKILL) for program in world.programs])
    home = tmp_path / "home"
    home.mkdir()
    (home / "passphrase").write_text("correct horse\n")
    secretly = ("--passphrase-file", str(home / "passphrase"))
    for name, value in world.env.items():
        monkeypatch.setenv(name, value)

    # The guardians make their keys, exchange backups and check them.
    public = [home / f"{name}.public.json" for name in NAMES]
    for order, name in enumerate(NAMES, 1):
        options = ("--election", "e", "--order", order, "--quorum", 2, "--directory", home)
        scrutin("guardian", "new", name, *options, *secretly)
    assert (home / "ann.secret.json").stat().st_mode & 0o077 == 0
    for name in NAMES:
        secret = home / f"{name}.secret.json"
        scrutin("guardian", "backup", secret, *public, "--directory", home, *secretly)
    scrutin("guardian", "check", home / "bob.secret.json", *public, "--backups", home, *secretly)

    # The election's office sets the election up and lets ballots in.
    manifest = home / "manifest.json"
    scrutin("tally", "manifest", "e", "mayor=ada,bea", "-o", manifest)
    # With names as plain strings, and keys and ballots as deployed services keep them.
    manifest.write_text(json.dumps(plain(json.loads(manifest.read_text()))))
    packed = home / "ann.packed.json"
    packed.write_bytes(deployed(public[0].read_bytes()))
    scrutin(
        *("tally", "setup", "e", manifest, packed, *public[1:], "--quorum", 2, "--backups", home)
    )
    keys = [read_document(GuardianKey, path) for path in public]
    described = describe("e", read_document(Manifest, manifest), keys, 2)
    election, _ = load_election(described)
    rng = random.Random(1)
    lines, counts = [], dict.fromkeys(election.line_names, 0)
    for number in range(5):
        chosen = rng.choice(election.line_names)
        counts[chosen] += 1
        ballot = encrypt_ballot(election, f"b{number}", "ballot", {"mayor": [chosen]})
        lines.append(to_json(ballot) + b"\n")
    ballots = home / "ballots.jsonl"
    given = [deployed(line, without="state") + b"\n" for line in lines]
    ballots.write_bytes(b"".join([*given, lines[0], lines[0].replace(b'"b0"', b'"b9"')]))
    outcome = json.loads(scrutin("tally", "admit", "e", ballots, "--json", code=3))
    assert (outcome["admitted"], len(outcome["refused"])) == (1, 6)
    outcome = json.loads(scrutin("tally", "admit", "e", ballots, "--cast", "--json", code=3))
    assert (outcome["admitted"], outcome["repeated"]) == (4, 2)
    assert "hash" in outcome["refused"][0]

    # Workers tally, and decrypt for the guardian who sealed its secret; another decrypts at home.
    # Both stand in for the third.
    workers_key = json.loads(scrutin("guardian", "workers-key", world.key_file, "--json"))
    program = world.worker()
    assert json.loads(scrutin("tally", "collect", "e", "--json"))["admitted"] == 0
    monkeypatch.setenv("SCRUTIN_TALLY_MIN_BALLOTS", "6")
    with pytest.raises(Refused, match="SCRUTIN_TALLY_MIN_BALLOTS"):
        scrutin("tally", "create", "e")
    monkeypatch.setenv("SCRUTIN_TALLY_MIN_BALLOTS", "5")
    scrutin("tally", "create", "e")
    products = home / "products.json"
    asyncio.run(tallied(world))
    shares = home / "ann.shares.json"
    missing = ("--missing", "bob", "--backups", home)
    secret = home / "ann.secret.json"
    with pytest.raises(Refused, match="tallied already"):
        scrutin("tally", "admit", "e", ballots)
    head = asyncio.run(head_of(world))
    assert head in scrutin("tally", "products", "e", "-o", products)
    decrypting = ("guardian", "decrypt", secret, products, "-o", shares, *missing, *secretly)
    with pytest.raises(Refused, match="another one"):
        scrutin(*decrypting, "--head", "00" * 32)
    published = home / "products.ballots.jsonl"
    whole = published.read_bytes()
    published.write_bytes(whole[: whole.index(b"\n") + 1])
    with pytest.raises(Refused):
        scrutin(*decrypting, "--head", head)
    published.write_bytes(whole)
    scrutin(*decrypting, "--head", head)
    scrutin("tally", "upload", shares)
    sealing = ("--workers-key", workers_key["publicKey"])
    cem = (home / "cem.secret.json", home / "cem.public.json")
    scrutin("guardian", "seal", *cem, *sealing, *secretly)
    scrutin("tally", "decrypt", "e", "cem")
    scrutin("tally", "cancel", "e")
    scrutin("tally", "resume", "e")
    scrutin("tally", "combine", "e")
    done = json.loads(scrutin("tally", "status", "e", "--watch", "--json"))
    assert {job["status"] for job in done} == {"COMPLETED"}
    assert asyncio.run(program.terminate()) == ExitCode.OK
    assert "ada" in scrutin("tally", "results", "e")

    # Anybody checks the record, and notices every change to it.
    record = tmp_path / "record"
    scrutin("tally", "export", "e", record)
    verified = json.loads(scrutin("tally", "verify", record, "--json"))
    assert verified["verified"]
    assert verified["counts"] == counts
    assert verified["ballotsHead"] == head
    assert "has not been audited" in (record / "about.txt").read_text()
    published = tmp_path / "published"
    scrutin("tally", "export", "e", published, "--layout", "electionguard-1.1")
    again = json.loads(scrutin("tally", "verify", published, "--json"))
    assert {**again, "notes": []} == verified
    assert {each["outcome"] for each in again["steps"]} <= {"pass", "not applicable"}
    for file, old, new in (
        ("ballots.jsonl", b'"timestamp":1', b'"timestamp":2'),
        ("result.json", b'"total_valid_ballots": 5', b'"total_valid_ballots": 6'),
        ("tallies.jsonl", b'"kind":"total"', b'"kind":"spoiled"'),
        ("context.json", b'"quorum":2', b'"quorum":1'),
    ):
        changed = tmp_path / "changed"
        shutil.copytree(record, changed)
        text = (changed / file).read_bytes()
        assert old in text
        (changed / file).write_bytes(text.replace(old, new, 1))
        refused = json.loads(scrutin("tally", "verify", changed, "--json", code=3))
        assert not refused["verified"]
        assert [each["outcome"] for each in refused["steps"]].count("fail") == 1
        shutil.rmtree(changed)


def test_what_is_no_record_ends_apart_from_what_does_not_verify(tmp_path: Path) -> None:
    scrutin = Scrutin()
    (tmp_path / "context.json").write_text('{"elgamal_public_key": "' + "1" * 1233 + '"}')
    for path, words in (
        (tmp_path / "nowhere", "no folder"),
        (tmp_path / "context.json", "unpack"),
        (tmp_path, "0.95"),
    ):
        found = json.loads(scrutin("tally", "verify", path, "--json", code=ExitCode.NOT_A_RECORD))
        assert (found["verified"], found["record"]) == (False, False)
        assert words in found["error"]
    for name in ("manifest.json", "context.json", "guardians.json", "ballots.jsonl"):
        (tmp_path / name).write_text("{}")
    lacking = scrutin("tally", "verify", tmp_path, code=ExitCode.NOT_A_RECORD)
    assert "lacks tallies.jsonl" in lacking
    (tmp_path / "tallies.jsonl").touch()
    assert "NOT verify" in scrutin("tally", "verify", tmp_path, code=ExitCode.DIFFERENT)


async def head_of(world: TallyHarness) -> str:
    async with tally(tally_config(world.settings)) as asked:
        head = await asked.store.ballots_head("e")
    assert head is not None
    return head


async def tallied(world: TallyHarness) -> None:
    async with tally(tally_config(world.settings)) as asked:
        await world.tallied(asked, "e")


def test_a_wrong_passphrase_and_a_missing_one_are_named(tmp_path: Path) -> None:
    (tmp_path / "right").write_text("right\n")
    (tmp_path / "wrong").write_text("wrong\n")
    scrutin = Scrutin()
    options = ("--election", "e", "--order", 1, "--quorum", 1, "--directory", tmp_path)
    new = ("guardian", "new", "ann", *options)
    with pytest.raises(SettingsError, match="passphrase is required"):
        scrutin(*new)
    scrutin(*new, "--passphrase-file", tmp_path / "right")
    # A secret is never written over.
    with pytest.raises(SettingsError, match="File exists"):
        scrutin(*new, "--passphrase-file", tmp_path / "right")
    files = (tmp_path / "ann.secret.json", tmp_path / "ann.public.json")
    with pytest.raises(Refused, match="cannot be opened with this passphrase"):
        scrutin("guardian", "backup", *files, "--passphrase-file", tmp_path / "wrong")
