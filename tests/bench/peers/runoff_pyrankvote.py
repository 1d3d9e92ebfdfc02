"""Counts ballots of a file by PyRankVote: a line a ballot, ranks separated by `>`."""

from __future__ import annotations

import json
import sys
import time

import pyrankvote


def main() -> None:
    path, candidates = sys.argv[1], sys.argv[2].split(",")
    known = {name: pyrankvote.Candidate(name) for name in candidates}
    with open(path, encoding="utf-8") as file:  # noqa: PTH123 - a program of its own
        ballots = [
            pyrankvote.Ballot([known[name] for name in line.rstrip("\n").split(">")])
            for line in file
        ]
    began_s, cpu_s = time.perf_counter(), time.process_time()
    found = pyrankvote.instant_runoff_voting(list(known.values()), ballots)
    print(
        json.dumps(
            {
                "wall_s": time.perf_counter() - began_s,
                "cpu_s": time.process_time() - cpu_s,
                "elected": found.get_winners()[0].name,
                "rounds": len(found.rounds),
            }
        )
    )


main()
