"""`python -m tests.bench.runoff`: a million ranked ballots counted, beside a package that does it.

Both get the same ballots in a file and begin to count when they have read them. The peer,
PyRankVote, counts instant run-offs in memory. It has no over-votes, skipped or repeated ranks, no
weights, no rules of a statute, no reasons why ballots are inactive, and breaks ties at random.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from streams.core import ranking
from streams.elections.counting import instant_runoff
from tests.bench.peers import programs

CANDIDATES = tuple(str(number) for number in range(1, 21))
GOAL_S = 10.0
"""For a million ballots on two cores."""
_PEER_S = 1800


def write_ballots(path: Path, count: int, seed: int) -> None:
    """Write rankings of 1 to 10 candidates, of whom some are much liked: nearly all differ."""
    chance = random.Random(f"run-off {seed}")
    liked = [1 / (place + 2) for place in range(len(CANDIDATES))]
    with path.open("w", encoding="utf-8") as file:
        for _ in range(count):
            many = chance.randint(1, 10)
            drawn = sorted(
                zip(CANDIDATES, liked, strict=True), key=lambda one: chance.random() ** (1 / one[1])
            )
            file.write(">".join(name for name, _ in drawn[-many:]) + "\n")


def own(path: Path) -> dict[str, Any]:
    """Count the ballots with the counter of elections, from the texts of choices as in the log."""
    choices = path.read_text(encoding="utf-8").split("\n")[:-1]
    began_s, cpu_s = time.perf_counter(), time.process_time()
    ballots = {ranking.from_text(choice): n for choice, n in Counter(choices).items()}
    count = instant_runoff(CANDIDATES, ballots)
    wall_s, used_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    for each in count.rounds:
        # Continuing, exhausted and blank ballots are all that were cast.
        assert sum(votes for _, votes in each.votes) + each.exhausted == len(choices)
    return {
        "wall_s": wall_s,
        "cpu_s": used_s,
        "different": len(ballots),
        "elected": count.elected,
        "rounds": len(count.rounds),
    }


def peer(path: Path) -> dict[str, Any]:
    """Count the same ballots with PyRankVote, in a process of its own."""
    python = programs.runoff()
    script = programs.HERE / "runoff_pyrankvote.py"
    done = subprocess.run(
        [python, str(script), str(path), ",".join(CANDIDATES)],
        capture_output=True,
        text=True,
        check=True,
        timeout=_PEER_S,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def bench(
    *,
    ballots: Annotated[int, typer.Option(min=1000, help="Ranked ballots.")] = 1_000_000,
    seed: Annotated[int, typer.Option(help="Of the ballots.")] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write figures here.")] = None,
) -> None:
    """Count ranked ballots with 20 candidates, beside PyRankVote."""
    with tempfile.TemporaryDirectory(prefix="scrutin-runoff-") as folder:
        path = Path(folder) / "ballots"
        write_ballots(path, ballots, seed)
        figures = {
            "ballots": ballots,
            "candidates": len(CANDIDATES),
            "cores": os.cpu_count(),
            "load_before": round(os.getloadavg()[0], 2),
            "scrutin": own(path),
            "pyrankvote": peer(path),
        }
    for name in ("scrutin", "pyrankvote"):
        found = figures[name]
        print(
            f"{name:11} {found['wall_s']:7.1f} s, {found['cpu_s']:7.1f} s CPU;"
            f" {found['elected']} elected in {found['rounds']} rounds"
        )
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=2) + "\n")
    if figures["scrutin"]["elected"] != figures["pyrankvote"]["elected"]:
        sys.exit("Both count by the same method, and elect others")


if __name__ == "__main__":
    typer.run(bench)
