"""`python -m tests.bench.tally`: the tally's operations beside electionguard 1.4.0, in one run.

Single core, CPU milliseconds, a ballot of 10 candidates of whom one is chosen (11 encryptions).
Then a tally worker on real services, see :mod:`tests.bench.tally_worker`. Figures go to standard
output as JSON.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from streams.tally.admission import BATCH
from streams.tally.crypto.ballots import EncryptedBallot, encrypt_ballot, encrypt_many
from streams.tally.crypto.batch import GatheredBallots, verify_ballots, without_powers
from streams.tally.crypto.decryption import DiscreteLog, decrypt_tally
from streams.tally.crypto.documents import from_json, to_json
from streams.tally.crypto.election import CryptoElection
from streams.tally.crypto.manifest import plain_manifest
from streams.tally.crypto.shares import make_share
from streams.tally.crypto.tallies import Accumulator, BallotLines
from streams.tally.crypto.verify_ballot import verify_ballot
from streams.tally.packing import add_packed, pack_lines
from tests.bench.tally_worker import measure_worker
from tests.oracle.program import running
from tests.small_election import SmallElection, make_election

GATHERED = 5_000
MANY = 10_000
"""Ballots for which the tables are made."""
TOGETHER = f"verify a ballot fully, {GATHERED:,} together"
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
    encrypt_many(election, MANY)
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
            lambda: verify_ballot(from_json(EncryptedBallot, data), election), times
        ),
        f"verify a ballot fully, {BATCH:,} together": cpu_ms(
            lambda: verify_ballots(
                [from_json(EncryptedBallot, data) for _ in range(BATCH)], election
            ),
            max(1, times // 3),
        )
        / BATCH,
        TOGETHER: cpu_ms(lambda: _gather(data, election), 1) / GATHERED,
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


def _gather(data: bytes, election: CryptoElection) -> None:
    gathered = GatheredBallots(election, GATHERED)
    for _ in range(0, GATHERED, BATCH):
        ballots = [from_json(EncryptedBallot, data) for _ in range(BATCH)]
        assert not any(without_powers(ballot, election) for ballot in ballots)
        gathered.add(ballots)
    assert gathered.hold()


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


def bench(
    *,
    times: Annotated[int, typer.Option(min=1, help="Repetitions; medians are shown.")] = 10,
    ballots: Annotated[
        int, typer.Option(min=0, help="Ballots of the large tally; 0: no worker.")
    ] = 100_000,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures here too.")
    ] = None,
) -> None:
    """Measure the tally's operations beside electionguard 1.4.0, and a worker.

    Example: `python -m tests.bench.tally --times 5 --ballots 10000`
    """
    manifest = plain_manifest(
        "bench", {"mayor": CANDIDATES}, moment=datetime(2026, 1, 1, tzinfo=UTC)
    )
    held = make_election(manifest, random.Random(1), guardians=3, quorum=2, cast=3, spoiled=0)
    mine, reference = ours(held, times), theirs(held, times)
    table = Table("CPU ms, one core", "Scrutin", "electionguard 1.4.0")
    for name, value in mine.items():
        other = reference.get(name)
        table.add_row(name, f"{value:.2f}", "" if other is None else f"{other:.2f}")
    Console(stderr=True).print(table)
    figures: dict[str, Any] = {
        "scrutin_ms": mine,
        "electionguard_ms": reference,
        "ballots_per_core_s": {
            "added up": round(1000 / mine["add a ballot up, packed"]),
            "verified and added up": round(
                1000 / (mine["add a ballot up, packed"] + mine[TOGETHER])
            ),
        },
    }
    if ballots:
        figures["worker"] = measure_worker(ballots)
    text = json.dumps(figures, indent=2)
    print(text)
    if json_file is not None:
        json_file.write_text(text + "\n")


if __name__ == "__main__":
    typer.run(bench)
