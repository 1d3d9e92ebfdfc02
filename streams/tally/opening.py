"""What may be decrypted: products of all published ballots, never the votes of a few. Pure."""

from __future__ import annotations

from hashlib import sha256

from streams.tally.crypto.election import CryptoElection
from streams.tally.packing import ELEMENT_BYTES, UNIT_BYTES
from streams.tally.refusals import RefusalCheck, require


def content_digest(ciphertexts: bytes) -> bytes:
    """What identifies a ballot: its id is a label that another voter may use too."""
    return sha256(ciphertexts).digest()


class BallotsHead:
    """A digest of all admitted ballots, with their states, in published order.

    Guardians decrypt for the ballots of one head only, and everybody can compute it from the
    record.
    """

    def __init__(self) -> None:
        self._digest = sha256()

    def add(self, state: int, content: bytes) -> None:
        """Add the next ballot.

        Args:
            state: 1 cast, 2 spoiled.
            content: its :func:`content_digest`.
        """
        self._digest.update(bytes([state]) + content)

    def value(self) -> str:
        """The head, in hexadecimal."""
        return self._digest.hexdigest()


class ContestCounts:
    """In how many packed ballots of a product each contest occurs."""

    def __init__(self, election: CryptoElection) -> None:
        self._places: dict[str, int] = {}
        place = 0
        for contest in election.contests.values():
            self._places[contest.object_id] = place
            place += 2 * ELEMENT_BYTES * len(contest.real_lines)
        self._counts = dict.fromkeys(self._places, 0)

    def add(self, packed: bytes) -> None:
        """Add a ballot."""
        for contest, place in self._places.items():
            self._counts[contest] += packed[place : place + ELEMENT_BYTES] != UNIT_BYTES

    def check(self, minimum: int, product: str) -> None:
        """Check that the count of no contest is that of a few ballots.

        Raises:
            Refused: `minimum`; a contest without ballots reveals nothing and passes.
        """
        for contest, count in self._counts.items():
            require(
                count == 0 or count >= minimum,
                RefusalCheck.MINIMUM,
                f"a contest is on {count} ballots, and its count would reveal votes below"
                f" {minimum} (SCRUTIN_TALLY_MIN_BALLOTS)",
                product=product,
                contest=contest,
            )
