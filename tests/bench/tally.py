"""`python -m tests.bench.tally`: the tally's operations beside electionguard 1.4.0, in one run.

Single core, CPU seconds, a ballot of 10 candidates of whom one is chosen (11 encryptions). And the
memory of a tally worker's helper while it multiplies few and many ballots.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from gmpy2 import mpz
from rich.console import Console
from rich.table import Table

from streams.tally import work
from streams.tally.crypto.ballots import Ballot, encrypt_ballot
from streams.tally.crypto.batch import verify_ballots
from streams.tally.crypto.decryption import DiscreteLog, decrypt_tally
from streams.tally.crypto.documents import from_json, to_json
from streams.tally.crypto.group import fixed_base, g_power
from streams.tally.crypto.manifest import plain_manifest
from streams.tally.crypto.shares import make_share
from streams.tally.crypto.tallies import Accumulator, BallotLines
from streams.tally.crypto.verify_ballot import verify_ballot
from streams.tally.packing import add_packed, pack_lines
from streams.tally.work import Described, Multiply
from tests.oracle.program import running
from tests.tally_world import SmallElection, make_election

CANDIDATES = [f"candidate-{number}" for number in range(10)]


def cpu_ms(action: Callable[[], object], times: int) -> float:
    """Median CPU time of one call."""
    taken = []
    for _ in range(times):
        begin = time.process_time()
        action()
        taken.append(1000 * (time.process_time() - begin))
    return statistics.median(taken)


def ours(held: SmallElection, times: int) -> dict[str, float]:
    """Our figures, in milliseconds of CPU."""
    election = held.election
    fixed_base(election.public_key)
    g_power(mpz(1))
    chosen = {"mayor": ["mayor-candidate-3-selection"]}
    ballot = held.ballots[0]
    data = to_json(ballot)
    lines = pack_lines(election, from_json(BallotLines, data).lines())
    shares, compensated = held.shares(held.tally, present=(0, 1))
    return {
        "encrypt a ballot with proofs": cpu_ms(
            lambda: encrypt_ballot(election, "b", "ballot", chosen), times
        ),
        "verify a ballot fully": cpu_ms(
            lambda: verify_ballot(from_json(Ballot, data), election), times
        ),
        "verify a ballot fully, 16 together": cpu_ms(
            lambda: verify_ballots([from_json(Ballot, data)] * 16, election), max(1, times // 3)
        )
        / 16,
        "add a ballot up, from JSON": cpu_ms(
            lambda: Accumulator(election).add(from_json(BallotLines, data).lines()), 10 * times
        ),
        "add a ballot up, packed": cpu_ms(lambda: add_packed(election, b"", [lines] * 20), times)
        / 20,
        "a guardian's share of a tally": cpu_ms(
            lambda: make_share(held.tally, held.secrets[0], held.keys[0], election.extended_hash),
            times,
        ),
        "check all shares and decrypt": cpu_ms(
            lambda: decrypt_tally(
                held.tally,
                shares,
                compensated,
                held.keys,
                quorum=2,
                extended_hash=election.extended_hash,
                logarithm=DiscreteLog(100_000),
            ),
            1,
        ),
    }


def theirs(held: SmallElection, times: int) -> dict[str, float]:
    """The reference's figures for the same election."""
    with running(Path(os.devnull)) as reference:
        figures: dict[str, float] = reference(
            "bench",
            manifest=json.loads(to_json(held.election.manifest)),
            context=json.loads(to_json(held.election.context)),
            tally=json.loads(to_json(held.tally)),
            secret=json.loads(to_json(held.secrets[0])),
            key=json.loads(to_json(held.keys[0])),
            ballot=json.loads(to_json(held.ballots[0])),
            times=times,
        )
    return figures


def memory_mib(held: SmallElection, ballots: int) -> float:
    """Peak memory of a helper that multiplies this many ballots in batches."""
    election = held.election
    described = Described(
        "bench",
        to_json(election.manifest).decode(),
        to_json(election.context).decode(),
        to_json(held.keys).decode(),
    )
    lines = pack_lines(election, from_json(BallotLines, to_json(held.ballots[0])).lines())
    with subprocess.Popen(
        [sys.executable, "-m", "streams.tally.work"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        product = b""
        for _ in range(ballots // 200):
            request = work.encoder.encode(Multiply(described, product, [lines] * 200))
            process.stdin.write(len(request).to_bytes(work.LENGTH_BYTES) + request)
            process.stdin.flush()
            length = int.from_bytes(process.stdout.read(work.LENGTH_BYTES))
            product = work.answers.decode(process.stdout.read(length)).result
        status = Path(f"/proc/{process.pid}/status").read_text()
        process.kill()
    (peak,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(peak.split()[1]) / 1024


def bench(
    *,
    times: Annotated[int, typer.Option(min=1, help="Repetitions; medians are shown.")] = 10,
    ballots: Annotated[int, typer.Option(min=200, help="Ballots of the large tally.")] = 100_000,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write figures here.")] = None,
) -> None:
    """Measure the tally's operations beside electionguard 1.4.0.

    Example: `python -m tests.bench.tally --times 5 --ballots 10000`
    """
    manifest = plain_manifest(
        "bench", {"mayor": CANDIDATES}, moment=datetime(2026, 1, 1, tzinfo=UTC)
    )
    held = make_election(manifest, random.Random(1), guardians=3, quorum=2, cast=3, spoiled=0)
    mine, reference = ours(held, times), theirs(held, times)
    small, large = memory_mib(held, 1_000), memory_mib(held, ballots)
    table = Table("CPU ms, one core", "Scrutin", "electionguard 1.4.0")
    for name, value in mine.items():
        other = reference.get(name)
        table.add_row(name, f"{value:.2f}", "" if other is None else f"{other:.2f}")
    console = Console()
    console.print(table)
    rate = 1000 / mine["add a ballot up, packed"]
    console.print(f"{rate:,.0f} ballots a second added up, packed, on one core")
    console.print(
        f"memory of a helper: {small:.0f} MiB for 1,000 ballots, {large:.0f} MiB for {ballots:,}"
    )
    if json_file is not None:
        figures: dict[str, Any] = {
            "scrutin_ms": mine,
            "electionguard_ms": reference,
            "helper_mib": {"1000": small, str(ballots): large},
        }
        json_file.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(bench)
