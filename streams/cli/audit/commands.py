"""`scrutin audit`: which papers to look at, and what risk is left after looking."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from streams.cli.audit.checkpoint import checkpoint, key
from streams.cli.audit.publish import publish
from streams.cli.audit.receipt import receipt
from streams.cli.audit.trail import trail
from streams.cli.audit.verify import verify
from streams.cli.audit.witness import cosigned, witness
from streams.cli.show import JsonOption, answer, console, facts, grid, plain
from streams.cli.values import MAX_NUMBER
from streams.elections.audits.risk import (
    GAMMA,
    Pair,
    PairRisk,
    alpha,
    bravo,
    bravo_mean,
    compare_papers,
    comparison_size,
    kaplan_markov,
    pairs_of,
)
from streams.elections.audits.sampling import read_manifest
from streams.errors import SettingsError

app = typer.Typer(
    help="Audits: papers drawn by a public seed, the risk that is left, signed checkpoints of the"
    " count, and a bundle for all who want to check it.\n\n"
    "Example: `scrutin audit sample manifest.csv --seed 35463115561121636246 --count 50`",
    no_args_is_help=True,
)
app.command("key")(key)
app.command("checkpoint")(checkpoint)
app.command("publish")(publish)
app.command("receipt")(receipt)
app.command("trail")(trail)
app.command("verify")(verify)
app.command("witness")(witness)
app.command("cosigned")(cosigned)


class Method(StrEnum):
    """How the risk is computed."""

    BRAVO = "bravo"
    ALPHA = "alpha"
    COMPARISON = "comparison"


@app.command("sample")
def sample(
    manifest: Annotated[Path, typer.Argument(help="CSV with batch, ballots, perhaps container.")],
    *,
    seed: Annotated[str, typer.Option(help="Drawn in public after the results are fixed.")],
    count: Annotated[int, typer.Option(min=1, max=1_000_000, help="Number of draws.")],
    skip: Annotated[
        int, typer.Option(min=0, max=MAX_NUMBER, help="Draws of earlier rounds of the audit.")
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """Draw papers, with replacement, as Rivest's sampler does: anybody can repeat it.

    Example: `scrutin audit sample manifest.csv --seed 35463115561121636246 --count 50`
    """
    with _reading(manifest) as rows:
        papers = read_manifest(rows)
    draws = [asdict(draw) for draw in papers.draws(seed, count, skip)]

    def show() -> None:
        table = grid("Draw", "Paper", "Batch", "Position", right=("Draw", "Paper", "Position"))
        for draw in draws:
            table.add_row(
                str(draw["number"]), str(draw["paper"]), plain(draw["batch"]), str(draw["position"])
            )
        console().print(table)
        console().print(f"{len({d['paper'] for d in draws}):,} of {papers.papers:,} papers")

    answer({"seed": seed, "papers": papers.papers, "draws": draws}, show, as_json=as_json)


@app.command("risk")
def risk(
    sample_file: Annotated[
        Path,
        typer.Argument(
            metavar="SAMPLE",
            help="CSV with a row for each draw in order: seen, and recorded for a comparison; "
            "an empty cell is no valid vote.",
        ),
    ],
    *,
    votes: Annotated[
        list[str], typer.Option(metavar="NAME=VOTES", help="As reported; once for each candidate.")
    ],
    papers: Annotated[
        int, typer.Option(min=1, max=MAX_NUMBER, help="All papers, with and without a valid vote.")
    ],
    method: Annotated[Method, typer.Option(help="bravo and alpha look at papers alone.")] = (
        Method.BRAVO
    ),
    limit: Annotated[float, typer.Option(min=0.0001, max=0.5, help="The risk limit.")] = 0.05,
    seats: Annotated[int, typer.Option(min=1, max=999, help="How many win.")] = 1,
    without_replacement: Annotated[
        bool, typer.Option("--without-replacement", help="No paper was drawn twice (alpha only).")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Compute the risk after a sample: whether the audit may end, or goes on.

    Example: `scrutin audit risk seen.csv --votes Ann=6000 --votes Bob=4000 --papers 10200`
    """
    reported = dict(_reported(text) for text in votes)
    if sum(reported.values()) > papers:
        raise SettingsError("More votes are reported than there are papers")
    if without_replacement and method != Method.ALPHA:
        raise SettingsError("Only alpha draws without replacement", todo="Use --method alpha")
    try:
        pairs = pairs_of(reported, seats)
        with _reading(sample_file) as rows:
            seen = [
                (_vote(row, "recorded", reported), _vote(row, "seen", reported)) for row in rows
            ]
        found = _risks(method, reported, pairs, seen, papers, replaced=not without_replacement)
    except ValueError as error:
        raise SettingsError(str(error), where={"file": sample_file}) from error
    worst = max(one.risk for one in found)
    document: dict[str, Any] = {
        "method": str(method),
        "draws": len(seen),
        "risk": worst,
        "limit": limit,
        "may_end": worst <= limit,
        "pairs": [{"winner": o.pair.winner, "loser": o.pair.loser, "risk": o.risk} for o in found],
    }
    if method == Method.COMPARISON:
        document |= _discrepancies(reported, pairs, seen, papers, limit)
    elif method == Method.BRAVO:
        document["papers_on_average"] = max(_on_average(reported, p, papers, limit) for p in pairs)
    answer(document, lambda: _show(document), as_json=as_json)


def _risks(
    method: Method,
    reported: dict[str, int],
    pairs: list[Pair],
    papers_seen: list[tuple[str | None, str | None]],
    papers: int,
    *,
    replaced: bool,
) -> list[PairRisk]:
    seen = [vote for _, vote in papers_seen]
    if method == Method.BRAVO:
        return [bravo(reported, pair, seen) for pair in pairs]
    if method == Method.ALPHA:
        return [alpha(reported, pair, seen, papers=papers, replaced=replaced) for pair in pairs]
    found = compare_papers(pairs, papers_seen)
    # One bound for all pairs, by the smallest margin.
    least = min(pairs, key=lambda p: reported[p.winner] - reported[p.loser])
    margin = (reported[least.winner] - reported[least.loser]) / papers
    return [PairRisk(least, kaplan_markov(margin, found))]


def _on_average(reported: dict[str, int], pair: Pair, papers: int, limit: float) -> int:
    both = reported[pair.winner] + reported[pair.loser]
    votes = bravo_mean(reported[pair.winner] / both, limit)
    return math.ceil(votes * papers / both)


def _discrepancies(
    reported: dict[str, int],
    pairs: list[Pair],
    seen: list[tuple[str | None, str | None]],
    papers: int,
    limit: float,
) -> dict[str, Any]:
    found = compare_papers(pairs, seen)
    margin = min(reported[p.winner] - reported[p.loser] for p in pairs) / papers
    return {
        "gamma": GAMMA,
        "diluted_margin": margin,
        "discrepancies": asdict(found),
        "papers_needed": comparison_size(margin, limit, found),
    }


def _show(document: dict[str, Any]) -> None:
    table = facts()
    table.add_row("draws", f"{document['draws']:,}")
    for one in document["pairs"]:
        table.add_row("risk", plain(f"{one['risk']:.6f}  {one['winner']} over {one['loser']}"))
    for name in ("papers_needed", "papers_on_average"):
        if name in document:
            table.add_row(name.replace("_", " "), f"{document[name]:,}")
    end = "the audit may end" if document["may_end"] else "the audit goes on"
    table.add_row(f"limit {document['limit']}", end)
    console().print(table)


class _reading:  # noqa: N801 - a context manager
    """The rows of a CSV file; faults as errors of settings."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Iterable[dict[str, str]]:
        return self._rows()

    def _rows(self) -> Iterator[dict[str, str]]:
        try:
            with self._path.open(encoding="utf-8-sig", newline="") as lines:
                yield from csv.DictReader(lines)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise self._fault(error) from error

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if isinstance(error, ValueError):
            raise self._fault(error) from error

    def _fault(self, error: Exception) -> SettingsError:
        return SettingsError(f"The file cannot be read: {error}", where={"file": self._path})


def _reported(text: str) -> tuple[str, int]:
    name, _, number = text.rpartition("=")
    if not name or not (number.isascii() and number.isdigit()) or len(number) > 12:
        raise SettingsError(f"{text!r} is not NAME=VOTES", todo="Write --votes 'Ann Lee=6000'")
    return name, int(number)


def _vote(row: dict[str, str], column: str, reported: dict[str, int]) -> str | None:
    vote = (row.get(column) or "").strip()
    if column == "seen" and column not in row:
        raise ValueError("the file has no column called seen")
    if vote and vote not in reported:
        raise ValueError(f"{vote[:40]!r} is not among the reported candidates")
    return vote or None
