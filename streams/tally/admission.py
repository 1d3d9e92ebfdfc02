"""Admits ballots: helper processes check every proof, in parallel and once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from streams.tally import work
from streams.tally.helpers import Helpers
from streams.tally.opening import content_digest
from streams.tally.store import TallyStore
from streams.tally.work import Admit, Admitted, DescribedElection

BATCH: Final = 64
"""Ballots in one request to a helper, which checks their proofs together."""


@dataclass
class Admission:
    """The outcome of admission."""

    admitted: int = 0
    repeated: int = 0
    """Ballots whose ciphertexts exist already; the existing ballot is unchanged."""
    refused: list[str] = field(default_factory=list)
    """The reason for each ballot that was not admitted."""


async def admit(
    store: TallyStore,
    helpers: Helpers,
    election: DescribedElection,
    ballots: Iterable[bytes],
    *,
    advance: Callable[[int], None] = lambda _: None,
) -> Admission:
    """Verify ballots and store the valid ones.

    Args:
        ballots: JSON of submitted ballots.
        advance: called with the number of ballots just processed.

    Raises:
        WorkFailed: a helper died.
        Refused: the election is being tallied already.
        ServiceUnavailable: PostgreSQL does not answer; ballots stored before remain.
    """
    outcome = Admission()

    async for answer, batch in helpers.in_order(
        lambda batch: Admit(election, batch), batches(ballots)
    ):
        checked: list[tuple[Admitted, bytes]] = list(
            zip(work.admitted.decode(answer), batch, strict=True)
        )
        good = [pair for pair in checked if not pair[0].refused]
        outcome.refused += [admitted.refused for admitted, _ in checked if admitted.refused]
        new, stored = await store.put_ballots(election.election_id, good)
        others = [
            admitted for admitted, _ in good if content_digest(admitted.ciphertexts) not in stored
        ]
        outcome.refused += [f"another ballot has the id {each.ballot_id}" for each in others]
        outcome.admitted += len(new)
        outcome.repeated += len(good) - len(new) - len(others)
        advance(len(checked))
    return outcome


def batches(ballots: Iterable[bytes], size: int = BATCH) -> Iterable[list[bytes]]:
    """Split ballots into batches, one request to a helper each."""
    source = iter(ballots)
    while batch := list(islice(source, size)):
        yield batch
