"""Makes proof/vectors.json: `python -m tests.proof_vectors`. All keys and votes are invented."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from schemas.codec import encode
from schemas.verdicts import Reason, Rejection, Status, VerdictBatch
from schemas.votes import Flag, Kind, Malformed, Vote, VoteBatch
from streams.core import leaves, merkle
from streams.messages.decode import identity_of
from streams.proof.checkpoints import ClosedContest, Head, Statement, TreeHead, body_of
from streams.proof.notes import COSIGNATURE, ED25519, Signer, sign

PATH: Final = Path(__file__).parents[1] / "proof" / "vectors.json"

SECRET: Final = leaves.secret_of("an invented secret for the vectors")
LOG_IDS: Final = [hashlib.sha256(bytes([n])).digest()[:16] for n in range(2)]


def _message(n: int, choice: str) -> tuple[str, bytes]:
    voter = hashlib.sha256(f"voter {n}".encode()).hexdigest()
    body = {"vote_hash": voter, "law_id": "law-1", "choice": choice}
    return f"m{n}", json.dumps(body).encode()


def _vote(n: int, choice: str, contest: str = "law-1", kind: Kind = Kind.LAW) -> Vote:
    message_id, body = _message(n, choice)
    voter = hashlib.sha256(f"voter {n}".encode()).hexdigest()
    identity = identity_of(message_id.encode(), body)
    return Vote(voter, contest, kind, choice, Flag.ON_ROLL, identity, 0)


def records() -> list[tuple[VerdictBatch, VoteBatch]]:
    """The verdicts of two partitions."""
    bad = b"not a vote"
    malformed = Malformed(
        "not_json", 0, identity_of(None, bad), len(bad), hashlib.sha256(bad).digest(), bad
    )
    batches = [
        (0, 1, [_vote(1, "oui"), _vote(2, "non"), _vote(1, "non")], [malformed]),
        (0, 2, [_vote(3, "oui"), _vote(9, "oui")], []),
        (1, 1, [_vote(4, "17", "election:é 7", Kind.CANDIDATE)], []),
        (1, 2, [_vote(n, "oui" if n % 3 else "non") for n in range(20, 32)], []),
    ]
    rejections = {
        (0, 1): [
            Rejection(2, Status.DUPLICATE, Reason.ALREADY_VOTED, 1),
            Rejection(3, Status.MALFORMED, "not_json"),
        ],
        (0, 2): [Rejection(1, Status.INVALID, Reason.NOT_ON_ROLL)],
    }
    found = []
    for partition, offset, votes, others in batches:
        batch = VoteBatch(0, "bridge", votes, others)
        refused = rejections.get((partition, offset), [])
        raw = msgspec.Raw(encode(batch))
        log_id = LOG_IDS[partition]
        found.append((VerdictBatch(log_id, partition, offset, offset - 1, refused, raw), batch))
    return found


def vectors() -> dict[str, Any]:
    """All of them."""
    trees: dict[int, list[dict[str, Any]]] = {0: [], 1: []}
    for verdicts, batch in records():
        items: list[Vote | Malformed] = [*batch.votes, *batch.malformed]
        pads = leaves.pads_of(
            SECRET, verdicts.log_id, verdicts.partition, verdicts.offset, len(items)
        )
        for index, leaf in leaves.leaves_of(SECRET, verdicts, batch):
            item = items[index]
            trees[verdicts.partition].append(
                {
                    "offset": verdicts.offset,
                    "number": index,
                    "leaf": leaf_json(leaf),
                    "bytes": leaf.encoded().hex(),
                    "hash": leaf.hash().hex(),
                    "salt": leaves.salt_of(pads, index, item.identity).hex(),
                    "opening": leaves.opening_of(item).hex(),
                }
            )
    hashes = {n: [bytes.fromhex(row["hash"]) for row in rows] for n, rows in trees.items()}
    old = Signer("votes.example.org/2026", ED25519, bytes(range(32)))
    new = Signer("votes.example.org/2026", ED25519, bytes(range(32, 64)))
    witness = Signer("witness.example.net/w1", COSIGNATURE, bytes(range(64, 96)))
    head, notes = Head(), []
    sizes = [{0: (4, 1), 1: (1, 1)}, {0: (6, 2), 1: (1, 1)}, {0: (6, 2), 1: (13, 2)}]
    totals: list[dict[tuple[str, str], int]] = [
        {("law-1", "oui"): 1, ("law-1", "non"): 1},
        {("law-1", "oui"): 2, ("law-1", "non"): 1},
        {("law-1", "oui"): 10, ("law-1", "non"): 5, ("election:é 7", "17"): 1},
    ]
    for number, (signer, keys) in enumerate([(old, [old]), (old, [old, new]), (new, [new])]):
        heads = tuple(
            TreeHead(n, LOG_IDS[n], size, root(hashes[n][:size]), offset)
            for n, (size, offset) in sizes[number].items()
        )
        statement = Statement(
            at=datetime(2026, 11, 29, 20, 14, 3 + number, tzinfo=UTC),
            epoch=0,
            trees=heads,
            totals=totals[number],
            hidden=("election:é 7",) if number < 2 else (),
            closings=(ClosedContest("law-1", {0: 3, 1: 3}),) if number == 2 else (),
            keys=tuple(key.verifier for key in keys),
        ).text()
        head = head.after(statement)
        body = body_of(signer.name, head.size, head.root, statement)
        notes.append(sign(body, [signer, witness], 1796069643 + number))
    return {
        "about": "Made by `python -m tests.proof_vectors`; keys and votes are invented.",
        "secret": SECRET.hex(),
        "messages": [
            {"message_id": m, "body": b.decode(), "identity": identity_of(m.encode(), b).hex()}
            for m, b in (_message(1, "oui"), _message(2, "non"))
        ],
        "trees": {str(n): {"log_id": LOG_IDS[n].hex(), "leaves": r} for n, r in trees.items()},
        "keys": {
            "log": [old.verifier.text, new.verifier.text],
            "private": [old.text, new.text, witness.text],
            "witnesses": [witness.verifier.text],
        },
        "checkpoints": notes,
        "receipt": {
            "format": "scrutin-receipt/1",
            "checkpoint": notes[-1],
            "tree": 1,
            "index": 7,
            "leaf": trees[1][7]["leaf"],
            "path": [root(hashes[1][a:b]).hex() for a, b in merkle.inclusion_ranges(7, 13)],
            "opening": {"salt": trees[1][7]["salt"], "opening": trees[1][7]["opening"]},
        },
        "consistency": [
            {
                "format": "scrutin-consistency/1",
                "tree": 1,
                "from": first,
                "to": 13,
                "path": [
                    root(hashes[1][a:b]).hex() for a, b in merkle.consistency_ranges(first, 13)
                ],
            }
            for first in range(14)
        ],
    }


def leaf_json(leaf: leaves.Leaf) -> dict[str, Any]:
    """A leaf as JSON."""
    return {
        "status": leaf.status,
        "epoch": leaf.epoch,
        "contest": leaf.contest,
        "reason": leaf.reason,
        "commitment": leaf.commitment.hex(),
    }


def root(hashes: list[bytes]) -> bytes:
    """The root over leaves."""
    return merkle.root_of(merkle.extend(0, b"", hashes)[0])


if __name__ == "__main__":
    PATH.write_text(json.dumps(vectors(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
