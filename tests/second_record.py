"""A prover of ElectionGuard 2 that writes small records for the verifier."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gmpy2 import mpz

from streams.tally.crypto.group import Q
from streams.tally.second.group import G, P, R, hash_bytes, hash_number, power

GUARDIANS, QUORUM = 2, 2
LIMIT = 2
"""Votes in the contest."""
SELECTIONS = ("ann", "bob", "cem")
DEVICE = "booth"

Pairs = list[tuple[mpz, mpz]]


def text(value: bytes | mpz, size: int = 32) -> str:
    """Base64 of bytes, or of a number with so many."""
    return base64.b64encode(
        value if isinstance(value, bytes) else int(value).to_bytes(size)
    ).decode()


def element(value: mpz) -> str:
    """Base64 of a group element."""
    return text(value, 512)


class SecondElectionMaker:
    """Makes an election with its ballots and their decryption, from one seed."""

    def __init__(self, directory: Path, seed: int = 1) -> None:
        self._rng = random.Random(seed)
        self._directory = directory
        self._secret = mpz(0)
        self._key = mpz(1)
        self._extended = b""
        self._sums: list[tuple[mpz, mpz]] = [(mpz(1), mpz(1))] * len(SELECTIONS)

    def write(self, cast: Sequence[Sequence[int]], challenged: Sequence[Sequence[int]]) -> None:
        """Write the record of ballots with these votes."""
        self._write_definition()
        first = DEVICE.encode()
        before = hash_bytes(self._extended, 0x24, first)
        names, totals = [], [0] * len(SELECTIONS)
        for number, votes in enumerate((*cast, *challenged)):
            name = f"id-{number}"
            names.append(name)
            pairs, ballot = self._ballot(name, votes, before + first)
            before = base64.b64decode(ballot["confirmation_code"])
            ballot["state"] = "CAST" if number < len(cast) else "CHALLENGED"
            self._write(f"encrypted_ballots/{DEVICE}/eballot-{name}.json", ballot)
            if number < len(cast):
                totals = [total + vote for total, vote in zip(totals, votes, strict=True)]
                self._sums = [
                    (a * c % P, b * d % P) for (a, b), (c, d) in zip(self._sums, pairs, strict=True)
                ]
            else:
                notes = ballot["contests"][0]["encrypted_contest_data"]
                self._write(
                    f"challenged_ballots/dballot-{name}.json",
                    self._decrypted(name, pairs, votes, notes),
                )
        closing = hash_bytes(self._extended, 0x24, before + first + b"CLOSE")
        self._write(
            f"encrypted_ballots/{DEVICE}/ballot_chain.json",
            {"ballot_ids": names, "closing_hash": text(closing)},
        )
        lines = [
            {"selection_id": name, "encrypted_vote": self._pair(pair)}
            for name, pair in zip(SELECTIONS, self._sums, strict=True)
        ]
        self._write(
            "encrypted_tally.json",
            {
                "contests": [{"contest_id": "board", "selections": lines}],
                "cast_ballot_ids": names[: len(cast)],
                "election_id": text(self._extended),
            },
        )
        self._write("tally.json", self._decrypted("tally", self._sums, totals, None))

    def _write(self, name: str, document: object) -> None:
        path = self._directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document))

    def _random(self) -> mpz:
        return mpz(self._rng.randrange(int(Q)))

    def _write_definition(self) -> None:
        constants = {"largePrime": P, "smallPrime": Q, "cofactor": R, "generator": G}
        self._write(
            "constants.json",
            {
                "type": "IntegerGroup",
                "protocolVersion": "v2.0.0",
                "constants": {name: f"{value:x}" for name, value in constants.items()},
            },
        )
        manifest = {
            "election_scope_id": "second",
            "ballot_styles": [{"object_id": "style", "geopolitical_unit_ids": ["town"]}],
            "contests": [
                {
                    "object_id": "board",
                    "sequence_order": 1,
                    "electoral_district_id": "town",
                    "votes_allowed": LIMIT,
                    "ballot_selections": [
                        {"object_id": name, "sequence_order": order}
                        for order, name in enumerate(SELECTIONS, 1)
                    ],
                }
            ],
        }
        self._write("manifest.json", manifest)
        data = (self._directory / "manifest.json").read_bytes()
        parameters = hash_bytes(b"v2.0.0".ljust(32, b"\0"), 0, P, int(Q).to_bytes(32), G)
        manifest_hash = hash_bytes(parameters, 1, len(data), data)
        base = hash_bytes(parameters, 2, manifest_hash, GUARDIANS, QUORUM)
        self._write(
            "election_config.json",
            {
                "number_of_guardians": GUARDIANS,
                "quorum": QUORUM,
                "parameter_base_hash": text(parameters),
                "manifest_hash": text(manifest_hash),
                "election_base_hash": text(base),
                "chain_confirmation_codes": True,
                "baux0": "",
            },
        )
        guardians = []
        for guardian in range(1, GUARDIANS + 1):
            proofs = []
            for index in range(QUORUM):
                secret, u = self._random(), self._random()
                commitment = power(G, secret)
                c = hash_number(parameters, 0x10, guardian, index, commitment, power(G, u))
                proofs.append(
                    {"public_key": element(commitment), **self._answer(c, u - c * secret)}
                )
                if not index:
                    self._secret += secret
                    self._key = self._key * commitment % P
            guardians.append(
                {
                    "guardian_id": f"guardian-{guardian}",
                    "x_coordinate": guardian,
                    "coefficient_proofs": proofs,
                }
            )
        self._extended = hash_bytes(base, 0x12, self._key)
        self._write(
            "election_initialized.json",
            {
                "joint_public_key": element(self._key),
                "extended_base_hash": text(self._extended),
                "guardians": guardians,
            },
        )

    @staticmethod
    def _answer(challenge: mpz, response: mpz) -> dict[str, str]:
        return {"challenge": text(challenge), "response": text(response % Q)}

    @staticmethod
    def _pair(pair: tuple[mpz, mpz]) -> dict[str, str]:
        return {"pad": element(pair[0]), "data": element(pair[1])}

    def _range_proof(
        self, pair: tuple[mpz, mpz], vote: int, nonce: mpz, limit: int
    ) -> dict[str, Any]:
        us = [self._random() for _ in range(limit + 1)]
        cs = [self._random() for _ in range(limit + 1)]
        commitments = []
        for value, (u, c) in enumerate(zip(us, cs, strict=True)):
            t = u if value == vote else (u + (vote - value) * c) % Q
            commitments += [power(G, u), power(self._key, t)]
        whole = hash_number(self._extended, 0x21, self._key, *pair, *commitments)
        cs[vote] = (whole - sum(c for value, c in enumerate(cs) if value != vote)) % Q
        return {"proofs": [self._answer(c, u - c * nonce) for u, c in zip(us, cs, strict=True)]}

    def _ballot(self, name: str, votes: Sequence[int], more: bytes) -> tuple[Pairs, dict[str, Any]]:
        nonces = [self._random() for _ in votes]
        pairs = [
            (power(G, nonce), power(self._key, nonce + vote))
            for nonce, vote in zip(nonces, votes, strict=True)
        ]
        lines = [
            {
                "selection_id": selection,
                "sequence_order": order,
                "encrypted_vote": self._pair(pair),
                "proof": self._range_proof(pair, vote, nonce, 1),
            }
            for order, (selection, pair, vote, nonce) in enumerate(
                zip(SELECTIONS, pairs, votes, nonces, strict=True), 1
            )
        ]
        pad = data = mpz(1)
        for a, b in pairs:
            pad, data = pad * a % P, data * b % P
        flat = [number for pair in pairs for number in pair]
        contest_hash = hash_bytes(self._extended, 0x23, 1, self._key, *flat)
        contest = {
            "contest_id": "board",
            "sequence_order": 1,
            "contest_hash": text(contest_hash),
            "selections": lines,
            "proof": self._range_proof((pad, data), sum(votes), sum(nonces, mpz(0)) % Q, LIMIT),
            "encrypted_contest_data": {
                "c0": element(power(G, self._random())),
                "c1": text(b"notes of a device"),
                "c2": text(bytes(32)),
            },
        }
        return pairs, {
            "ballot_id": name,
            "ballot_style_id": "style",
            "encrypting_device": DEVICE,
            "code_baux": more.hex(),
            "confirmation_code": text(hash_bytes(self._extended, 0x24, contest_hash, more)),
            "election_id": text(self._extended),
            "contests": [contest],
            "is_preencrypt": False,
        }

    def _decrypted(
        self,
        name: str,
        pairs: Sequence[tuple[mpz, mpz]],
        votes: Sequence[int],
        notes: dict[str, str] | None,
    ) -> dict[str, Any]:
        lines = []
        for selection, (pad, data), vote in zip(SELECTIONS, pairs, votes, strict=True):
            share, u = power(pad, self._secret % Q), self._random()
            commitments = power(G, u), power(pad, u)
            c = hash_number(self._extended, 0x30, self._key, pad, data, *commitments, share)
            lines.append(
                {
                    "selection_id": selection,
                    "tally": vote,
                    "b_over_m": element(power(self._key, mpz(vote))),
                    "encrypted_vote": self._pair((pad, data)),
                    "proof": self._answer(c, u - c * self._secret),
                }
            )
        contest: dict[str, Any] = {"contest_id": "board", "selections": lines}
        if notes is not None:
            c0 = mpz(int.from_bytes(base64.b64decode(notes["c0"])))
            beta, u = power(c0, self._secret % Q), self._random()
            c1, c2 = (base64.b64decode(notes[part]) for part in ("c1", "c2"))
            c = hash_number(
                self._extended, 0x31, self._key, c0, c1, c2, power(G, u), power(c0, u), beta
            )
            contest["decrypted_contest_data"] = {
                "encrypted_contest_data": notes,
                "proof": self._answer(c, u - c * self._secret),
                "beta": element(beta),
            }
        return {"id": name, "contests": [contest], "election_id": text(self._extended)}
