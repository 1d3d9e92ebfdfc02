"""Encrypted ballots that came by the vote chain: from counted votes into the election's ballots.

The chain decides who voted, once, before anybody looks at a ballot; `vote_audit` has the vote with
its ballot among what its message had beside the known fields. Here the proofs are checked. Every
such vote ends in `ballot_votes`: its ballot is admitted, or refused with a reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from streams.core.keys import ELECTION_PREFIX
from streams.tally import work
from streams.tally.admission import batches
from streams.tally.helpers import Helpers
from streams.tally.store import CAST, TallyStore
from streams.tally.work import Admit, Admitted, DescribedElection

CHOICE: Final = "encrypted"
"""The `candidate_id` of a vote whose choice is an encrypted ballot."""
FIELD: Final = "encrypted_ballot"
"""The field of a vote message that holds it: a text, the JSON of a submitted ballot.

Not an object: the bridge takes fields called `code` and `nas` out of what it does not know.
"""
_GROUP: Final = 320
"""Votes in memory at once."""


@dataclass
class Collected:
    """What became of the votes."""

    admitted: int = 0
    refused: list[str] = field(default_factory=list)
    """Why, one for each vote whose ballot does not count."""


def contest_of(election_id: str) -> str:
    """The contest that voters of an encrypted election vote in."""
    return ELECTION_PREFIX + election_id


async def collect(
    store: TallyStore,
    helpers: Helpers,
    election: DescribedElection,
    *,
    advance: Callable[[int], None] = lambda _: None,
) -> Collected:
    """Verify the ballots of counted votes that nobody collected yet.

    It may be ended and begun again at any time, and run more than once side by side.

    Args:
        advance: told how many more votes are through.

    Raises:
        WorkFailed: a helper died.
        ServiceUnavailable: PostgreSQL is away; what was kept until then stays.
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
    """A voter's one vote cannot be a spoiled ballot: that would tell how the voter voted."""
    if checked.refused or checked.state == CAST:
        return checked
    return Admitted(refused="a ballot that came as a vote is not cast")
