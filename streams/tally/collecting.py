"""Collects encrypted ballots from counted votes into the election's ballots.

The vote chain decides who voted, once, before any ballot is read; `vote_audit` holds the ballot in
the metadata of the vote. Here its proofs are checked. Every such vote ends in `ballot_votes`: its
ballot is admitted, or refused with a reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from streams.core.keys import ELECTION_PREFIX, ENCRYPTED_CHOICE
from streams.tally import work
from streams.tally.admission import batches
from streams.tally.helpers import Helpers
from streams.tally.store import CAST, TallyStore
from streams.tally.work import Admit, Admitted, DescribedElection

CHOICE: Final = ENCRYPTED_CHOICE
_GROUP: Final = 320
"""Votes in memory at a time."""


@dataclass
class Collected:
    """The outcome of a collection."""

    admitted: int = 0
    refused: list[str] = field(default_factory=list)
    """The reason for each vote whose ballot does not count."""


def contest_of(election_id: str) -> str:
    """The contest of an encrypted election."""
    return ELECTION_PREFIX + election_id


async def collect(
    store: TallyStore,
    helpers: Helpers,
    election: DescribedElection,
    *,
    advance: Callable[[int], None] = lambda _: None,
) -> Collected:
    """Verify the ballots of counted votes that were not collected yet.

    It can be stopped and restarted at any time, and several can run in parallel.

    Args:
        advance: called with the number of votes just processed.

    Raises:
        WorkFailed: a helper died.
        Refused: the election is being tallied already.
        ServiceUnavailable: PostgreSQL does not answer; ballots stored before remain.
    """
    outcome = Collected()
    while votes := await store.uncollected(election.election_id, _GROUP):
        hashes = iter([vote_hash for vote_hash, _ in votes])
        ballots = [ballot.encode() for _, ballot in votes]
        async for answer, batch in helpers.in_order(
            lambda batch: Admit(election, batch), batches(ballots)
        ):
            checked = [_cast(each) for each in work.admitted.decode(answer)]
            group = [(next(hashes), each, text) for each, text in zip(checked, batch, strict=True)]
            refused = await store.put_collected(election.election_id, group)
            outcome.refused += refused
            outcome.admitted += len(group) - len(refused)
            advance(len(group))
    return outcome


def _cast(checked: Admitted) -> Admitted:
    """Refuse a spoiled ballot as a vote: its decryption would reveal how the voter voted."""
    if checked.refused or checked.state == CAST:
        return checked
    return Admitted(refused="the ballot of a vote is not a cast ballot")
