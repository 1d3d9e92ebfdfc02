"""Checkpoints and the published vectors of the formats."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.leaves import Leaf, commit, leaf_hashes
from streams.core.merkle import continues, includes
from streams.proof.checkpoints import Checkpoint, Head, escape
from streams.proof.notes import BadNote, Signer, Verifier, sign
from tests.proof_vectors import PATH, SECRET, records, root, vectors

PUBLISHED = json.loads(PATH.read_text(encoding="utf-8"))
NOTES = PUBLISHED["checkpoints"]
SIGNER = Signer.parse(PUBLISHED["keys"]["private"][0])


def test_the_vectors_are_those_of_this_version() -> None:
    assert vectors() == PUBLISHED


def test_leaves_are_the_same_on_the_fast_path() -> None:
    hashes: dict[int, list[str]] = {0: [], 1: []}
    for verdicts, batch in records():
        hashes[verdicts.partition] += [h.hex() for h in leaf_hashes(SECRET, verdicts, batch)]
    assert hashes == {
        int(n): [row["hash"] for row in tree["leaves"]] for n, tree in PUBLISHED["trees"].items()
    }


def test_openings_open_their_leaves() -> None:
    for tree in PUBLISHED["trees"].values():
        for row in tree["leaves"]:
            salt, opening = bytes.fromhex(row["salt"]), bytes.fromhex(row["opening"])
            assert commit(salt, opening).hex() == row["leaf"]["commitment"]
            assert row["bytes"].endswith(row["leaf"]["commitment"])
    salt = PUBLISHED["trees"]["0"]["leaves"][0]["salt"]
    assert salt.endswith(PUBLISHED["messages"][0]["identity"])


def test_checkpoints_follow_each_other_with_a_new_key() -> None:
    head = Head()
    keys = [Verifier.parse(PUBLISHED["keys"]["log"][0])]
    for note in NOTES:
        checkpoint = Checkpoint.parse(note)
        head = head.after(checkpoint.text)
        assert (checkpoint.size, checkpoint.root) == (head.size, head.root)
        assert checkpoint.signer(keys).name == checkpoint.origin
        keys = list(checkpoint.statement.keys)
    with pytest.raises(BadNote, match="no known key"):
        Checkpoint.parse(NOTES[2]).signer([Verifier.parse(PUBLISHED["keys"]["log"][0])])


def test_roots_are_those_of_the_leaves() -> None:
    for note in NOTES:
        for tree in Checkpoint.parse(note).statement.trees:
            rows = PUBLISHED["trees"][str(tree.partition)]["leaves"][: tree.size]
            assert root([bytes.fromhex(row["hash"]) for row in rows]) == tree.root


def test_the_receipt_and_the_consistency_proofs_hold() -> None:
    receipt = PUBLISHED["receipt"]
    trees = {tree.partition: tree for tree in Checkpoint.parse(NOTES[2]).statement.trees}
    tree = trees[receipt["tree"]]
    leaf = dict(receipt["leaf"], commitment=bytes.fromhex(receipt["leaf"]["commitment"]))
    path = [bytes.fromhex(step) for step in receipt["path"]]
    assert includes(Leaf(**leaf).hash(), receipt["index"], tree.size, path, tree.root)
    hashes = [bytes.fromhex(row["hash"]) for row in PUBLISHED["trees"]["1"]["leaves"]]
    for proof in PUBLISHED["consistency"]:
        steps = [bytes.fromhex(step) for step in proof["path"]]
        first = proof["from"]
        assert continues(first, root(hashes[:first]), 13, tree.root, steps)


def resigned(change: tuple[str, str]) -> str:
    body = Checkpoint.parse(NOTES[1]).note.body
    assert change[0] in body
    return sign(body.replace(*change, 1), [SIGNER])


@pytest.mark.parametrize(
    "change",
    [
        ("total law-1 non 1\n", "total law-1 non 01\n"),
        ("total law-1 non 1\n", "total law%2D1 non 1\n"),
        ("total law-1 non 1\n", "total law-1 non 1\ntotal law-1 non 1\n"),
        ("total law-1 non 1\n", "total law-1 non -1\n"),
        ("total law-1 non 1\ntotal law-1 oui 2\n", "total law-1 oui 2\ntotal law-1 non 1\n"),
        ("epoch 0\n", "epoch 0\nnews 1\n"),
        ("epoch 0\n", ""),
        ("scrutin/1", "scrutin/2"),
        ("\n2\n", "\n 2\n"),
        ("time 2026-11-29T20:14:04Z", "time 2026-11-29T20:14:04+00:00"),
        ("tree 0 ", "tree 00 "),
    ],
)
def test_a_statement_has_one_text(change: tuple[str, str]) -> None:
    with pytest.raises(BadNote):
        Checkpoint.parse(resigned(change))


TEXTS = st.text(st.characters(exclude_categories=("Cs",)))


@given(TEXTS, TEXTS)
def test_names_are_one_word_and_differ(one: str, other: str) -> None:
    word = escape(one)
    assert word.isascii()
    assert word.isprintable()
    assert " " not in word
    assert (escape(other) == word) == (one == other)
