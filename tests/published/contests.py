"""A published contest: ballots as they were marked, and the votes of each published round."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streams.core.ranking import OVERVOTE, Ranking
from streams.core.seats import seats_of
from streams.elections.counting import instant_runoff
from streams.elections.rules import read_rules
from streams.elections.seats.contest import count_seats
from streams.elections.standing import Standing

Votes = dict[str, int]
"""By candidate id; who has none is left out. Of a transferable vote in units of its last place."""
Transfers = Iterable[tuple[str, str | None, int]]
"""(from, to, ballots) of one round; None: they count for nobody from here on."""


@dataclass(frozen=True)
class Contest:
    """Candidate ids are the places in the list, from 1, as texts."""

    name: str
    candidates: tuple[str, ...]
    """Names."""
    rules: Mapping[str, Any]
    """As in the cell of an election."""
    ballots: Counter[Ranking]
    rounds: tuple[Votes, ...]
    """What was published."""

    @property
    def ids(self) -> list[str]:
        """Of the candidates."""
        return [str(place) for place in range(1, len(self.candidates) + 1)]

    def counted(self) -> list[Votes]:
        """The rounds by the counter alone."""
        rules, conduct = read_rules(dict(self.rules), ranked=True)
        assert rules is not None
        lot = f"{self.name}||"
        if conduct.seats is None:
            count = instant_runoff(self.ids, self.ballots, rules=rules, lot=lot)
        else:
            standing = Standing(self.ids, conduct, lot)
            seats = seats_of(conduct, None)
            count = count_seats(standing, self.ballots, conduct.seats, seats, marks=rules)
        return [with_votes(dict(each.votes)) for each in count.rounds]

    def difference(self, rounds: Sequence[Votes]) -> str:
        """The first difference from what was published; empty if there is none."""
        for number, (found, published) in enumerate(zip(rounds, self.rounds, strict=False), 1):
            for name in sorted({*found, *published}):
                if found.get(name) != published.get(name):
                    return (
                        f"round {number}: {self.candidates[int(name) - 1]} has"
                        f" {found.get(name, 0):,}, published {published.get(name, 0):,}"
                    )
        if len(rounds) != len(self.rounds):
            return f"{len(rounds)} rounds, published {len(self.rounds)}"
        return ""

    def tables(self) -> dict[str, Any]:
        """The election as `scrutin election import` reads it."""
        election = {
            "id": 1,
            "election_name": self.name,
            "voting_method": "ranked_choice",
            "roll": "open",
            "rules": dict(self.rules),
        }
        candidates = [
            {"id": place, "election_id": 1, "last_name": name}
            for place, name in enumerate(self.candidates, 1)
        ]
        return {"elections": [election], "candidates": candidates}

    def write_ballots(self, path: Path) -> None:
        """The ballots as `scrutin election ballots` reads them: equal ones in one line."""
        longest = max(map(len, self.ballots))
        with path.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow([*(f"rank{place}" for place in range(1, longest + 1)), "count"])
            for ballot, number in self.ballots.items():
                cells = ["overvote" if mark == OVERVOTE else mark for mark in ballot]
                rows.writerow([*cells, *[""] * (longest - len(cells)), number])


def with_votes(votes: Mapping[str, int | str]) -> Votes:
    """Without those who have none: some sources list them, others do not.

    Decimal text, of a transferable vote, becomes units of its last place.
    """
    units = {name: int(str(number).replace(".", "")) for name, number in votes.items()}
    return {name: number for name, number in units.items() if number}


def rebuilt(first: Votes, rounds: Iterable[Transfers]) -> Counter[Ranking]:
    """Ballots that give the same rounds, where only votes and transfers are published.

    Raises:
        ValueError: more ballots leave a candidate than it has, or some stay with one who is out.
    """
    piles: dict[str | None, list[tuple[Ranking, int]]] = {n: [((n,), v)] for n, v in first.items()}
    for transfers in rounds:
        moved: list[tuple[str | None, Ranking, int]] = []
        leaving = set()
        for name, to, number in transfers:
            leaving.add(name)
            pile = piles[name]
            left = number
            while left:
                if not pile:
                    raise ValueError(f"more ballots leave {name} than it has")
                ballot, held = pile.pop()
                taken = min(held, left)
                left -= taken
                if held > taken:
                    pile.append((ballot, held - taken))
                moved.append((to, ballot if to is None else (*ballot, to), taken))
        for name in leaving:
            if piles.pop(name):
                raise ValueError(f"ballots stay with {name}, who is eliminated")
        for to, ballot, number in moved:
            piles.setdefault(to, []).append((ballot, number))
    box: Counter[Ranking] = Counter()
    for pile in piles.values():
        for ballot, number in pile:
            box[ballot] += number
    return box
