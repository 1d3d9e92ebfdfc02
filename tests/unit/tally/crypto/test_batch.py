"""Proofs checked together: what one by one is refused is refused together, signs included."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from itertools import count

import msgspec
import pytest
from gmpy2 import mpz
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.tally.crypto.ballots import EncryptedBallot
from streams.tally.crypto.batch import (
    Equation,
    GatheredBallots,
    ProofBatch,
    ShareBatch,
    multi_power,
    small,
    verify_ballots,
    without_powers,
)
from streams.tally.crypto.chaum_pedersen import (
    DisjunctiveProof,
    ShareProof,
    prove_selection,
    prove_sum,
)
from streams.tally.crypto.documents import from_json, to_json
from streams.tally.crypto.elgamal import Ciphertext, accumulate, encrypt
from streams.tally.crypto.group import (
    G,
    P,
    Q,
    fixed_base,
    g_power,
    inverse,
    power,
    product,
    to_hex,
)
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


def holds(members: list[mpz], commitments: list[mpz]) -> bool:
    """Whether all are found in the group: powers 0 of members, and g^t of commitments g."""
    equation = Equation()
    equation.add_members(members, [mpz(0)] * len(members))
    exponents = [small() for _ in commitments]
    equation.add_commitments(commitments, exponents)
    right = product([power(x, mpz(t)) for x, t in zip(commitments, exponents, strict=True)])
    return equation.equals(right)


def test_the_group_is_told_from_what_is_outside() -> None:
    inside = [g_power(mpz(number)) for number in (1, 2, 3)]
    assert holds(inside, inside)
    assert holds([], [])
    for _ in range(5):
        # Two wrong signs would cancel out, and squares outside have a large order.
        assert not holds([*inside, P - 1], inside)
        assert not holds([P - inside[0], P - inside[1]], inside)
        assert not holds([*inside, mpz(4)], inside)
        assert not holds([P - 4], [])
        assert not holds([mpz(0)], inside)
        assert not holds([P + 1], inside)
        assert not holds(inside, [P - inside[0], P - inside[1]])
        assert not holds([P - inside[0]], [P - inside[1]])


@pytest.mark.parametrize("outside", [mpz(4), P - 4])
def test_a_ciphertext_outside_the_group_is_noticed_though_commitments_make_up_for_it(
    world: SmallElection, outside: mpz
) -> None:
    """Both branches hold as equations of numbers mod p; only the group tells."""
    key, extended_hash = world.election.public_key, world.election.extended_hash
    secret = mpz(7)
    honest = encrypt(0, secret, key)
    selection = prove_selection(honest, 0, secret, key, extended_hash, seed=mpz(8))
    total = prove_sum(honest, 0, secret, key, extended_hash, seed=mpz(9))
    message = Ciphertext(honest.pad * outside % P, honest.data)
    a0, _, a1, _ = selection.elements()
    selection = msgspec.structs.replace(
        selection,
        proof_zero_pad=a0 * power(outside, -selection.proof_zero_challenge) % P,
        proof_one_pad=a1 * power(outside, -selection.proof_one_challenge) % P,
    )
    total = msgspec.structs.replace(total, pad=total.pad * power(outside, -total.challenge) % P)
    assert g_power(total.response) == total.pad * power(message.pad, total.challenge) % P
    for _ in range(8):
        batch = ProofBatch(key)
        batch.add_contest([(message, selection)], 0, total)
        assert not batch.holds()


@pytest.mark.parametrize("outside", [mpz(4), P - 1, P - 4])
@pytest.mark.parametrize("chosen", [mpz(0), mpz(1), Q // 3])
def test_ciphertexts_outside_the_group_are_noticed_though_their_product_is_inside(
    world: SmallElection, outside: mpz, chosen: mpz
) -> None:
    """Only a challenge that was chosen can be made up for; for -1 the other needs to be even."""
    key, extended_hash = world.election.public_key, world.election.extended_hash
    k, secret, v = fixed_base(key), mpz(7), mpz(13)
    selections = []
    for part in (outside, inverse(outside)):
        honest = encrypt(0, secret, key)
        message = Ciphertext(honest.pad * part % P, honest.data)
        one = (g_power(v) * power(part, -chosen) % P, k.power(v) * g_power(chosen) % P)
        for u in map(mpz, count(17)):
            zero = (g_power(u), k.power(u))
            c = hash_elements(extended_hash, message.pad, message.data, *zero, *one)
            if (c0 := (c - chosen) % Q) % 2 == 0:
                break
        proof = DisjunctiveProof(
            *zero, *one, c0, chosen, c, (u + c0 * secret) % Q, (v + chosen * secret) % Q
        )
        proof.verify_challenge(message, extended_hash)
        selections.append((message, proof))
    total = accumulate(message for message, _ in selections)
    proved = prove_sum(total, 0, 2 * secret, key, extended_hash, seed=mpz(9))
    proved.verify(total, 0, key, extended_hash)
    for _ in range(8):
        batch = ProofBatch(key)
        batch.add_contest(selections, 0, proved)
        assert not batch.holds()


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


@pytest.mark.parametrize("expected", [0, 5, 100_000])
def test_gathered_ballots_hold_unless_one_of_them_is_wrong(
    world: SmallElection, expected: int
) -> None:
    one, two, three = world.ballots
    ballots = [one, two, three, one, two]
    for wrong in (None, 0, 2, 4):
        given = list(ballots)
        if wrong is not None:
            given[wrong] = tampered(given[wrong], proof_zero_response="01")
        assert [without_powers(ballot, world.election) for ballot in given] == [None] * 5
        gathered = GatheredBallots(world.election, expected)
        for at in (0, 3, 5):
            gathered.add(given[at : at + 3])
        assert gathered.count == 5
        assert gathered.hold() == (wrong is None)


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
    total = prove_sum(message, 0, secret, key, extended_hash, seed=mpz(9))
    for _ in range(8):
        batch = ProofBatch(key)
        batch.add_contest([(message, proof)], 0, total)
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
