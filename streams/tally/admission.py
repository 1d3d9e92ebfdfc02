"""Letting ballots in: every proof is checked, once, by helpers side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from streams.tally import work
from streams.tally.helpers import Helpers
from streams.tally.store import TallyStore
from streams.tally.work import Admit, Admitted, DescribedElection

_BATCH = 16
"""Ballots of one request to a helper: their proofs are checked together."""


@dataclass
class Admission:
    """What became of the ballots."""

    admitted: int = 0
    repeated: int = 0
    """A ballot of this id, or with these ciphertexts, was there already; it stays as it was."""
    refused: list[str] = field(default_factory=list)
    """Why, one for each ballot that was not let in."""


async def admit(
    store: TallyStore,
    helpers: Helpers,
    election: DescribedElection,
    ballots: Iterable[bytes],
    *,
    advance: Callable[[int], None] = lambda _: None,
) -> Admission:
    """Verify ballots and keep those that verify.

    Args:
        ballots: JSON of submitted ballots, one after the other.
        advance: told how many more are through.

    Raises:
        WorkFailed: a helper died.
        ServiceUnavailable: PostgreSQL is away; what was kept until then stays.
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
        # Two of one id in a batch would be one row twice.
        distinct = {admitted.ballot_id: (admitted, text) for admitted, text in reversed(good)}
        new = await store.put_ballots(election.election_id, list(distinct.values()))
        outcome.admitted += len(new)
        outcome.repeated += len(good) - len(new)
        advance(len(checked))
    return outcome


def batches(ballots: Iterable[bytes]) -> Iterable[list[bytes]]:
    """Groups of ballots, one request to a helper each."""
    batch: list[bytes] = []
    for ballot in ballots:
        batch.append(ballot)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
