"""Shares of a decryption: what is sound is accepted, every tampering is refused by its name."""

from __future__ import annotations

import pytest
from gmpy2 import mpz

from streams.tally.crypto.decryption import (
    DiscreteLog,
    PlainTally,
    decrypt_tally,
    verify_plain_tally,
)
from streams.tally.crypto.group import G, P, Q, power, to_hex
from streams.tally.crypto.shares import (
    CompensatedShare,
    DecryptionShare,
    lagrange,
    make_compensated_share,
    make_share,
)
from streams.tally.crypto.tallies import Accumulator, EncryptedTally
from streams.tally.refusals import RefusalCheck
from tests.small_election import SmallElection
from tests.unit.tally.crypto.tampering import (
    OUTSIDE,
    assign,
    change,
    decrypt,
    open_tally,
    refuse,
    two_contests,
)


@pytest.fixture(scope="module")
def world() -> SmallElection:
    return two_contests()


@pytest.fixture(scope="module")
def opened(
    world: SmallElection,
) -> tuple[list[DecryptionShare], list[CompensatedShare], PlainTally]:
    return open_tally(world)


LINE = ("contests", "mayor", "selections", "mayor-ann-selection")


@pytest.mark.parametrize(
    ("check", "path", "value"),
    [
        (RefusalCheck.CHALLENGE, (*LINE, "share"), to_hex(G)),
        (RefusalCheck.RANGE, (*LINE, "proof", "response"), to_hex(Q)),
        (RefusalCheck.EQUATION, (*LINE, "proof", "response"), "01"),
        (RefusalCheck.EQUATION, (*LINE, "proof"), None),
        (RefusalCheck.CHALLENGE, (*LINE, "proof", "challenge"), "01"),
        (RefusalCheck.SHARE, (*LINE, "guardian_id"), "guardian-2"),
        (RefusalCheck.SHARE, ("public_key",), to_hex(G)),
        (RefusalCheck.SHARE, ("guardian_id",), "nobody"),
        (RefusalCheck.SHARE, ("guardian_id",), "guardian-2"),
        (RefusalCheck.SHARE, ("object_id",), "another"),
        (RefusalCheck.SHARE, ("contests", "mayor", "selections"), {}),
        (RefusalCheck.SHARE, ("contests", "mayor", "object_id"), "bridge"),
        (RefusalCheck.SHARE, (*LINE, "object_id"), "mayor-bob-selection"),
        (RefusalCheck.CHALLENGE, (*LINE, "proof", "pad"), OUTSIDE),
    ],
)
def test_a_tampered_share_is_refused_by_name(
    world: SmallElection,
    opened: tuple[list[DecryptionShare], list[CompensatedShare], PlainTally],
    check: RefusalCheck,
    path: tuple[str | int, ...],
    value: object,
) -> None:
    shares, parts, _ = opened
    bad = change(shares[0], assign(*path, value=value))
    refuse(check, lambda: decrypt(world, [bad, shares[1]], parts))


@pytest.mark.parametrize(
    ("check", "path", "value"),
    [
        (RefusalCheck.CHALLENGE, (*LINE, "share"), to_hex(G)),
        (RefusalCheck.EQUATION, (*LINE, "proof", "response"), "01"),
        (RefusalCheck.KEY, (*LINE, "recovery_key"), to_hex(G)),
        (RefusalCheck.SHARE, (*LINE, "missing_guardian_id"), "guardian-1"),
        (RefusalCheck.SHARE, ("missing_guardian_id",), "guardian-1"),
        (RefusalCheck.SHARE, ("contests",), {}),
    ],
)
def test_a_tampered_compensated_share_is_refused_by_name(
    world: SmallElection,
    opened: tuple[list[DecryptionShare], list[CompensatedShare], PlainTally],
    check: RefusalCheck,
    path: tuple[str | int, ...],
    value: object,
) -> None:
    shares, parts, _ = opened
    bad = change(parts[0], assign(*path, value=value))
    refuse(check, lambda: decrypt(world, shares, [bad, *parts[1:]]))


def test_shares_must_be_a_quorum_once_each_with_all_their_parts(
    world: SmallElection, opened: tuple[list[DecryptionShare], list[CompensatedShare], PlainTally]
) -> None:
    shares, parts, _ = opened
    refuse(RefusalCheck.QUORUM, lambda: decrypt(world, shares[:1], parts))
    refuse(RefusalCheck.REPEATED, lambda: decrypt(world, [*shares, shares[0]], parts))
    refuse(RefusalCheck.REPEATED, lambda: decrypt(world, shares, [*parts, parts[0]]))
    refuse(RefusalCheck.SHARE, lambda: decrypt(world, shares, parts[:1]))


@pytest.mark.parametrize(
    ("check", "path", "value"),
    [
        (RefusalCheck.TALLY, (*LINE, "tally"), 3),
        (RefusalCheck.TALLY, (*LINE, "value"), to_hex(power(G, mpz(9)))),
        (RefusalCheck.TALLY, (*LINE, "message", "pad"), to_hex(G)),
        (RefusalCheck.SHARE, (*LINE, "shares"), []),
        (RefusalCheck.EQUATION, (*LINE, "shares", 0, "proof", "response"), "01"),
        (RefusalCheck.TALLY, (*LINE, "shares", 2, "share"), to_hex(G)),
        (RefusalCheck.SHARE, ("contests", "bridge", "selections"), {}),
    ],
)
def test_a_tampered_count_is_refused_by_name(
    world: SmallElection,
    opened: tuple[list[DecryptionShare], list[CompensatedShare], PlainTally],
    check: RefusalCheck,
    path: tuple[str | int, ...],
    value: object,
) -> None:
    # One vote more than was counted, whatever was counted.
    if path[-1] == "tally":
        value = opened[2].counts()["mayor-ann-selection"] + 1
    bad = change(opened[2], assign(*path, value=value))
    refuse(
        check,
        lambda: verify_plain_tally(
            bad,
            world.tally,
            world.keys,
            quorum=2,
            extended_hash=world.election.extended_hash,
            limit=3,
        ),
    )


def test_a_published_count_is_at_most_the_number_of_ballots_and_sizes_no_table(
    world: SmallElection,
    opened: tuple[list[DecryptionShare], list[CompensatedShare], PlainTally],
) -> None:
    # Tables of the root of such a count would take more memory than there is.
    for count in (4, 2**63, -1):
        place = ("contests", "mayor", "selections", "mayor-ann-selection", "tally")
        forged = change(opened[2], assign(*place, value=count))
        refused = refuse(
            RefusalCheck.TALLY,
            lambda: verify_plain_tally(
                forged,  # noqa: B023 - called at once
                world.tally,
                world.keys,
                quorum=2,
                extended_hash=world.election.extended_hash,
                limit=3,
            ),
        )
        assert "number of ballots" in refused.what


@pytest.mark.parametrize("pad", [P - 1, mpz(0), P - G, P + 1])
def test_no_share_is_made_of_what_could_draw_a_bit_of_the_key_out(
    world: SmallElection, pad: mpz
) -> None:
    bad: EncryptedTally = change(world.tally, assign(*LINE, "ciphertext", "pad", value=to_hex(pad)))
    secret, key, missing = world.secrets[0], world.keys[0], world.keys[1]
    extended_hash = world.election.extended_hash
    refuse(RefusalCheck.SUBGROUP, lambda: make_share(bad, secret, key, extended_hash))
    refuse(
        RefusalCheck.SUBGROUP,
        lambda: make_compensated_share(bad, mpz(secret.key), key, missing, extended_hash),
    )


def test_a_share_of_a_tally_outside_the_group_is_refused_at_the_combination(
    world: SmallElection,
) -> None:
    # 4 is a square, so a share of it gives nothing away, but it is of another order.
    bad: EncryptedTally = change(world.tally, assign(*LINE, "ciphertext", "pad", value="04"))
    shares, parts = world.shares(bad, present=(0, 2))
    refuse(
        RefusalCheck.SUBGROUP,
        lambda: decrypt_tally(
            bad,
            shares,
            parts,
            world.keys,
            quorum=2,
            extended_hash=world.election.extended_hash,
            logarithm=DiscreteLog(3),
        ),
    )


@pytest.mark.parametrize("limit", [0, 1, 2, 15, 16, 1_000])
def test_discrete_logarithms_are_found_up_to_their_limit_and_not_beyond(limit: int) -> None:
    logarithm = DiscreteLog(limit)
    for exponent in {0, limit // 2, limit}:
        assert logarithm(power(G, mpz(exponent))) == exponent
    refuse(RefusalCheck.TALLY, lambda: logarithm(power(G, mpz(limit + 1))))


def test_an_empty_tally_decrypts_to_nothing(world: SmallElection) -> None:
    empty: EncryptedTally = Accumulator(world.election).result("tally")
    shares, parts = world.shares(empty, present=(0, 1))
    plain = decrypt_tally(
        empty,
        shares,
        parts,
        world.keys,
        quorum=2,
        extended_hash=world.election.extended_hash,
        logarithm=DiscreteLog(0),
    )
    assert set(plain.counts().values()) == {0}


def test_lagrange_weights_interpolate_at_zero() -> None:
    coefficients = [mpz(5), mpz(7), mpz(11)]
    orders = [1, 3, 4]
    total = mpz(0)
    for order in orders:
        value = sum(c * order**i for i, c in enumerate(coefficients))
        total += lagrange(order, [other for other in orders if other != order]) * value
    assert total % Q == 5
