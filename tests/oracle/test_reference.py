"""Both ways: electionguard 1.4.0 accepts what we make, and we accept what it makes.

Elections are new in every run; the header of the run has the seed of their shapes and votes.
"""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest
from gmpy2 import mpz

from streams.tally.crypto.ballots import BallotState, EncryptedBallot
from streams.tally.crypto.ceremony import (
    Backup,
    GuardianKey,
    GuardianSecret,
    joint_key,
    make_backup,
    open_backup,
    verify_guardians,
)
from streams.tally.crypto.decryption import (
    DiscreteLog,
    PlainTally,
    decrypt_tally,
    verify_plain_tally,
)
from streams.tally.crypto.documents import from_json, to_json
from streams.tally.crypto.election import Context, CryptoElection
from streams.tally.crypto.manifest import Manifest, plain_manifest
from streams.tally.crypto.shares import (
    CompensatedShare,
    DecryptionShare,
    make_compensated_share,
    make_share,
    verify_compensated_share,
    verify_share,
)
from streams.tally.crypto.tallies import Accumulator, BallotLines, EncryptedTally, spoiled_tally
from streams.tally.crypto.verify_ballot import verify_ballot
from tests.oracle.program import Reference
from tests.small_election import SmallElection, make_election

pytestmark = pytest.mark.timeout(240, func_only=True)

T = TypeVar("T")


def read(kind: type[T], document: Any) -> T:
    return from_json(kind, json.dumps(document))


def raw(document: Any) -> Any:
    return json.loads(to_json(document))


@pytest.fixture(scope="module")
def theirs(reference: Reference, rng: random.Random) -> dict[str, Any]:
    """An election that the reference held: 3 guardians, quorum 2, the first absent."""
    answer: dict[str, Any] = reference(
        "election", seed=rng.random(), guardians=3, quorum=2, absent=1, cast=4, spoiled=1
    )
    return answer


@pytest.fixture(scope="module")
def election(theirs: dict[str, Any]) -> CryptoElection:
    return CryptoElection(read(Manifest, theirs["manifest"]), read(Context, theirs["context"]))


@pytest.fixture(scope="module")
def ours(rng: random.Random) -> SmallElection:
    """An election that we held, in shape as its seed has it."""
    shape = {
        f"contest-{number}": [f"candidate-{n}" for n in range(rng.randint(2, 3))]
        for number in range(rng.randint(1, 2))
    }
    manifest = plain_manifest("ours", shape, moment=datetime(2026, 1, 1, tzinfo=UTC))
    return make_election(manifest, rng, guardians=3, quorum=2, cast=4, spoiled=1)


def test_we_derive_the_reference_s_context(
    theirs: dict[str, Any], election: CryptoElection
) -> None:
    keys = [read(GuardianKey, key) for key in theirs["keys"]]
    verify_guardians(keys, 2)
    assert joint_key(keys) == (election.public_key, election.context.commitment_hash)


def test_we_accept_the_reference_s_ballots(
    theirs: dict[str, Any], election: CryptoElection
) -> None:
    for document in theirs["ballots"]:
        verify_ballot(read(EncryptedBallot, document), election)


def test_we_add_the_reference_s_ballots_up_as_it_does(
    theirs: dict[str, Any], election: CryptoElection
) -> None:
    accumulator = Accumulator(election)
    for document in theirs["ballots"]:
        if document["state"] == BallotState.CAST:
            accumulator.add(read(BallotLines, document).lines())
    assert accumulator.result("tally") == read(EncryptedTally, theirs["tally"])


def test_we_decrypt_the_reference_s_tally_from_its_shares(
    theirs: dict[str, Any], election: CryptoElection
) -> None:
    tally = read(EncryptedTally, theirs["tally"])
    keys = [read(GuardianKey, key) for key in theirs["keys"]]
    plain = decrypt_tally(
        tally,
        [read(DecryptionShare, share) for share in theirs["shares"]],
        [read(CompensatedShare, share) for share in theirs["compensated"]],
        keys,
        quorum=2,
        extended_hash=election.extended_hash,
        logarithm=DiscreteLog(4),
    )
    assert plain.counts() == theirs["counts"]
    published = read(PlainTally, theirs["plain"])
    verify_plain_tally(
        published, tally, keys, quorum=2, extended_hash=election.extended_hash, limit=4
    )


def test_we_open_the_reference_s_backups_and_share_with_its_guardians_secrets(
    theirs: dict[str, Any], election: CryptoElection
) -> None:
    tally = read(EncryptedTally, theirs["tally"])
    keys = {key["owner_id"]: read(GuardianKey, key) for key in theirs["keys"]}
    secrets = {s["owner_id"]: read(GuardianSecret, s) for s in theirs["secrets"]}
    backup = read(Backup, theirs["backups"][0])
    owner, key = keys[backup.owner_id], keys[backup.designated_id]
    coordinate = open_backup(backup, secrets[key.owner_id], owner)
    part = make_compensated_share(tally, coordinate, key, owner, election.extended_hash)
    verify_compensated_share(part, tally, key, owner, election.extended_hash)
    share = make_share(tally, secrets[key.owner_id], key, election.extended_hash)
    verify_share(share, tally, key, election.extended_hash)


def test_the_reference_derives_our_context(reference: Reference, ours: SmallElection) -> None:
    answer = reference(
        "context",
        manifest=raw(ours.election.manifest),
        keys=[raw(key) for key in ours.keys],
        quorum=ours.election.context.quorum,
    )
    assert answer["valid"]
    assert answer["proofs"]
    assert read(Context, answer["context"]).crypto_extended_base_hash == ours.election.extended_hash
    assert read(Context, answer["context"]).elgamal_public_key == ours.election.public_key


def test_the_reference_opens_our_backup(reference: Reference, ours: SmallElection) -> None:
    assert reference(
        "backup",
        secret=raw(ours.secrets[0]),
        receiver=raw(ours.keys[0]),
        owner=raw(ours.keys[2]),
        backup=raw(make_backup(ours.secrets[2], ours.keys[0])),
    )


def test_the_reference_accepts_our_ballots(reference: Reference, ours: SmallElection) -> None:
    context, manifest = raw(ours.election.context), raw(ours.election.manifest)
    documents = [raw(ballot) for ballot in ours.ballots]
    spoilt = raw(ours.ballots[0])
    number = mpz(spoilt["contests"][0]["proof"]["response"], 16) ^ 1
    spoilt["contests"][0]["proof"]["response"] = f"{int(number):064X}"
    answer = reference("ballots", manifest=manifest, context=context, ballots=[*documents, spoilt])
    assert answer == [True] * len(documents) + [False]


def test_the_reference_adds_our_ballots_up_as_we_do(
    reference: Reference, ours: SmallElection
) -> None:
    answer = reference(
        "tally",
        manifest=raw(ours.election.manifest),
        context=raw(ours.election.context),
        ballots=[raw(ballot) for ballot in ours.ballots],
    )
    assert read(EncryptedTally, answer) == ours.tally


def test_the_reference_decrypts_our_tally_from_our_shares(
    reference: Reference, ours: SmallElection
) -> None:
    request = {
        "manifest": raw(ours.election.manifest),
        "context": raw(ours.election.context),
        "keys": [raw(key) for key in ours.keys],
    }
    shares, compensated = ours.shares(ours.tally, present=(0, 2))
    documents = [raw(share) for share in shares], [raw(part) for part in compensated]
    answer = reference(
        "decrypt", tally=raw(ours.tally), shares=documents[0], compensated=documents[1], **request
    )
    assert answer == ours.counts
    selections = documents[0][0]["contests"]["contest-0"]["selections"]
    next(iter(selections.values()))["proof"]["response"] = "01"
    answer = reference(
        "decrypt", tally=raw(ours.tally), shares=documents[0], compensated=documents[1], **request
    )
    assert answer is None


def test_the_reference_accepts_our_published_count(
    reference: Reference, ours: SmallElection
) -> None:
    shares, compensated = ours.shares(ours.tally, present=(1, 2))
    plain = decrypt_tally(
        ours.tally,
        shares,
        compensated,
        ours.keys,
        quorum=2,
        extended_hash=ours.election.extended_hash,
        logarithm=DiscreteLog(4),
    )
    request = {
        "manifest": raw(ours.election.manifest),
        "context": raw(ours.election.context),
        "keys": [raw(key) for key in ours.keys],
    }
    published = raw(plain)
    assert reference("plain", plain=published, **request) == ours.counts
    next(iter(published["contests"]["contest-0"]["selections"].values()))["tally"] += 1
    assert reference("plain", plain=published, **request) is None


def test_the_reference_decrypts_our_spoiled_ballot_from_our_shares(
    reference: Reference, ours: SmallElection
) -> None:
    ballot = next(ballot for ballot in ours.ballots if ballot.state == BallotState.SPOILED)
    lines = from_json(BallotLines, to_json(ballot))
    shares, compensated = ours.shares(
        spoiled_tally(ballot.object_id, lines, ours.election), present=(1, 2)
    )
    answer = reference(
        "decrypt",
        manifest=raw(ours.election.manifest),
        context=raw(ours.election.context),
        keys=[raw(key) for key in ours.keys],
        ballot=raw(ballot),
        shares=[raw(share) for share in shares],
        compensated=[raw(part) for part in compensated],
    )
    assert answer == ours.spoiled_counts[ballot.object_id]
