"""The cryptography by itself: what is sound is accepted, every tampering is refused by its name."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import gmpy2
import pytest
from gmpy2 import is_prime, mpz

from streams.tally.crypto.ballots import BallotState, EncryptedBallot, encrypt_ballot
from streams.tally.crypto.ceremony import (
    GuardianKey,
    coordinate,
    joint_key,
    make_backup,
    make_guardian,
    open_backup,
    recovery_key,
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
from streams.tally.crypto.group import (
    ONE,
    FixedBase,
    G,
    P,
    Q,
    R,
    g_power,
    in_subgroup,
    power,
    secret_power,
    to_hex,
    windows_for,
)
from streams.tally.crypto.hashing import hash_elements
from streams.tally.crypto.manifest import Manifest
from streams.tally.crypto.tallies import (
    Accumulator,
    BallotLines,
    combine_tallies,
    spoiled_tally,
)
from streams.tally.crypto.verify_ballot import verify_ballot
from streams.tally.refusals import RefusalCheck
from tests.small_election import SmallElection
from tests.unit.tally.crypto.tampering import (
    OUTSIDE,
    assign,
    change,
    open_tally,
    refuse,
    two_contests,
)


@pytest.fixture(scope="module")
def world() -> SmallElection:
    return two_contests()


def test_the_group_is_the_standard_one() -> None:
    assert is_prime(P)
    assert is_prime(Q)
    assert is_prime(R // 2)
    assert P.digits(2).startswith("1" * 256)
    assert P.digits(2).endswith("1" * 256)
    assert in_subgroup(G)
    assert not in_subgroup(P - 1)
    assert not in_subgroup(mpz(0))


@pytest.mark.parametrize("exponent", [0, 1, 255, 256, int(Q) - 1])
def test_tables_and_constant_time_agree_with_plain_powers(exponent: int) -> None:
    base = power(G, mpz(7))
    expected = power(base, mpz(exponent))
    assert FixedBase(base).power(mpz(exponent)) == expected
    assert secret_power(base, mpz(exponent)) == expected


@pytest.mark.parametrize("powers", [0, 50_000, 300_000, 10**7])
def test_a_table_for_many_powers_has_fewer_windows_and_gives_the_same_powers(powers: int) -> None:
    prime = mpz(2) ** 61 - 1
    table = FixedBase(mpz(37), prime)
    exponents = [mpz(0), mpz(1), mpz(2) ** 13, Q - 1, mpz(3) ** 150]
    before = [table.power(each) for each in exponents]
    table.widen(powers)
    assert [table.power(each) for each in exponents] == before
    assert before == [gmpy2.powmod(37, each, prime) for each in exponents]


def test_windows_are_fitted_to_the_number_of_powers() -> None:
    assert [windows_for(powers) for powers in (0, 50_000, 200_000, 10**7)] == [26, 20, 18, 17]


def test_the_hash_is_sha_256_over_delimited_elements() -> None:
    digest = int.from_bytes(sha256(b"|0B0C|12|word|null|").digest())
    assert hash_elements(mpz(0xB0C), 12, "word", None) == mpz(digest) % Q
    assert hash_elements([1, 2]) == hash_elements(hash_elements(1, 2))
    assert hash_elements([]) == hash_elements(None)


def test_an_election_runs_from_ballots_to_the_plaintext_count(
    world: SmallElection,
) -> None:
    for ballot in world.ballots:
        verify_ballot(from_json(EncryptedBallot, to_json(ballot)), world.election)
    verify_guardians(world.keys, 2)
    _, _, plain = open_tally(world)
    assert plain.counts() == world.counts
    verify_plain_tally(
        from_json(PlainTally, to_json(plain)),
        world.tally,
        world.keys,
        quorum=2,
        extended_hash=world.election.extended_hash,
        limit=3,
    )


def test_any_quorum_decrypts_a_spoiled_ballot(world: SmallElection) -> None:
    ballot = world.ballots[-1]
    tally = spoiled_tally(ballot.object_id, from_json(BallotLines, to_json(ballot)), world.election)
    for present in ((0, 1), (1, 2), (0, 1, 2)):
        shares, parts = world.shares(tally, present)
        plain = decrypt_tally(
            tally,
            shares,
            parts,
            world.keys,
            quorum=2,
            extended_hash=world.election.extended_hash,
            logarithm=DiscreteLog(1),
        )
        expected = world.spoiled_counts[ballot.object_id]
        assert {name: plain.counts()[name] for name in expected} == expected


def test_tallies_of_chunks_multiply_to_the_tally_of_all(world: SmallElection) -> None:
    chunks = []
    for ballot in world.ballots[:3]:
        accumulator = Accumulator(world.election)
        accumulator.add(from_json(BallotLines, to_json(ballot)).lines())
        chunks.append(accumulator.result(ballot.object_id))
    assert combine_tallies(world.election, "tally", chunks) == world.tally
    foreign = change(chunks[0], lambda raw: raw["contests"].pop("mayor"))
    refuse(RefusalCheck.TALLY, lambda: combine_tallies(world.election, "tally", [foreign]))


SELECTION = ("contests", 0, "ballot_selections", 0)
PROOF = (*SELECTION, "proof")
CONTEST = ("contests", 0)


@pytest.mark.parametrize(
    ("check", "path", "value"),
    [
        (RefusalCheck.RANGE, (*PROOF, "proof_zero_response"), to_hex(Q)),
        (RefusalCheck.RANGE, (*PROOF, "proof_one_challenge"), "FF" * 33),
        (RefusalCheck.CHALLENGE, (*PROOF, "challenge"), "01"),
        (RefusalCheck.CHALLENGE, (*PROOF, "proof_zero_pad"), OUTSIDE),
        (RefusalCheck.CHALLENGE, (*PROOF, "proof_one_data"), to_hex(G)),
        (RefusalCheck.EQUATION, (*PROOF, "proof_zero_response"), "01"),
        (RefusalCheck.EQUATION, (*PROOF, "proof_one_response"), "01"),
        (RefusalCheck.EQUATION, PROOF, None),
        (RefusalCheck.LIMIT, (*CONTEST, "proof", "constant"), 2),
        (RefusalCheck.RANGE, (*CONTEST, "proof", "response"), to_hex(Q)),
        (RefusalCheck.CHALLENGE, (*CONTEST, "proof", "pad"), to_hex(G)),
        (RefusalCheck.EQUATION, (*CONTEST, "proof", "response"), "01"),
        (RefusalCheck.EQUATION, (*CONTEST, "proof"), None),
        (RefusalCheck.ACCUMULATION, (*CONTEST, "ciphertext_accumulation", "pad"), to_hex(G)),
        (RefusalCheck.HASH, (*SELECTION, "ciphertext", "pad"), to_hex(G)),
        (RefusalCheck.HASH, (*SELECTION, "crypto_hash"), "01"),
        (RefusalCheck.HASH, (*SELECTION, "description_hash"), "01"),
        (RefusalCheck.HASH, (*CONTEST, "crypto_hash"), "01"),
        (RefusalCheck.HASH, ("crypto_hash",), "01"),
        (RefusalCheck.HASH, ("manifest_hash",), "01"),
        (RefusalCheck.HASH, ("object_id",), "another"),
        (RefusalCheck.CODE, ("code",), "01"),
        (RefusalCheck.CODE, ("timestamp",), 1),
        (RefusalCheck.STYLE, ("style_id",), "none"),
        (RefusalCheck.STYLE, (*CONTEST, "object_id"), "bridge"),
        (RefusalCheck.STYLE, (*SELECTION, "sequence_order"), 9),
        (RefusalCheck.STYLE, (*SELECTION, "is_placeholder_selection"), True),
        (RefusalCheck.STYLE, ("contests",), []),
        (RefusalCheck.NONCE, ("nonce",), "01"),
        (RefusalCheck.NONCE, (*SELECTION, "nonce"), "01"),
        (RefusalCheck.NONCE, (*CONTEST, "nonce"), "01"),
        (RefusalCheck.STATE, ("state",), 999),
        (RefusalCheck.FORMAT, ("object_id",), "nul\x00"),
        (RefusalCheck.FORMAT, ("object_id",), ""),
    ],
)
def test_a_tampered_ballot_is_refused_by_name(
    world: SmallElection, check: RefusalCheck, path: tuple[str | int, ...], value: object
) -> None:
    ballot = change(world.ballots[0], assign(*path, value=value))
    refuse(check, lambda: verify_ballot(ballot, world.election))


def test_an_element_outside_the_subgroup_is_refused_even_where_the_equations_hold(
    world: SmallElection,
) -> None:
    """-1 to an even power is 1, so that only the membership check tells."""
    ballot = world.ballots[0]
    selection = ballot.contests[0].ballot_selections[0]
    proof = selection.proof
    assert proof is not None
    outside = P - selection.ciphertext.pad
    message = type(selection.ciphertext)(outside, selection.ciphertext.data)
    challenge = hash_elements(
        world.election.extended_hash, message.pad, message.data, *proof.elements()
    )
    edits = {
        "challenge": to_hex(challenge),
        "proof_zero_challenge": to_hex((challenge - proof.proof_one_challenge) % Q),
    }
    forged = change(proof, lambda raw: raw.update(edits))
    refuse(
        RefusalCheck.SUBGROUP,
        lambda: forged.verify(message, world.election.public_key, world.election.extended_hash),
    )


def test_what_is_not_a_ballot_is_refused_without_quoting_it(world: SmallElection) -> None:
    for text in ("", "[]", '{"object_id": 3}', '{"object_id": "x"', "\ud800"):
        data = text.encode("utf-8", "surrogatepass")
        refused = refuse(RefusalCheck.FORMAT, lambda data=data: from_json(EncryptedBallot, data))
        assert "object_id" not in str(refused) or "$" in str(refused)
    huge = change_raw(world.ballots[0], assign("code", value="F" * 2_000))
    refuse(RefusalCheck.FORMAT, lambda: from_json(EncryptedBallot, huge))


def change_raw(document: object, edit: Callable[[Any], object]) -> str:
    raw = json.loads(to_json(document))
    edit(raw)
    return json.dumps(raw)


def test_a_voter_can_neither_overvote_nor_choose_what_is_not_there(world: SmallElection) -> None:
    def vote(choices: dict[str, list[str]], style: str = "ballot") -> Callable[[], EncryptedBallot]:
        return lambda: encrypt_ballot(world.election, "b", style, choices)

    both = ["mayor-ann-selection", "mayor-bob-selection"]
    refuse(RefusalCheck.OVERVOTE, vote({"mayor": both}))
    refuse(RefusalCheck.OVERVOTE, vote({"mayor": both[:1] * 2}))
    refuse(RefusalCheck.UNKNOWN_CHOICE, vote({"mayor": ["bridge-yes-selection"]}))
    refuse(RefusalCheck.UNKNOWN_CHOICE, vote({"judge": []}))
    refuse(RefusalCheck.STYLE, vote({}, "none"))


def test_the_same_nonce_gives_the_same_ballot_and_another_another(world: SmallElection) -> None:
    def vote(nonce: int | None) -> EncryptedBallot:
        return encrypt_ballot(
            world.election,
            "b",
            "ballot",
            {},
            timestamp_s=1,
            master_nonce=None if nonce is None else mpz(nonce),
        )

    assert vote(1) == vote(1)
    assert len({vote(1).code, vote(2).code, vote(None).code, vote(None).code}) == 4


def test_backups_open_for_their_receiver_only(world: SmallElection) -> None:
    owner, receiver = world.secrets[2], world.secrets[0]
    backup = make_backup(owner, world.keys[0])
    value = open_backup(backup, receiver, world.keys[2])
    assert value == coordinate(owner, 1)
    assert g_power(value) == recovery_key(world.keys[2], 1)
    refuse(RefusalCheck.BACKUP, lambda: open_backup(backup, world.secrets[1], world.keys[2]))
    refuse(RefusalCheck.BACKUP, lambda: open_backup(backup, receiver, world.keys[1]))
    for path, value, check in (
        (("encrypted_coordinate", "mac"), "00", RefusalCheck.BACKUP),
        (("encrypted_coordinate", "data"), "00", RefusalCheck.BACKUP),
        (("encrypted_coordinate", "data"), "xy", RefusalCheck.BACKUP),
        (("encrypted_coordinate", "pad"), to_hex(G), RefusalCheck.BACKUP),
        (("encrypted_coordinate", "pad"), OUTSIDE, RefusalCheck.SUBGROUP),
    ):
        bad = change(backup, assign(*path, value=value))
        refuse(check, lambda bad=bad: open_backup(bad, receiver, world.keys[2]))
    liar, _ = make_guardian("guardian-3", 3, 2)
    refuse(
        RefusalCheck.BACKUP,
        lambda: open_backup(make_backup(liar, world.keys[0]), receiver, world.keys[2]),
    )


@pytest.mark.parametrize(
    ("check", "path", "value"),
    [
        (RefusalCheck.GUARDIANS, ("owner_id",), "guardian-2"),
        (RefusalCheck.GUARDIANS, ("sequence_order",), 2),
        (RefusalCheck.GUARDIANS, ("sequence_order",), 0),
        (RefusalCheck.GUARDIANS, ("sequence_order",), 65_536),
        (RefusalCheck.GUARDIANS, ("owner_id",), "nul\x00"),
        (RefusalCheck.KEY, ("key",), to_hex(G)),
        (RefusalCheck.KEY, ("coefficient_proofs",), []),
        (RefusalCheck.KEY, ("coefficient_proofs", 0, "public_key"), to_hex(G)),
        (RefusalCheck.RANGE, ("coefficient_proofs", 0, "response"), to_hex(Q)),
        (RefusalCheck.SUBGROUP, ("coefficient_proofs", 0, "commitment"), OUTSIDE),
        (RefusalCheck.CHALLENGE, ("coefficient_proofs", 0, "challenge"), "01"),
        (RefusalCheck.EQUATION, ("coefficient_proofs", 1, "response"), "01"),
    ],
)
def test_a_tampered_guardian_is_refused_by_name(
    world: SmallElection, check: RefusalCheck, path: tuple[str | int, ...], value: object
) -> None:
    bad: GuardianKey = change(world.keys[0], assign(*path, value=value))
    refuse(check, lambda: verify_guardians([bad, *world.keys[1:]], 2))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("quorum",), 3),
        (("manifest_hash",), "01"),
        (("crypto_base_hash",), "01"),
        (("crypto_extended_base_hash",), "01"),
        (("commitment_hash",), "01"),
    ],
)
def test_a_context_of_another_election_is_refused(
    world: SmallElection, path: tuple[str], value: object
) -> None:
    context: Context = change(world.election.context, assign(*path, value=value))
    refuse(RefusalCheck.CONTEXT, lambda: CryptoElection(world.election.manifest, context))


@pytest.mark.parametrize(
    "edit",
    [
        assign("contests", 0, "number_elected", value=3),
        assign("contests", 0, "electoral_district_id", value="nowhere"),
        assign("contests", 0, "vote_variation", value="borda"),
        assign("contests", 1, "object_id", value="mayor"),
        assign("ballot_styles", 0, "geopolitical_unit_ids", value=["nowhere"]),
        assign("contests", value=[]),
        assign("contests", 0, "object_id", value="nul\x00"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(
    world: SmallElection, edit: Callable[[Any], object]
) -> None:
    manifest: Manifest = change(world.election.manifest, edit)
    refuse(RefusalCheck.MANIFEST, manifest.check)


def test_the_joint_key_does_not_depend_on_the_order_of_guardians(world: SmallElection) -> None:
    assert joint_key(world.keys) == joint_key(world.keys[::-1])
    assert BallotState(1) is BallotState.CAST
    assert ONE == 1
