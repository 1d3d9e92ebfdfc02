"""`python -m tests.bench.tally_compare REV`: the encrypted tally beside another revision, by turns.

Both get the same election and ballots of 10 candidates. Each verifies in batches of its own size,
on one core, and its whole record with `scrutin tally verify`. Figures are CPU times.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from streams.tally.crypto.manifest import plain_manifest
from tests.bench.compare import HERE, tree_of
from tests.bench.tally import CANDIDATES
from tests.small_election import make_election
from tests.small_record import write_record

OPERATIONS = """
import json, sys, time
from pathlib import Path
from streams.tally.crypto import ballots as made, batch, election as defined
from streams.tally.crypto.documents import from_json
from streams.tally.crypto.manifest import Manifest
# Names of older revisions too.
Ballot = getattr(made, "EncryptedBallot", None) or made.Ballot
Election = getattr(defined, "CryptoElection", None) or defined.Election
record, size = Path(sys.argv[1]), int(sys.argv[2])
read = lambda kind, name: from_json(kind, (record / name).read_text())
election = Election(read(Manifest, "manifest.json"), read(defined.Context, "context.json"))
lines = (record / "ballots.jsonl").read_bytes().splitlines()
def encrypt(times):
    begin = time.process_time()
    for _ in range(times):
        made.encrypt_ballot(election, "b", "ballot", {"mayor": ["mayor-candidate-3-selection"]})
    return 1000 * (time.process_time() - begin) / times
def together(lines):
    gathered = batch.GatheredBallots(election, len(lines))
    for at in range(0, len(lines), 16):
        ballots = [from_json(Ballot, line) for line in lines[at : at + 16]]
        assert not any(batch.without_powers(ballot, election) for ballot in ballots)
        gathered.add(ballots)
    assert gathered.hold()
def apart(lines):
    assert not any(batch.verify_ballots([from_json(Ballot, line) for line in lines], election))
def verify(size):
    begin = time.process_time()
    for at in range(0, len(lines), size):
        (together if hasattr(batch, "GatheredBallots") else apart)(lines[at : at + size])
    return 1000 * (time.process_time() - begin) / len(lines)
if hasattr(made, "encrypt_many"):
    made.encrypt_many(*(election, 10_000)[: made.encrypt_many.__code__.co_argcount])
encrypt(1)
print(json.dumps({"encrypt a ballot": encrypt(40), "verify a ballot": verify(size)}))
"""
# In a small process of its own: a started process inherits its parent's peak memory.
USAGE = """
import json, os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
assert os.waitstatus_to_exitcode(status) == 0
print(json.dumps([usage.ru_utime + usage.ru_stime, usage.ru_maxrss]))
"""
WHOLE = "a ballot in `scrutin tally verify`"
PEAK = "MiB of its largest process"


def compare(
    revision: Annotated[str, typer.Argument(help="A commit, branch or tag to compare with.")],
    *,
    ballots: Annotated[int, typer.Option(min=1, help="Ballots of the record.")] = 1024,
    rounds: Annotated[int, typer.Option(min=1, help="Runs of each.")] = 3,
    size: Annotated[int, typer.Option(min=1, help="Ballots in a batch here.")] = 1024,
    other_size: Annotated[int, typer.Option(min=1, help="Ballots in a batch there.")] = 16,
) -> None:
    """Print milliseconds of CPU a ballot and peak memory, medians, and their ratios.

    Example: `python -m tests.bench.tally_compare main~20 --ballots 10000 --size 5000`
    """
    out = Console(highlight=False)
    found: dict[str, dict[str, list[float]]] = {"this": {}, "other": {}}
    with (
        tempfile.TemporaryDirectory(prefix="scrutin-bench-") as folder,
        tree_of(revision) as other,
    ):
        manifest = plain_manifest(
            "bench", {"mayor": CANDIDATES}, moment=datetime(2026, 1, 1, tzinfo=UTC)
        )
        held = make_election(
            manifest, random.Random(1), guardians=3, quorum=2, cast=ballots, spoiled=0
        )
        record = Path(folder) / "record"
        write_record(held, record, present=2)
        trees = {"this": (HERE, size), "other": (other, other_size)}
        for number in range(rounds):
            for name in sorted(trees, reverse=number % 2 == 0):
                where, batch = trees[name]
                for what, value in _measure(where, record, batch, ballots).items():
                    found[name].setdefault(what, []).append(value)
                    out.print(f"round {number + 1}, {name}: {what} {value:.2f}")
    table = Table("CPU ms, MiB", "this", revision, "ratio")
    for what, values in found["this"].items():
        here, there = statistics.median(values), statistics.median(found["other"][what])
        table.add_row(what, f"{here:.2f}", f"{there:.2f}", f"{here / there:.2f}")
    out.print(table)


def _measure(where: Path, record: Path, size: int, ballots: int) -> dict[str, float]:
    environ = {**os.environ, "PYTHONPATH": str(where)}
    command = [sys.executable, "-c", OPERATIONS, str(record), str(size)]
    figures: dict[str, float] = _said(command, where, environ)
    verify = [sys.executable, "-c", "from streams.cli import main; main()", "tally", "verify"]
    command = [sys.executable, "-c", USAGE, *verify, str(record)]
    taken_s, figures[PEAK] = _said(command, where, environ)
    figures[WHOLE] = 1000 * taken_s / ballots
    figures[PEAK] /= 1024
    return figures


def _said(command: list[str], where: Path, environ: dict[str, str]) -> Any:
    done = subprocess.run(command, cwd=where, env=environ, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


if __name__ == "__main__":
    typer.run(compare)
