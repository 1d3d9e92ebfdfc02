"""A small election whose documents the tests tamper with."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest

from streams.tally.crypto.decryption import DiscreteLog, PlainTally, decrypt_tally
from streams.tally.crypto.documents import from_json, to_json
from streams.tally.crypto.group import P, to_hex
from streams.tally.crypto.manifest import plain_manifest
from streams.tally.crypto.shares import CompensatedShare, DecryptionShare
from streams.tally.refusals import RefusalCheck, Refused
from tests.small_election import SmallElection, make_election

T = TypeVar("T")

SHAPE = {"mayor": ["ann", "bob"], "bridge": ["yes", "no"]}
OUTSIDE = to_hex(P - 1)
"""In Z_p, but not in the subgroup."""


def change(document: T, edit: Callable[[Any], object]) -> T:
    """The document with its JSON edited."""
    raw = json.loads(to_json(document))
    edit(raw)
    return from_json(type(document), json.dumps(raw))


def assign(*path: str | int, value: object) -> Callable[[Any], object]:
    """An edit that puts a value somewhere."""

    def edit(raw: Any) -> None:
        for step in path[:-1]:
            raw = raw[step]
        raw[path[-1]] = value

    return edit


def two_contests() -> SmallElection:
    """Three guardians, quorum two; three ballots cast and one spoiled."""
    seed = random.randrange(10**9)
    print(f"election seed {seed}")
    manifest = plain_manifest("e", SHAPE, moment=datetime(2026, 1, 1, tzinfo=UTC))
    return make_election(manifest, random.Random(seed), guardians=3, quorum=2, cast=3, spoiled=1)


def decrypt(
    world: SmallElection, shares: list[DecryptionShare], parts: list[CompensatedShare]
) -> PlainTally:
    """Combine shares of its tally."""
    return decrypt_tally(
        world.tally,
        shares,
        parts,
        world.keys,
        quorum=2,
        extended_hash=world.election.extended_hash,
        logarithm=DiscreteLog(3),
    )


def refuse(check: RefusalCheck, action: Callable[[], object]) -> Refused:
    """Expect a refusal by this name."""
    with pytest.raises(Refused) as caught:
        action()
    assert caught.value.check == check, str(caught.value)
    return caught.value


def open_tally(
    world: SmallElection,
) -> tuple[list[DecryptionShare], list[CompensatedShare], PlainTally]:
    """Shares of guardians 0 and 2, what they compensate of the absent one, and the decryption."""
    shares, parts = world.shares(world.tally, present=(0, 2))
    return shares, parts, decrypt(world, shares, parts)
