"""An election's keys and base hashes, and the lines of its ballots with their hashes."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import msgspec
from gmpy2 import mpz

from streams.tally.crypto.group import G, P, Q
from streams.tally.crypto.hashing import hash_elements
from streams.tally.crypto.manifest import ContestDescription, Manifest
from streams.tally.refusals import RefusalCheck, require


class Configuration(msgspec.Struct, frozen=True):
    """Options of the reference implementation."""

    allow_overvotes: bool = False
    max_votes: int = 1_000_000


class Context(msgspec.Struct, frozen=True):
    """The parameters that every hash and proof of an election includes."""

    number_of_guardians: int
    quorum: int
    elgamal_public_key: mpz
    """K, the product of the guardians' keys."""
    commitment_hash: mpz
    """H of all commitments K_ij of all guardians."""
    manifest_hash: mpz
    crypto_base_hash: mpz
    """Q = H(p, q, g, n, k, manifest hash)."""
    crypto_extended_base_hash: mpz
    """Q' = H(Q, commitment hash)."""
    extended_data: dict[str, str] | None = None
    configuration: Configuration = Configuration()


def make_context(
    manifest: Manifest, joint_key: mpz, commitment_hash: mpz, *, guardians: int, quorum: int
) -> Context:
    """The context of an election ("Baseline parameters", "Extended base hash")."""
    manifest_hash = manifest.crypto_hash()
    base = hash_elements(P, mpz(Q), G, guardians, quorum, manifest_hash)
    return Context(
        guardians,
        quorum,
        joint_key,
        commitment_hash,
        manifest_hash,
        base,
        hash_elements(base, commitment_hash),
    )


class Line(NamedTuple):
    """A selection of a contest, real or placeholder."""

    object_id: str
    order: int
    description_hash: mpz
    placeholder: bool


class CryptoContest(NamedTuple):
    """A contest as every ballot must contain it."""

    object_id: str
    order: int
    limit: int
    """Number of selections that must be 1, placeholders included."""
    description_hash: mpz
    lines: tuple[Line, ...]
    """By sequence order: the real lines, then the placeholders."""

    @property
    def real_lines(self) -> tuple[Line, ...]:
        """The lines that are tallied, without placeholders."""
        return tuple(line for line in self.lines if not line.placeholder)


class CryptoElection:
    """A manifest with its context; hashes are computed once.

    Raises:
        Refused: `manifest` or `context`, if they do not belong together.
    """

    def __init__(self, manifest: Manifest, context: Context) -> None:
        manifest.check()
        expected = make_context(
            manifest,
            context.elgamal_public_key,
            context.commitment_hash,
            guardians=context.number_of_guardians,
            quorum=context.quorum,
        )
        same = (
            context.manifest_hash == expected.manifest_hash
            and context.crypto_base_hash == expected.crypto_base_hash
            and context.crypto_extended_base_hash == expected.crypto_extended_base_hash
        )
        require(same, RefusalCheck.CONTEXT, "the base hashes do not match this manifest and quorum")
        require(
            1 <= context.quorum <= context.number_of_guardians,
            RefusalCheck.CONTEXT,
            "the quorum is not between 1 and the number of guardians",
        )
        self.manifest = manifest
        self.context = context
        self.public_key = context.elgamal_public_key
        self.extended_hash = context.crypto_extended_base_hash

    @cached_property
    def contests(self) -> dict[str, CryptoContest]:
        """By id, in sequence order."""
        ordered = sorted(self.manifest.contests, key=lambda contest: contest.sequence_order)
        return {contest.object_id: _contest(contest) for contest in ordered}

    @cached_property
    def line_names(self) -> tuple[str, ...]:
        """Ids of all selections that are tallied, in order."""
        return tuple(
            line.object_id for contest in self.contests.values() for line in contest.real_lines
        )

    @cached_property
    def _units(self) -> dict[str, frozenset[str]]:
        """The districts of each ballot style."""
        return {
            style.object_id: frozenset(style.geopolitical_unit_ids or ())
            for style in self.manifest.ballot_styles
        }

    @cached_property
    def _styles(self) -> dict[str, tuple[CryptoContest, ...]]:
        """Styles that were asked for: all of a manifest times its contests can be many."""
        return {}

    def style(self, style_id: str) -> tuple[CryptoContest, ...]:
        """The contests of a ballot style, in sequence order.

        Raises:
            Refused: `style`.
        """
        found = self._styles.get(style_id)
        if found is None:
            require(style_id in self._units, RefusalCheck.STYLE, "no such ballot style")
            units = self._units[style_id]
            districts = {c.object_id: c.electoral_district_id for c in self.manifest.contests}
            found = self._styles[style_id] = tuple(
                contest
                for contest in self.contests.values()
                if districts[contest.object_id] in units
            )
        return found


def _contest(description: ContestDescription) -> CryptoContest:
    real = sorted(description.ballot_selections, key=lambda line: line.sequence_order)
    lines = [
        Line(line.object_id, line.sequence_order, line.crypto_hash(), placeholder)
        for placeholder, group in ((False, real), (True, description.placeholders()))
        for line in group
    ]
    return CryptoContest(
        description.object_id,
        description.sequence_order,
        description.number_elected,
        description.crypto_hash(),
        tuple(lines),
    )
