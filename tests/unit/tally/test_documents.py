"""What travels beside the cryptography: sealed secrets, packed ballots, mirror rows, helpers."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from schemas.tally import JobState, Lane, LaneKey, Mode, Phase, Running
from streams.errors import SettingsError
from streams.tally import work
from streams.tally.crypto.ceremony import make_backup, make_guardian
from streams.tally.crypto.documents import from_json, to_json
from streams.tally.crypto.elgamal import UNIT
from streams.tally.crypto.manifest import plain_manifest
from streams.tally.crypto.tallies import BallotLines, EncryptedTally
from streams.tally.files import ToDecrypt, check_backups, describe, read_document, write_document
from streams.tally.helpers import Helpers, WorkFailed
from streams.tally.mirror import job_id, job_rows
from streams.tally.packing import add_packed, pack_lines, unpack_lines
from streams.tally.refusals import RefusalCheck, Refused
from streams.tally.sealing import lock, make_key_file, open_sealed, public_key, seal, unlock
from streams.tally.work import Admit, Describe, DescribedElection, Multiply
from tests.small_election import SmallElection, make_election

SHAPE = {"mayor": ["ann", "bob"]}


@pytest.fixture(scope="module")
def world() -> SmallElection:
    manifest = plain_manifest("e", SHAPE, moment=datetime(2026, 1, 1, tzinfo=UTC))
    return make_election(manifest, random.Random(3), guardians=2, quorum=2, cast=2, spoiled=0)


@pytest.fixture(scope="module")
def described(world: SmallElection) -> DescribedElection:
    return DescribedElection(
        "e",
        to_json(world.election.manifest).decode(),
        to_json(world.election.context).decode(),
        to_json(world.keys).decode(),
    )


def refused(check: RefusalCheck, *arguments: object) -> None:
    function, *rest = arguments
    with pytest.raises(Refused) as caught:
        function(*rest)  # type: ignore[operator]
    assert caught.value.check == check


@pytest.mark.parametrize(("name", "taken"), [("postal-code", True), ("code: 7", False)])
def test_an_id_that_looks_like_credentials_is_refused(
    world: SmallElection, name: str, taken: bool
) -> None:
    """The bridge would take it out of each ballot."""
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    manifests = [
        plain_manifest("e", shape, moment=moment)
        for shape in ({name: ["ann", "bob"]}, {"mayor": ["ann", name]}, SHAPE)
    ]
    style = msgspec.structs.replace(manifests[-1].ballot_styles[0], object_id=name)
    manifests[-1] = msgspec.structs.replace(manifests[-1], ballot_styles=[style])
    for manifest in manifests:
        if taken:
            assert name in describe("e", manifest, world.keys, 2).manifest
        else:
            refused(RefusalCheck.MANIFEST, describe, "e", manifest, world.keys, 2)


def test_a_sealed_secret_opens_for_the_workers_and_its_own_election_only(
    world: SmallElection, tmp_path: Path
) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    shown = make_key_file(ours)
    make_key_file(theirs)
    assert shown == public_key(ours)
    assert ours.stat().st_mode & 0o077 == 0
    secret, key = world.secrets[0], world.keys[0]
    sealed = seal(secret, "e", shown)
    assert to_json(secret.key)[1:-1] not in sealed
    assert open_sealed(sealed, ours, "e", key) == secret
    refused(RefusalCheck.SECRET, open_sealed, sealed, theirs, "e", key)
    refused(RefusalCheck.SECRET, open_sealed, sealed, ours, "another", key)
    refused(RefusalCheck.SECRET, open_sealed, sealed, ours, "e", world.keys[1])
    refused(RefusalCheck.SECRET, open_sealed, sealed[:-1], ours, "e", key)
    refused(RefusalCheck.KEY, seal, secret, "e", "no key")
    with pytest.raises(SettingsError):
        open_sealed(sealed, tmp_path / "missing", "e", key)
    with pytest.raises(SettingsError):
        make_key_file(ours)


def test_a_secret_of_another_guardian_under_the_same_name_is_noticed(
    world: SmallElection, tmp_path: Path
) -> None:
    impostor, _ = make_guardian("guardian-1", 1, 2)
    sealed = seal(impostor, "e", make_key_file(tmp_path / "key"))
    refused(RefusalCheck.SECRET, open_sealed, sealed, tmp_path / "key", "e", world.keys[0])


def test_a_locked_secret_opens_with_its_passphrase_only(world: SmallElection) -> None:
    secret, key = world.secrets[0], world.keys[0]
    locked = lock(secret, "e", "correct horse")
    assert unlock(locked, "correct horse", key) == secret
    refused(RefusalCheck.SECRET, unlock, locked, "wrong horse", key)
    refused(RefusalCheck.SECRET, unlock, locked, "correct horse", world.keys[1])
    assert "coefficients" not in to_json(locked).decode()


def test_a_secret_does_not_show_in_its_representation(world: SmallElection) -> None:
    assert str(world.secrets[0].key) not in repr(world.secrets)


def test_backups_are_checked_to_be_there_and_good(world: SmallElection) -> None:
    good = make_backup(world.secrets[1], world.keys[0])
    check_backups(world.secrets[0], world.keys, [good])
    refused(RefusalCheck.BACKUP, check_backups, world.secrets[0], world.keys, [])


def test_documents_are_written_and_read(world: SmallElection, tmp_path: Path) -> None:
    path = tmp_path / "folder" / "key.json"
    write_document(world.keys[0], path)
    assert read_document(type(world.keys[0]), path) == world.keys[0]
    refused(RefusalCheck.FORMAT, read_document, ToDecrypt, path)
    with pytest.raises(SettingsError):
        read_document(ToDecrypt, tmp_path / "missing")
    write_document(1, tmp_path / "secret", secret=True)
    with pytest.raises(SettingsError):
        write_document(1, tmp_path / "secret", secret=True)


def test_packed_ciphertexts_multiply_as_the_others_do(world: SmallElection) -> None:
    election = world.election
    packed = [
        pack_lines(election, from_json(BallotLines, to_json(ballot)).lines())
        for ballot in world.ballots
    ]
    product = b""
    for each in packed:
        product = add_packed(election, product, [each])
    assert product == add_packed(election, b"", packed)
    assert unpack_lines(election, product) == world.tally.lines()
    assert unpack_lines(election, pack_lines(election, {})) == dict.fromkeys(
        election.line_names, UNIT
    )
    refused(RefusalCheck.FORMAT, add_packed, election, b"", [packed[0][:-1]])


async def test_helpers_answer_refuse_and_are_replaced_when_they_die(
    world: SmallElection, described: DescribedElection
) -> None:
    ballots = [to_json(ballot) for ballot in world.ballots]
    async with Helpers(1) as helpers:
        (good, bad) = work.admitted.decode(
            await helpers.ask(Admit(described, [ballots[0], ballots[1][:-9]]))
        )
        assert (good.ballot_id, good.state, good.refused) == ("ballot-0", 1, "")
        assert "format" in bad.refused
        with pytest.raises(WorkFailed, match="format"):
            await helpers.ask(Multiply(described, b"", [b"too short"]))
        (pid,) = helpers.pids()
        asking = asyncio.create_task(helpers.ask(Admit(described, ballots * 20)))
        await asyncio.sleep(0)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(WorkFailed, match="died"):
            await asking
        answer = await helpers.ask(Describe(described, good.ciphertexts, "one"))
        (tally,) = from_json(list[EncryptedTally], answer)
        assert tally.object_id == "one"
        assert helpers.pids() != [pid]
        many = [
            (answer, given)
            async for answer, given in helpers.in_order(
                lambda name: Describe(described, b"", name), ["a", "b", "c"]
            )
        ]
        assert [given for _, given in many] == ["a", "b", "c"]
        assert b'"c"' in many[2][0]
    assert not helpers.pids()


async def test_a_helper_that_takes_too_long_is_ended(
    world: SmallElection, described: DescribedElection
) -> None:
    ballots = [to_json(ballot) for ballot in world.ballots]
    async with Helpers(1, timeout_s=0.0) as helpers:
        with pytest.raises(WorkFailed, match="did not answer"):
            await helpers.ask(Admit(described, ballots))
        assert not helpers.pids()


def state(*lanes: Lane, **changes: object) -> JobState:
    made = JobState("e", ["a", "b"], 1, Mode.SINGLE, 50, "me", 1_000, list(lanes))
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def lane(phase: Phase, units: int, done: int, **changes: object) -> Lane:
    made = Lane(LaneKey(phase), units, given_out=done)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    ("given", "status", "chunks"),
    [
        (state(lane(Phase.PLAN, 1, 0)), "QUEUED", (0, 0, 0)),
        (state(lane(Phase.PLAN, 1, 1), lane(Phase.TALLY, 4, 2)), "IN_PROGRESS", (4, 2, 0)),
        (
            state(lane(Phase.TALLY, 4, 4), lane(Phase.TOTAL, 1, 1)),
            "COMPLETED",
            (4, 4, 0),
        ),
        (state(lane(Phase.TALLY, 4, 4, failed={2: "why"})), "FAILED", (4, 3, 1)),
        (
            state(lane(Phase.TALLY, 4, 4, failed={2: "why"}, running={3: Running(1, 0)})),
            "IN_PROGRESS",
            (4, 2, 1),
        ),
        (state(lane(Phase.TALLY, 4, 2), cancelled=True), "CANCELLED", (4, 2, 0)),
    ],
)
def test_the_mirror_shows_how_far_a_job_is(
    given: JobState, status: str, chunks: tuple[int, int, int]
) -> None:
    (row,) = job_rows(given, 2_000)
    assert row[0] == job_id("e", "TALLY")
    assert row[5] == status
    assert row[6:9] == chunks
    assert (row[11] is not None) == (status == "COMPLETED")
    assert row[12] == ("why" if chunks[2] else None)
