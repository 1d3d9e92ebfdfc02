"""Decrypts tallies from shares, and verifies published counts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import msgspec
from gmpy2 import mpz

from streams.tally.crypto.ceremony import GuardianKey
from streams.tally.crypto.elgamal import Ciphertext
from streams.tally.crypto.group import ONE, G, P, g_power, inverse, product
from streams.tally.crypto.shares import (
    CompensatedContest,
    CompensatedShare,
    DecryptionShare,
    ShareContest,
    ShareSelection,
    reconstruct_share,
    verify_compensated_share,
    verify_share,
)
from streams.tally.crypto.tallies import EncryptedTally
from streams.tally.refusals import RefusalCheck, Refused, require
from streams.tally.steps import VerificationStep, during


class PlainSelection(msgspec.Struct, frozen=True):
    """The count of a line, with the shares that prove it."""

    object_id: str
    tally: int
    value: mpz
    """g^tally"""
    message: Ciphertext
    shares: list[ShareSelection]


class PlainContest(msgspec.Struct, frozen=True):
    """The counts of a contest."""

    object_id: str
    selections: dict[str, PlainSelection]


class PlainTally(msgspec.Struct, frozen=True):
    """The counts of an election, of a chunk, or of one spoiled ballot."""

    object_id: str
    contests: dict[str, PlainContest]

    def counts(self) -> dict[str, int]:
        """Votes by selection id."""
        return {
            name: selection.tally
            for contest in self.contests.values()
            for name, selection in contest.selections.items()
        }

    def recovered(self) -> set[str]:
        """Guardians whose shares were reconstructed by others."""
        return {
            share.guardian_id
            for contest in self.contests.values()
            for selection in contest.selections.values()
            for share in selection.shares
            if share.recovered_parts is not None
        }


class DiscreteLog:
    """Finds t in g^t for 0 <= t <= limit by baby steps and giant steps, each about sqrt(limit)."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._width = math.isqrt(limit) + 1
        self._steps: dict[mpz, int] = {}
        element = ONE
        for index in range(self._width):
            self._steps[element] = index
            element = element * G % P
        self._giant = inverse(element)

    def __call__(self, element: mpz) -> int:
        """The exponent.

        Raises:
            Refused: `tally`, if it is above the limit.
        """
        for giant in range(self._width + 1):
            baby = self._steps.get(element)
            if baby is not None and giant * self._width + baby <= self._limit:
                return giant * self._width + baby
            element = element * self._giant % P
        raise Refused(RefusalCheck.TALLY, "a decrypted tally exceeds the number of ballots")


def decrypt_tally(
    tally: EncryptedTally,
    shares: Sequence[DecryptionShare],
    compensated: Sequence[CompensatedShare],
    keys: Sequence[GuardianKey],
    *,
    quorum: int,
    extended_hash: mpz,
    logarithm: Callable[[mpz], int],
) -> PlainTally:
    """Check every share, reconstruct missing ones, and decrypt: g^t = B / prod M_i.

    Args:
        compensated: for each missing guardian one share from every present guardian.
        keys: all guardians of the election.
        logarithm: the exponent of a decrypted value, a :class:`DiscreteLog` or known counts.

    Raises:
        Refused: `quorum`, `repeated`, `share`, or a check of :func:`verify_share` and
            :func:`verify_compensated_share`.
    """
    by_name = {key.owner_id: key for key in keys}
    present = [share.guardian_id for share in shares]
    pairs = [(part.guardian_id, part.missing_guardian_id) for part in compensated]
    missing = [key for key in keys if key.owner_id not in present]
    require(
        len(set(present)) == len(present) and len(set(pairs)) == len(pairs),
        RefusalCheck.REPEATED,
        "a guardian's share occurs twice",
        tally=tally.object_id,
    )
    require(
        len(present) >= quorum,
        RefusalCheck.QUORUM,
        f"{len(present)} shares, but the quorum is {quorum}",
        tally=tally.object_id,
    )
    expected = {(name, key.owner_id) for name in present for key in missing}
    require(
        set(present) <= by_name.keys() and set(pairs) == expected,
        RefusalCheck.SHARE,
        "the shares are not one from each present guardian for itself and each missing guardian",
        tally=tally.object_id,
    )
    with during(VerificationStep.SHARES):
        for share in shares:
            verify_share(share, tally, by_name[share.guardian_id], extended_hash)
    with during(VerificationStep.SUBSTITUTES):
        for part in compensated:
            verify_compensated_share(
                part,
                tally,
                by_name[part.guardian_id],
                by_name[part.missing_guardian_id],
                extended_hash,
            )
    available = [by_name[name] for name in present]
    everyone = list(shares)
    for key in missing:
        parts = [part for part in compensated if part.missing_guardian_id == key.owner_id]
        everyone.append(reconstruct_share(tally, key, parts, available))
    with during(VerificationStep.COUNTS):
        return _combine(tally, everyone, logarithm)


def _combine(
    tally: EncryptedTally,
    shares: Sequence[DecryptionShare],
    logarithm: Callable[[mpz], int],
) -> PlainTally:
    contests = {}
    for name, contest in tally.contests.items():
        selections = {}
        for line, selection in contest.selections.items():
            lines = [share.contests[name].selections[line] for share in shares]
            blinding = product([share.share for share in lines])
            value = selection.ciphertext.data * inverse(blinding) % P
            selections[line] = PlainSelection(
                line, logarithm(value), value, selection.ciphertext, lines
            )
        contests[name] = PlainContest(name, selections)
    return PlainTally(tally.object_id, contests)


def verify_plain_tally(
    plain: PlainTally,
    tally: EncryptedTally,
    keys: Sequence[GuardianKey],
    *,
    quorum: int,
    extended_hash: mpz,
    limit: int,
) -> None:
    """Check a published count from its content: B = g^t * prod M_i, and every share in it.

    Args:
        limit: the highest count possible, from the number of ballots, not from the count itself.

    Raises:
        Refused: `tally`, or a check of :func:`decrypt_tally`.
    """
    counts = set(plain.counts().values())
    with during(VerificationStep.COUNTS):
        require(
            all(0 <= count <= limit for count in counts),
            RefusalCheck.TALLY,
            "a published count is negative or exceeds the number of ballots",
            tally=tally.object_id,
        )
    shares, compensated = _published_shares(plain, tally, keys)
    published = {g_power(mpz(count)): count for count in counts}

    def logarithm(element: mpz) -> int:
        # Only published counts have to be recognised; a search would cost sqrt(limit).
        return published.get(element, -1)

    again = decrypt_tally(
        tally,
        shares,
        compensated,
        keys,
        quorum=quorum,
        extended_hash=extended_hash,
        logarithm=logarithm,
    )
    with during(VerificationStep.REPLACEMENTS):
        require(
            _replaced(plain) == _replaced(again),
            RefusalCheck.TALLY,
            "a replaced share does not follow from its parts",
            tally=tally.object_id,
        )
    with during(VerificationStep.COUNTS):
        require(
            _ordered(plain) == _ordered(again),
            RefusalCheck.TALLY,
            "a published count does not follow from its shares",
            tally=tally.object_id,
        )


def _replaced(plain: PlainTally) -> dict[tuple[str, str], mpz]:
    """Shares of missing guardians, by line and guardian."""
    return {
        (line, share.guardian_id): share.share
        for contest in plain.contests.values()
        for line, selection in contest.selections.items()
        for share in selection.shares
        if share.recovered_parts is not None
    }


def _ordered(
    plain: PlainTally,
) -> tuple[str, dict[str, tuple[str, dict[str, PlainSelection]]]]:
    """The whole tally, with shares ordered by guardian."""
    return plain.object_id, {
        name: (
            contest.object_id,
            {
                line: msgspec.structs.replace(
                    selection, shares=sorted(selection.shares, key=lambda share: share.guardian_id)
                )
                for line, selection in contest.selections.items()
            },
        )
        for name, contest in plain.contests.items()
    }


def _published_shares(
    plain: PlainTally, tally: EncryptedTally, keys: Sequence[GuardianKey]
) -> tuple[list[DecryptionShare], list[CompensatedShare]]:
    """Regroup the shares of each line into the lines of each share."""
    by_name = {key.owner_id: key for key in keys}
    own: dict[str, dict[str, ShareContest]] = {}
    parts: dict[tuple[str, str], dict[str, CompensatedContest]] = {}
    for contest in plain.contests.values():
        known = tally.contests.get(contest.object_id)
        require(known is not None, RefusalCheck.TALLY, "a published count has an unknown contest")
        assert known is not None
        description = known.description_hash
        for line, selection in contest.selections.items():
            names = [share.guardian_id for share in selection.shares]
            require(
                len(names) == len(set(names)) and set(names) == by_name.keys(),
                RefusalCheck.SHARE,
                "a published count does not have one share of every guardian",
                selection=line,
            )
            for share in selection.shares:
                if share.recovered_parts is None:
                    contests = own.setdefault(share.guardian_id, {})
                    contests.setdefault(
                        contest.object_id,
                        ShareContest(contest.object_id, share.guardian_id, description, {}),
                    ).selections[line] = share
                    continue
                for name, part in share.recovered_parts.items():
                    recovered = parts.setdefault((name, share.guardian_id), {})
                    recovered.setdefault(
                        contest.object_id,
                        CompensatedContest(
                            contest.object_id, name, share.guardian_id, description, {}
                        ),
                    ).selections[line] = part
    known_names = {name for name, _ in parts} | own.keys()
    require(
        known_names <= by_name.keys(), RefusalCheck.SHARE, "a share is from an unknown guardian"
    )
    return (
        [
            DecryptionShare(tally.object_id, name, by_name[name].key, lines)
            for name, lines in own.items()
        ],
        [
            CompensatedShare(tally.object_id, name, missing, by_name[name].key, lines)
            for (name, missing), lines in parts.items()
        ],
    )
