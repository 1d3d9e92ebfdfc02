#!/bin/bash
# What pyrankvote 2.0.6 does with half of the votes, a tie for the fewest, a repeated candidate and a
# candidate who withdrew.
# Needs Python with venv and a package index. Exit 1: it behaves otherwise than is written here.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
python3 -m venv "$folder/env"; "$folder/env/bin/pip" install -q pyrankvote==2.0.6
"$folder/env/bin/python" - <<'PY'
import random
from collections import Counter
import pyrankvote
from pyrankvote import Ballot, Candidate

a, b, c = (Candidate(name) for name in "ABC")
half = pyrankvote.instant_runoff_voting([a, b, c], [Ballot([a])] * 5 + [Ballot([b])] * 3 + [Ballot([c, b])] * 2)
print("half of the votes (A 5, B 3, C>B 2):", half.get_winners()[0], "after", len(half.rounds), "round")
assert (str(half.get_winners()[0]), len(half.rounds)) == ("A", 1)

gone = Counter()
for seed in range(3000):
    random.seed(seed)
    first = pyrankvote.instant_runoff_voting([a, b, c], [Ballot([a]), Ballot([b]), Ballot([c])]).rounds[0]
    gone[[str(one.candidate) for one in first.candidate_results if "Rejected" in str(one.status)][0]] += 1
print("three tied, eliminated first in 3,000 lots:", dict(sorted(gone.items())))
assert max(gone.values()) > 3 * min(gone.values())

try:
    Ballot([a, a, b])
except Exception as error:
    print("a candidate twice:", type(error).__name__)
else:
    raise SystemExit("a repeated candidate is taken")

try:
    pyrankvote.instant_runoff_voting([a, b], [Ballot([a])] * 3 + [Ballot([c, b])] * 4)
except KeyError as error:
    print("C withdrew (A 3, C>B 4):", type(error).__name__)
else:
    raise SystemExit("a candidate who withdrew is passed over")
PY
# Seen: A after 1 round, though 5 of 10 is no majority; A 1117, B 371, C 1512 (even lots: 1,000
# each); DuplicateCandidatesError; KeyError, since C is no candidate any more.
