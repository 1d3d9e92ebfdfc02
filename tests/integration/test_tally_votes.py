"""Encrypted ballots as the choices of votes: one a voter, admitted if they prove what they hold."""

from __future__ import annotations

import itertools
import json
import random
from functools import partial
from pathlib import Path

import asyncpg
import msgspec
import pytest

from streams.adapters.rabbitmq.client import connected
from streams.core.keys import ENCRYPTED_BALLOT
from streams.devstack import Stack
from streams.load.programs import worker
from streams.settings.build import tally_config
from streams.tally.collecting import CHOICE, collect
from streams.tally.commands import tally
from streams.tally.crypto.ballots import BallotState, EncryptedBallot, ballot_code, encrypt_ballot
from streams.tally.crypto.documents import to_json
from streams.tally.crypto.hashing import hash_elements
from streams.tally.helpers import Helpers
from streams.tally.refusals import RefusalCheck, Refused
from tests.harness import database, until
from tests.integration.tally_harness import TallyHarness, plain_election, tally_harness
from tests.small_election import Voting, begin_election

pytestmark = pytest.mark.timeout(240)

NAME = "mayor-2026"
LINE = "mayor-candidate-1-selection"
LONG_BODIES = {"SCRUTIN_MAX_BODY_BYTES": "524288", "SCRUTIN_STAGES": "votes"}


def ballot_of(held: Voting, name: str, state: BallotState = BallotState.CAST) -> EncryptedBallot:
    return encrypt_ballot(held.election, name, "ballot", {"mayor": [LINE]}, state=state)


def copied(ballot: EncryptedBallot, name: str) -> EncryptedBallot:
    """The same ciphertexts and proofs under another id, with all hashes recomputed."""
    context_hash = ballot.manifest_hash
    crypto_hash = hash_elements(name, context_hash, *(c.crypto_hash for c in ballot.contests))
    code = ballot_code(ballot.code_seed, ballot.timestamp, crypto_hash)
    return msgspec.structs.replace(ballot, object_id=name, crypto_hash=crypto_hash, code=code)


def with_short_code(ballot: EncryptedBallot) -> EncryptedBallot:
    """The ballot at the first second at which its code has a leading byte of zeros, left out."""
    times_s = itertools.count(ballot.timestamp)
    codes = ((at_s, ballot_code(ballot.code_seed, at_s, ballot.crypto_hash)) for at_s in times_s)
    timestamp_s, code = next((at_s, code) for at_s, code in codes if code < 1 << 248)
    return msgspec.structs.replace(ballot, timestamp=timestamp_s, code=code)


def text_of(ballot: EncryptedBallot) -> str:
    return to_json(ballot).decode()


def tampered(ballot: EncryptedBallot) -> str:
    """With a proof that does not hold."""
    document = json.loads(to_json(ballot))
    proof = document["contests"][0]["proof"]
    proof["response"] = f"{int(proof['response'], 16) ^ 1:064X}"
    return json.dumps(document)


def message(voter: str, ballot: object, **more: object) -> bytes:
    fields = {
        "voter_hash": voter,
        "election_id": NAME,
        "candidate_id": CHOICE,
        ENCRYPTED_BALLOT: ballot,
    }
    return json.dumps({**fields, **more}).encode()


async def test_each_voter_s_ballot_is_admitted_once_if_it_proves_what_it_holds(
    stack: Stack, tmp_path: Path
) -> None:
    held = begin_election(plain_election(NAME, 10), random.Random(4), guardians=1, quorum=1)
    first, second = ballot_of(held, "b-ann"), ballot_of(held, "b-bea")
    bodies = [
        message("ann", text_of(first)),
        message("bea", text_of(second), timestamp="2026-11-22T10:00:00Z"),
        message("ann", text_of(ballot_of(held, "b-ann-again"))),
        message("cem", tampered(ballot_of(held, "b-cem"))),
        message("eve", text_of(ballot_of(held, "b-eve", BallotState.SPOILED))),
        # Not as text: the bridge takes fields called `code` out wherever they stand.
        message("fay", json.loads(to_json(ballot_of(held, "b-fay")))),
        message("gil", None),
        # Under the id of a ballot that comes later: both count.
        message("hal", text_of(with_short_code(ballot_of(held, "b-ida")))),
        message("ida", text_of(ballot_of(held, "b-ida"))),
        # The last that is counted: who comes first has the ciphertexts.
        message("dan", text_of(copied(first, "b-dan"))),
    ]
    assert max(map(len, bodies)) < 131_072
    async with (
        tally_harness(stack, tmp_path) as world,
        tally(tally_config(world.settings)) as asked,
    ):
        described = await world.put_election(asked, NAME, held)
        await counted(world, bodies)
        with pytest.raises(Refused, match="9 counted votes") as early:
            await asked.create(NAME)
        assert early.value.check == RefusalCheck.TALLY
        async with Helpers(1) as helpers:
            outcome = await collect(asked.store, helpers, described)
            again = await collect(asked.store, helpers, described)
        assert (again.admitted, again.refused) == (0, [])
        assert outcome.admitted == 4
        assert len(outcome.refused) == 5
        kept = [name async for name, _, _ in asked.store.ballots(NAME)]
        assert sorted(kept) == ["b-ann", "b-bea", "b-ida", "b-ida"]
        created = await asked.create(NAME)
        assert created.ballots == 4
        await the_books_agree(world)


async def counted(world: TallyHarness, bodies: list[bytes]) -> None:
    """Publish votes and wait until the chain has counted or rejected them all."""
    votes = worker({**world.env, **LONG_BODIES, "SCRUTIN_ROLL": "open"}, world.directory, "votes")
    world.programs.append(votes.start())
    async with (
        world.bridge(**LONG_BODIES) as bridge,
        connected(world.settings.rabbit, "scrutin test") as broker,
    ):
        channel = await broker.channel()
        await bridge.ready()
        await votes.ready()
        connection = await database(world.settings)
        try:
            for number, body in enumerate(bodies, 1):
                channel.raw.basic_publish("", "votes.validation", body)
                if number >= len(bodies) - 1:
                    await until(partial(_decided, connection, number), "votes are decided", 90)
        finally:
            await connection.close()


async def _decided(connection: asyncpg.Connection, votes: int) -> bool:
    found = await connection.fetchval(
        "SELECT (SELECT count(*) FROM vote_audit) + (SELECT count(*) FROM rejected_votes)"
    )
    return bool(found == votes)


async def the_books_agree(world: TallyHarness) -> None:
    """Envelope, voted table and audit are those of any vote; every ballot is somewhere."""
    connection = await database(world.settings)
    try:
        audit = await connection.fetch("SELECT voter_hash, contest, choice FROM vote_audit")
        assert {tuple(row) for row in audit} == {
            (voter, f"election:{NAME}", CHOICE)
            for voter in ("ann", "bea", "cem", "dan", "eve", "fay", "gil", "hal", "ida")
        }
        rejected = await connection.fetch("SELECT voter_hash, reason FROM rejected_votes")
        assert [tuple(row) for row in rejected] == [("ann", "already_voted")]
        books = await connection.fetch(
            "SELECT a.voter_hash, b.ballot_id, b.refused FROM ballot_votes b"
            " JOIN vote_audit a USING (vote_hash) ORDER BY 1"
        )
        found = {row[0]: row[1] or row[2] for row in books}
        assert found.keys() == {"ann", "bea", "cem", "dan", "eve", "fay", "gil", "hal", "ida"}
        assert [found[who] for who in ("ann", "bea", "hal", "ida")] == [
            *("b-ann", "b-bea", "b-ida", "b-ida")
        ]
        for voter, why in (
            ("cem", "equation"),
            ("dan", "these ciphertexts"),
            ("eve", "not a cast ballot"),
            ("fay", "format"),
            ("gil", "format"),
        ):
            assert why in found[voter], found
    finally:
        await connection.close()
