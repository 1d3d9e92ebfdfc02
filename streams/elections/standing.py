"""Who stands and who can be elected, as an election is held; and the lot. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from schemas.control import Conduct, WithdrawnVotes
from streams.core.conduct import reaches
from streams.elections.rounds import BY_HAND, BY_LOT, Count, Outcome

PLAIN: Final = Conduct()
"""Without any of its settings."""


def drawn(lot: str, candidate: str) -> bytes:
    """A candidate's lot; the tied candidate with the lowest is eliminated."""
    return hashlib.sha256((lot + candidate).encode()).digest()


class Standing:
    """Who stands, and who can be elected, as the election is held."""

    def __init__(
        self, candidates: Sequence[str], conduct: Conduct = PLAIN, lot: str | None = ""
    ) -> None:
        self.candidates = tuple(candidates)
        self.conduct = conduct
        self.lot = lot
        """Prefix of a candidate in the lot, `seed|region|`; None: the seed is not revealed."""
        withdrawn = frozenset(each.choice for each in conduct.withdrawn)
        what = conduct.withdrawn_votes
        self.skipped = withdrawn if what == WithdrawnVotes.NEXT_PREFERENCE else frozenset[str]()
        self.barred = withdrawn if what == WithdrawnVotes.CANNOT_BE_ELECTED else frozenset[str]()
        self.vacant = withdrawn if what == WithdrawnVotes.VACANT else frozenset[str]()

    def of_the_best(self, best: tuple[str, ...]) -> str | None:
        """Who is elected of those with the most votes; None if that is open."""
        return best[0] if len(best) == 1 else self.drawn(best, elects=True)

    def by_lot(self, tied: Sequence[str], *, elects: bool = False) -> tuple[str | None, int]:
        """Whom the lot names, and how it was drawn; None: it is not known yet."""
        if self.conduct.lots_by_hand:
            return self.drawn(tied, elects=elects), BY_HAND
        lot = self.lot
        if lot is None:
            return None, BY_LOT
        pick = max if elects else min
        return pick(tied, key=lambda name: drawn(lot, name)), BY_LOT

    @property
    def waits_for(self) -> Outcome:
        """What a count waits for that needs a lot."""
        return Outcome.LOT_NEEDED if self.conduct.lots_by_hand else Outcome.SEED_NEEDED

    def drawn(self, tied: Iterable[str], *, elects: bool) -> str | None:
        """Whom officials drew by lot; None if they did not."""
        between = frozenset(tied)
        for lot in self.conduct.lots if self.conduct.lots_by_hand else ():
            if lot.elects == elects and between == frozenset(lot.tied):
                return lot.drawn
        return None

    def confirmed(self, count: Count, cast: int) -> Count:
        """The count, without somebody elected who withdrew or has too few votes."""
        name, share = count.elected, self.conduct.winner_quorum
        if name is None:
            return count
        last = count.rounds[-1]
        if name in self.vacant:
            outcome = Outcome.VACANT
        elif share is not None and not reaches(dict(last.votes)[name], share, cast):
            outcome = Outcome.NO_QUORUM
        else:
            return count
        rounds = (*count.rounds[:-1], replace(last, elected=None))
        return replace(count, rounds=rounds, elected=None, outcome=outcome, missed=name)
