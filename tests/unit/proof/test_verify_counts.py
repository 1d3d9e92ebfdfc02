"""The stand-alone verifier counts elections as the product does, by its own code."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.control import (
    Conduct,
    Lot,
    MajorityOf,
    Overvote,
    RankedRules,
    TieBreak,
    Withdrawal,
    WithdrawnVotes,
)
from streams.core.merkle import extend, inclusion_ranges, leaf_hash, root_of
from streams.elections.definitions import (
    CandidateDefinition,
    Definitions,
    ElectionDefinition,
    Region,
)
from streams.elections.published import of_election
from streams.proof.checkpoints import Checkpoint
from streams.proof.notes import ED25519, Signer, Verifier
from tests.unit.proof.test_bundle import VERIFIER

NAMES: Final = ("11", "12", "13", "14", "15")
VECTORS: Final = json.loads(
    (Path(__file__).parents[3] / "proof" / "vectors.json").read_text(encoding="utf-8")
)


def _loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("stand_alone_verifier", VERIFIER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


verifier = _loaded()

ranks = st.one_of(
    st.sampled_from((*NAMES, "99", "", "=")),
    st.lists(st.sampled_from(NAMES), min_size=2, max_size=3, unique=True).map("=".join),
)
ballots = st.lists(
    st.tuples(
        st.lists(ranks, max_size=6).map(lambda each: ">".join(each).rstrip(">") or ">"),
        st.sampled_from((None, "1", "2")),
        st.integers(1, 4),
    ),
    max_size=12,
)
maybe = st.one_of(st.none(), st.integers(1, 4))
rules = st.builds(
    RankedRules,
    overvote=st.sampled_from(list(map(str, Overvote))),
    max_skipped_ranks=st.one_of(st.none(), st.integers(0, 2)),
    exhaust_on_duplicate=st.booleans(),
    max_ranks=maybe,
    full_ranking=st.booleans(),
    until_two_remain=st.booleans(),
    max_rounds=maybe,
    batch_elimination=st.booleans(),
    min_votes=st.integers(0, 3),
    majority_of=st.sampled_from(list(map(str, MajorityOf))),
    tie_break=st.sampled_from(list(map(str, TieBreak))),
    lot_seed=st.sampled_from((None, "drawn in public")),
    undeclared_write_in=st.sampled_from((None, "13")),
)
lots = st.builds(
    lambda tied, at, elects: Lot(tuple(tied), sorted(tied)[at % len(tied)], elects),
    st.sets(st.sampled_from(NAMES), min_size=2),
    st.integers(0, 4),
    st.booleans(),
)
SEED: Final = "a seed of twenty letters and more"
conduct = st.builds(
    Conduct,
    blank_ballots=st.just(True),
    withdrawn_votes=st.sampled_from(list(map(str, WithdrawnVotes))),
    withdrawn=st.lists(st.sampled_from(NAMES), max_size=2, unique=True).map(
        lambda gone: tuple(Withdrawal(name, "dead") for name in gone)
    ),
    lots_by_hand=st.booleans(),
    lots=st.lists(lots, max_size=8).map(tuple),
    winner_quorum=st.sampled_from((None, "1/2", "2/3")),
    turnout_quorum=st.sampled_from((None, "1/4")),
    eligible=st.sampled_from((None, 20, 200)),
    seed_commitment=st.sampled_from((None, hashlib.sha256(SEED.encode()).hexdigest())),
    seed=st.sampled_from((None, SEED)),
    undeclared_write_in=st.sampled_from((None, "12")),
)


@settings(deadline=None, max_examples=400)
@given(
    ballots=ballots,
    rules=rules,
    conduct=conduct,
    ranked=st.booleans(),
    regional=st.booleans(),
    final=st.booleans(),
)
def test_every_round_is_counted_as_the_product_counts_it(
    ballots: list[tuple[str, str | None, int]],
    rules: RankedRules,
    conduct: Conduct,
    *,
    ranked: bool,
    regional: bool,
    final: bool,
) -> None:
    method = "ranked_choice" if ranked else "single_choice"
    known = Definitions(
        regions={n: Region(n, str(n), str(n), None) for n in (1, 2)},
        elections={
            1: ElectionDefinition(
                1, "C", "Council", None, None, None, method, rules=rules, conduct=conduct
            )
        },
        candidates={
            int(n): CandidateDefinition(
                int(n), 1, (1 if n < "14" else 2) if regional else None, None, None, n, None, None
            )
            for n in NAMES
        },
    )
    about = {"contest": "election:1"}
    made = of_election(about, known, known.elections[1], ballots, final=final)
    told = json.loads(msgspec.json.encode([made.about, made.result]))
    entry, result = told
    boxes = verifier.boxes_of(entry, result["seats"], result["totals"])
    for seat, box, said in zip(entry["seats"], boxes, result["seats"], strict=True):
        found = verifier.Seat(entry, seat, box).count(ranked, final, result["totals"])
        assert found == {name: said[name] for name in found}


def test_signatures_hold_and_nothing_else_does() -> None:
    """RFC 8032, section 7.1, tests 1 to 3, and signatures of another implementation."""
    published = [
        (
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
        (
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ),
    ]
    for key, message, signature in published:
        parts = [bytes.fromhex(each) for each in (key, signature, message)]
        assert verifier.holds(*parts)
        for place in (0, 31, 32, 60):
            changed = bytearray(parts[1])
            changed[place] ^= 1
            assert not verifier.holds(parts[0], bytes(changed), parts[2])
        # The same number, written longer than its order.
        longer = (int.from_bytes(parts[1][32:], "little") + verifier.ORDER).to_bytes(32, "little")
        assert not verifier.holds(parts[0], parts[1][:32] + longer, parts[2])
    signer = Signer("a", ED25519, bytes(32))
    point = verifier.Checkpoint(VECTORS["checkpoints"][0])
    assert not point.signed_by(verifier.key_of(signer.verifier.text))


def test_the_vectors_are_read_as_the_product_reads_them() -> None:
    keys = [verifier.key_of(text) for text in VECTORS["keys"]["log"]]
    assert [key.raw for key in keys] == [Verifier.parse(t).key for t in VECTORS["keys"]["log"]]
    witness = verifier.key_of(VECTORS["keys"]["witnesses"][0])
    statements = verifier.Growing()
    for note in VECTORS["checkpoints"]:
        point, ours = verifier.Checkpoint(note), Checkpoint.parse(note)
        point.check_signer(keys)
        assert point.signed_by(witness)
        statements.add(point.statement.encode())
        assert (point.size, point.root) == (statements.size, statements.root())
        assert point.totals == ours.statement.totals
        assert point.hidden == set(ours.statement.hidden)
        for name in ("law-1", "election:é 7"):
            assert point.final(name) == ours.is_final(name)
        for tree in ours.statement.trees:
            assert point.trees[tree.partition].root == tree.root
    for tree in VECTORS["trees"].values():
        for row in tree["leaves"]:
            assert verifier.leaf_of(row["leaf"]).hex() == row["bytes"]
            verifier.check_opening({**row, **row["leaf"]}, "vectors")


@given(st.integers(1, 70), st.data())
def test_proofs_lead_to_the_root(size: int, data: Any) -> None:
    leaves = [b"%d" % n for n in range(size)]
    hashes = [leaf_hash(leaf) for leaf in leaves]
    tree = verifier.Growing()
    for leaf in leaves:
        tree.add(leaf)
    assert tree.root() == root_of(extend(0, b"", hashes)[0])
    index = data.draw(st.integers(0, size - 1))
    path = [root_of(extend(0, b"", hashes[a:b])[0]) for a, b in inclusion_ranges(index, size)]
    assert verifier.root_by_path(leaves[index], index, size, path) == tree.root()
