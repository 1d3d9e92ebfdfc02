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
    Share,
    lagrange,
    make_compensated_share,
    make_share,
)
from streams.tally.crypto.tallies import Accumulator, EncryptedTally
from streams.tally.refusals import Check
from tests.tally_world import SmallElection
from tests.unit.tally_tampering import (
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
def opened(world: SmallElection) -> tuple[list[Share], list[CompensatedShare], PlainTally]:
    return open_tally(world)


LINE = ("contests", "mayor", "selections", "mayor-ann-selection")


@pytest.mark.parametrize(
    ("check", "path", "value"),
    [
        (Check.CHALLENGE, (*LINE, "share"), to_hex(G)),
        (Check.RANGE, (*LINE, "proof", "response"), to_hex(Q)),
        (Check.EQUATION, (*LINE, "proof", "response"), "01"),
        (Check.EQUATION, (*LINE, "proof"), None),
        (Check.CHALLENGE, (*LINE, "proof", "challenge"), "01"),
        (Check.SHARE, (*LINE, "guardian_id"), "guardian-2"),
        (Check.SHARE, ("public_key",), to_hex(G)),
        (Check.SHARE, ("guardian_id",), "nobody"),
        (Check.SHARE, ("guardian_id",), "guardian-2"),
        (Check.SHARE, ("object_id",), "another"),
        (Check.SHARE, ("contests", "mayor", "selections"), {}),
        (Check.SHARE, ("contests", "mayor", "object_id"), "bridge"),
        (Check.SHARE, (*LINE, "object_id"), "mayor-bob-selection"),
        (Check.CHALLENGE, (*LINE, "proof", "pad"), OUTSIDE),
    ],
)
def test_a_tampered_share_is_refused_by_name(
    world: SmallElection,
    opened: tuple[list[Share], list[CompensatedShare], PlainTally],
    check: Check,
    path: tuple[str | int, ...],
    value: object,
) -> None:
    shares, parts, _ = opened
    bad = change(shares[0], assign(*path, value=value))
    refuse(check, lambda: decrypt(world, [bad, shares[1]], parts))


@pytest.mark.parametrize(
    ("check", "path", "value"),
    [
        (Check.CHALLENGE, (*LINE, "share"), to_hex(G)),
        (Check.EQUATION, (*LINE, "proof", "response"), "01"),
        (Check.KEY, (*LINE, "recovery_key"), to_hex(G)),
        (Check.SHARE, (*LINE, "missing_guardian_id"), "guardian-1"),
        (Check.SHARE, ("missing_guardian_id",), "guardian-1"),
        (Check.SHARE, ("contests",), {}),
    ],
)
def test_a_tampered_compensated_share_is_refused_by_name(
    world: SmallElection,
    opened: tuple[list[Share], list[CompensatedShare], PlainTally],
    check: Check,
    path: tuple[str | int, ...],
    value: object,
) -> None:
    shares, parts, _ = opened
    bad = change(parts[0], assign(*path, value=value))
    refuse(check, lambda: decrypt(world, shares, [bad, *parts[1:]]))


def test_shares_must_be_a_quorum_once_each_with_all_their_parts(
    world: SmallElection, opened: tuple[list[Share], list[CompensatedShare], PlainTally]
) -> None:
    shares, parts, _ = opened
    refuse(Check.QUORUM, lambda: decrypt(world, shares[:1], parts))
    refuse(Check.REPEATED, lambda: decrypt(world, [*shares, shares[0]], parts))
    refuse(Check.REPEATED, lambda: decrypt(world, shares, [*parts, parts[0]]))
    refuse(Check.SHARE, lambda: decrypt(world, shares, parts[:1]))


@pytest.mark.parametrize(
    ("check", "path", "value"),
    [
        (Check.TALLY, (*LINE, "tally"), 3),
        (Check.TALLY, (*LINE, "value"), to_hex(power(G, mpz(9)))),
        (Check.TALLY, (*LINE, "message", "pad"), to_hex(G)),
        (Check.SHARE, (*LINE, "shares"), []),
        (Check.EQUATION, (*LINE, "shares", 0, "proof", "response"), "01"),
        (Check.TALLY, (*LINE, "shares", 2, "share"), to_hex(G)),
        (Check.SHARE, ("contests", "bridge", "selections"), {}),
    ],
)
def test_a_tampered_count_is_refused_by_name(
    world: SmallElection,
    opened: tuple[list[Share], list[CompensatedShare], PlainTally],
    check: Check,
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
        ),
    )


@pytest.mark.parametrize("pad", [P - 1, mpz(0), P - G, P + 1])
def test_no_share_is_made_of_what_could_draw_a_bit_of_the_key_out(
    world: SmallElection, pad: mpz
) -> None:
    bad: EncryptedTally = change(world.tally, assign(*LINE, "ciphertext", "pad", value=to_hex(pad)))
    secret, key, missing = world.secrets[0], world.keys[0], world.keys[1]
    extended_hash = world.election.extended_hash
    refuse(Check.SUBGROUP, lambda: make_share(bad, secret, key, extended_hash))
    refuse(
        Check.SUBGROUP,
        lambda: make_compensated_share(bad, mpz(secret.key), key, missing, extended_hash),
    )


def test_a_share_of_a_tally_outside_the_group_is_refused_at_the_combination(
    world: SmallElection,
) -> None:
    # 4 is a square, so a share of it gives nothing away, but it is of another order.
    bad: EncryptedTally = change(world.tally, assign(*LINE, "ciphertext", "pad", value="04"))
    shares, parts = world.shares(bad, present=(0, 2))
    refuse(
        Check.SUBGROUP,
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
    refuse(Check.TALLY, lambda: logarithm(power(G, mpz(limit + 1))))


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
