"""Proofs checked together: what one by one is refused is refused together, signs included."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime

import pytest
from gmpy2 import mpz
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.tally.crypto.ballots import EncryptedBallot
from streams.tally.crypto.batch import (
    ProofBatch,
    ShareBatch,
    all_in_subgroup,
    multi_power,
    verify_ballots,
)
from streams.tally.crypto.chaum_pedersen import DisjunctiveProof, ShareProof
from streams.tally.crypto.documents import from_json, to_json
from streams.tally.crypto.elgamal import encrypt
from streams.tally.crypto.group import G, P, Q, fixed_base, g_power, power, product, to_hex
from streams.tally.crypto.hashing import hash_elements
from streams.tally.crypto.manifest import plain_manifest
from streams.tally.refusals import RefusalCheck, Refused
from tests.small_election import SmallElection, make_election


@pytest.fixture(scope="module")
def world() -> SmallElection:
    manifest = plain_manifest(
        "e", {"mayor": ["ann", "bob"]}, moment=datetime(2026, 1, 1, tzinfo=UTC)
    )
    return make_election(manifest, random.Random(5), guardians=1, quorum=1, cast=3, spoiled=0)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 2**256), max_size=40), st.integers(0))
def test_products_of_powers_are_those_of_single_powers(exponents: list[int], seed: int) -> None:
    rng = random.Random(seed)
    elements = [mpz(rng.randrange(1, int(P))) for _ in exponents]
    each = [power(x, mpz(e)) for x, e in zip(elements, exponents, strict=True)]
    assert multi_power(elements, exponents) == product(each)


def test_the_group_is_told_from_what_is_outside() -> None:
    inside = [g_power(mpz(number)) for number in (1, 2, 3)]
    assert all_in_subgroup(inside)
    assert all_in_subgroup([])
    for _ in range(5):
        # Two wrong signs would cancel out, and squares outside have a large order.
        assert not all_in_subgroup([*inside, P - 1])
        assert not all_in_subgroup([P - inside[0], P - inside[1]])
        assert not all_in_subgroup([*inside, mpz(4)])
        assert not all_in_subgroup([mpz(0)])
        assert not all_in_subgroup([P + 1])


def tampered(ballot: EncryptedBallot, **changes: str) -> EncryptedBallot:
    raw = json.loads(to_json(ballot))
    raw["contests"][0]["ballot_selections"][1]["proof"].update(changes)
    return from_json(EncryptedBallot, json.dumps(raw))


def test_good_ballots_are_accepted_together(world: SmallElection) -> None:
    assert verify_ballots(world.ballots, world.election) == [None] * 3
    assert verify_ballots([], world.election) == []


@pytest.mark.parametrize(
    ("check", "changes"),
    [
        (RefusalCheck.EQUATION, {"proof_zero_response": "01"}),
        (RefusalCheck.EQUATION, {"proof_one_response": "02"}),
        (RefusalCheck.RANGE, {"proof_one_response": to_hex(Q)}),
        (RefusalCheck.CHALLENGE, {"challenge": "01"}),
        (RefusalCheck.CHALLENGE, {"proof_one_pad": to_hex(G)}),
    ],
)
def test_a_wrong_ballot_is_named_and_the_others_are_accepted(
    world: SmallElection, check: RefusalCheck, changes: dict[str, str]
) -> None:
    one, two, three = world.ballots
    outcome = verify_ballots([one, tampered(two, **changes), three], world.election)
    assert [outcome[0], outcome[2]] == [None, None]
    assert isinstance(outcome[1], Refused)
    assert outcome[1].check == check


@pytest.mark.parametrize("flipped", [{0}, {1}, {2}, {3}, {0, 2}, {0, 1, 2, 3}])
def test_a_proof_with_wrong_signs_never_slips_through(
    world: SmallElection, flipped: set[int]
) -> None:
    """A proof of 0 made properly but for commitments times -1, whose powers are 1 half the time."""
    key, extended_hash = world.election.public_key, world.election.extended_hash
    secret, w, v, u = mpz(7), mpz(11), mpz(13), mpz(17)
    message = encrypt(0, secret, key)
    k = fixed_base(key)
    honest = [g_power(u), k.power(u), g_power(v), k.power(v) * g_power(w) % P]
    signed = [P - x if index in flipped else x for index, x in enumerate(honest)]
    c = hash_elements(extended_hash, message.pad, message.data, *signed)
    c0 = (c - w) % Q
    proof = DisjunctiveProof(*signed, c0, w, c, (u + c0 * secret) % Q, (v + w * secret) % Q)
    with pytest.raises(Refused):
        proof.verify(message, key, extended_hash)
    for _ in range(8):
        batch = ProofBatch(key, extended_hash)
        batch.add_selection(message, proof)
        assert not batch.holds()


@pytest.mark.parametrize("flipped", [{"pad"}, {"data"}, {"pad", "data"}, {"share"}])
def test_a_share_with_wrong_signs_never_slips_through(
    world: SmallElection, flipped: set[str]
) -> None:
    secret, u = world.secrets[0].key, mpz(19)
    message, extended_hash = encrypt(1, mpz(5), world.election.public_key), mpz(3)
    honest = {
        "pad": g_power(u),
        "data": power(message.pad, u),
        "share": power(message.pad, secret),
    }
    a, b, share = (P - x if name in flipped else x for name, x in honest.items())
    c = hash_elements(extended_hash, message.pad, message.data, a, b, share)
    proof = ShareProof(a, b, c, (u + c * secret) % Q)
    with pytest.raises(Refused):
        proof.verify(message, world.keys[0].key, share, extended_hash)
    for _ in range(8):
        batch = ShareBatch(extended_hash)
        batch.add(message, world.keys[0].key, share, proof)
        assert not batch.holds()
