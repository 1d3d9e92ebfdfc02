#!/bin/bash
# What votekit 3.5.0 does with half of the votes, a tie, a skipped rank, an over-vote, a repeated
# candidate and an order that is given twice.
# Needs Python 3.11 with venv and a package index. Exit 1: it behaves otherwise than is written here.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
python3 -m venv "$folder/env"; "$folder/env/bin/pip" install -q votekit==3.5.0
"$folder/env/bin/python" - <<'PY'
from votekit import RankBallot, RankProfile
from votekit.elections import IRV

A, B, C = {"A"}, {"B"}, {"C"}


def count(*pairs):
    try:
        profile = RankProfile(ballots=tuple(RankBallot(ranking=r, weight=w) for r, w in pairs))
        election = IRV(profile)
    except ValueError:
        return "ValueError"
    return [sorted(won) for won in election.get_elected()][0][0], len(election.election_states) - 1


seen = {
    "half of the votes (A 5, B 3, C>B 2)": count(([A], 5), ([B], 3), ([C, B], 2))[1],
    "a skipped first rank (->A 3, B 2)": count(([set(), A], 3), ([B], 2))[0],
    "an over-vote (A=B>C 3, B 2, C 2)": count(([A | B, C], 3), ([B], 2), ([C], 2)),
    "a candidate twice (A>A>B 3, B 2)": count(([A, A, B], 3), ([B], 2))[0],
    "an order given twice (A 3, A 3, B 4)": count(([A], 3), ([A], 3), ([B], 4))[0],
}
won = {count(([A], 5), ([B], 5))[0] for _ in range(40)}
for what, found in seen.items():
    print(f"{what}: {found}")
print("a tie of two (A 5, B 5), 40 times:", sorted(won))
assert list(seen.values()) == [3, "B", "ValueError", "A", "A"], seen
assert won <= {"A", "B"}
PY
# Seen: 3 states (a majority is more than half); B, so a ballot whose first rank is skipped counts
# for nobody; ValueError; A; A. A tie without a tiebreak is drawn by lot, with a line on standard
# output.
