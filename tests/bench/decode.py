"""`python -m tests.bench.decode REV`: CPU of decoding a vote by its shape, here and in a revision.

Each tree decodes in a process of its own, by turns, and says the least of many short stretches. The
peer is `json.loads` of the same bodies, which decides nothing.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from tests.bench.compare import HERE, tree_of

PLAIN = {
    "vote_hash": "9f" * 32,
    "citizen_id": "citizen-4711",
    "law_id": "law-001",
    "choice": "oui",
    "timestamp": "2026-11-14T12:00:00.250000Z",
}
CANDIDATE = {
    "voter_hash": "9f" * 32,
    "election_id": "municipal-2026",
    "candidate_id": 4,
    "vote_timestamp": "2026-11-14T12:00:00.250000Z",
}
SHAPES: dict[str, dict[str, Any]] = {
    "plain": PLAIN,
    "unknown field": PLAIN | {"channel": "kiosk-12"},
    "metadata": PLAIN | {"metadata": {"ip_address": "192.0.2.1", "user_agent": "load"}},
    "nested metadata": PLAIN
    | {"metadata": {"client": {"name": "kiosk", "version": 3, "tags": ["a", "b"]}, "ok": True}},
    "numbers": PLAIN | {"metadata": {"latitude": 45.5, "longitude": -73.6}},
    "escapes": PLAIN | {"place": "Québec", "note": 'the "north" door'},
    "nulls": PLAIN | {"candidate_id": None, "metadata": None},
    "candidate": CANDIDATE,
    "ranking": {k: v for k, v in CANDIDATE.items() if k != "candidate_id"}
    | {"ranked_choices": [3, 1, 4, 2], "voting_method": "ranked_choice"},
}
PLAIN_OF = {"ranking": "candidate"}
"""The form that a shape is compared with, if it is not `plain`."""
ROUNDS = 5
_STRETCHES, _BODIES = 60, 300

_PROGRAM = f"""
import importlib, json, pathlib, sys, time
# Before there were packages by task.
place = "messages" if pathlib.Path("streams/messages").exists() else "bridge"
decode = importlib.import_module(f"streams.{{place}}.decode").decode
shapes = {{name: body.encode() for name, body in json.load(sys.stdin).items()}}
how = dict(redelivered=False, prevalidated=False, ingest_us=1, max_body_bytes=65536)
def ours(body):
    decode(body, b"0123456789abcdef", **how)
def least(call, body):
    took = []
    for _ in range({_STRETCHES}):
        begin = time.process_time()
        for _ in range({_BODIES}):
            call(body)
        took.append(time.process_time() - begin)
    return min(took) / {_BODIES} * 1e6
found = {{name: [least(ours, body), least(json.loads, body)] for name, body in shapes.items()}}
print(json.dumps(found))
"""


def decode(
    revision: Annotated[str, typer.Argument(help="A commit, branch or tag to compare with.")],
    *,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write figures here.")] = None,
) -> None:
    """Print µs of CPU a vote by shape, medians of five rounds by turns."""
    found: dict[str, list[dict[str, list[float]]]] = {"this": [], "other": []}
    with tree_of(revision) as other:
        trees = {"this": HERE, "other": other}
        for number in range(ROUNDS):
            for name in sorted(trees, reverse=number % 2 == 0):
                found[name].append(_one(trees[name], seed=number))
    figures = {
        shape: {
            "us": round(median(one[shape][0] for one in found["this"]), 2),
            "other_us": round(median(one[shape][0] for one in found["other"]), 2),
            "json_loads_us": round(median(one[shape][1] for one in found["this"]), 2),
            "of_plain": round(
                median(
                    one[shape][0] / one[PLAIN_OF.get(shape, "plain")][0] for one in found["this"]
                ),
                2,
            ),
        }
        for shape in SHAPES
    }
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("shape", "µs a vote", f"µs at {revision}", "json.loads", "of plain"):
        table.add_column(column, justify="left" if column == "shape" else "right")
    for shape, one in figures.items():
        table.add_row(shape, *(f"{value:.2f}" for value in one.values()))
    Console(highlight=False).print(table)
    if json_file is not None:
        json_file.write_text(json.dumps({"runs": found, "shapes": figures}, indent=2) + "\n")


def _one(tree: Path, *, seed: int) -> dict[str, list[float]]:
    names = list(SHAPES)
    # No shape always comes first, on a processor that is still slow.
    random.Random(seed).shuffle(names)
    shapes = {name: json.dumps(SHAPES[name]) for name in names}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        input=json.dumps(shapes), cwd=tree, check=True, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(tree)},
    )  # fmt: skip
    found: dict[str, list[float]] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    sys.exit(typer.run(decode))
