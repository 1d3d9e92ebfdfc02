"""`python -m tests.bench.ballot_files`: a million rows of each ballot format, read beside a reader.

Scrutin's reader checks each line and says what it holds. The plain reader of the same format only
parses: lines split at blanks, `csv.reader`, `json.load`, `zipfile` with ElementTree. Each reads in
a process of its own, by turns; a tenth of the rows shows whether memory grows.
"""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Final
from xml.etree import ElementTree

import typer

from streams.elections.files.formats import BallotFormat, open_ballots
from streams.elections.files.items import LineAccount
from tests.bench.cpu import memory_mib

NAMES: Final = ("Ann", "Bob", "Cyd", "Dee", "Eva")
_SEVERAL: Final = frozenset({BallotFormat.NIST, BallotFormat.DOMINION, BallotFormat.HART})
_CHILD_S: Final = 1800


def rankings(rows: int) -> Iterator[list[int]]:
    """Orders of 1 to 5 candidates, from 1."""
    chance = random.Random("ballot files")
    for _ in range(rows):
        yield chance.sample(range(1, 6), chance.randint(1, 5))


def write_blt(path: Path, rows: int) -> None:
    """A line for each ballot."""
    with path.open("w", encoding="utf-8") as file:
        file.write("5 2\n")
        file.writelines(f"1 {' '.join(map(str, each))} 0\n" for each in rankings(rows))
        file.write("0\n" + "".join(f'"{name}"\n' for name in (*NAMES, "Ward")))


def write_preflib(path: Path, rows: int) -> None:
    """A line for each ballot."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"# ALTERNATIVE NAME {n}: {name}\n" for n, name in enumerate(NAMES, 1))
        file.writelines(f"1: {','.join(map(str, each))}\n" for each in rankings(rows))


def write_csv(path: Path, rows: int) -> None:
    """A column for each rank."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow([f"rank{place}" for place in range(1, 6)])
        for each in rankings(rows):
            table.writerow([*(NAMES[one - 1] for one in each), *[""] * (5 - len(each))])


def write_nist(path: Path, rows: int) -> None:
    """A record for each ballot, as version 1 of the schema has it."""
    selections = [
        {"@id": f"s{n}", "@type": "CVR.CandidateSelection", "CandidateIds": [f"c{n}"]}
        for n in range(1, 6)
    ]
    election = {
        "@id": "e",
        "Candidate": [{"@id": f"c{n}", "Name": name} for n, name in enumerate(NAMES, 1)],
        "Contest": [{"@id": "contest", "Name": "Ward", "ContestSelection": selections}],
    }
    with path.open("w", encoding="utf-8") as file:
        file.write(json.dumps({"Election": [election]})[:-1] + ', "CVR": [')
        for row, each in enumerate(rankings(rows)):
            chosen = [
                {
                    "ContestSelectionId": f"s{one}",
                    "SelectionPosition": [{"HasIndication": "yes", "NumberVotes": 1, "Rank": rank}],
                }
                for rank, one in enumerate(each, 1)
            ]
            contest = {"ContestId": "contest", "CVRContestSelection": chosen}
            record = {"CVRSnapshot": [{"@id": "o", "CVRContest": [contest]}]}
            file.write((",\n" if row else "\n") + json.dumps(record))
        file.write("]}")


def write_dominion(path: Path, rows: int) -> None:
    """A session for each ballot, and the two manifests."""
    candidates = [{"Id": n, "Description": name, "ContestId": 1} for n, name in enumerate(NAMES, 1)]
    for what, listed in (
        ("Candidate", candidates),
        ("Contest", [{"Id": 1, "Description": "Ward"}]),
    ):
        manifest = path.parent / f"{what}Manifest.json"
        manifest.write_text(json.dumps({"List": listed}), encoding="utf-8")
    with path.open("w", encoding="utf-8") as file:
        file.write('{"Version": "5", "Sessions": [')
        for row, each in enumerate(rankings(rows)):
            marks = [
                {"CandidateId": one, "Rank": rank, "IsAmbiguous": False, "IsVote": True}
                for rank, one in enumerate(each, 1)
            ]
            contests = [{"Id": 1, "Marks": marks}]
            session = {"Original": {"IsCurrent": True, "Cards": [{"Contests": contests}]}}
            file.write((",\n" if row else "\n") + json.dumps(session))
        file.write("]}")


def write_hart(path: Path, rows: int) -> None:
    """An XML file for each ballot, in an archive."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for row, each in enumerate(rankings(rows)):
            options = "".join(
                f"<Option><Id>{n}</Id><Name>{name}</Name>"
                f"<Value>{''.join('01'[each[r : r + 1] == [n]] for r in range(5))}</Value></Option>"
                for n, name in enumerate(NAMES, 1)
            )
            archive.writestr(
                f"{row:08}.xml",
                f"<Cvr><Contests><Contest><Name>Ward</Name><Id>1</Id><Options>{options}</Options>"
                "</Contest></Contests></Cvr>",
            )


WRITERS: Final[dict[BallotFormat, tuple[str, Callable[[Path, int], None]]]] = {
    BallotFormat.BLT: ("ward.blt", write_blt),
    BallotFormat.PREFLIB: ("ward.soi", write_preflib),
    BallotFormat.CSV: ("ward.csv", write_csv),
    BallotFormat.NIST: ("cvr.json", write_nist),
    BallotFormat.DOMINION: ("CvrExport.json", write_dominion),
    BallotFormat.HART: ("ward.zip", write_hart),
}


def read_own(form: BallotFormat, path: Path) -> int:
    """Rows that are ballots."""
    account = LineAccount()
    reader = open_ballots(path, form, None)
    reader.layout()
    for item in reader.items():
        account.add(item)
    assert account.lines == account.ballot_lines + account.comments
    return account.ballots


def read_plain(form: BallotFormat, path: Path) -> int:
    """Rows that a plain reader parses; headers too."""
    if form is BallotFormat.HART:
        with zipfile.ZipFile(path) as archive:
            return sum(
                ElementTree.fromstring(archive.read(name)).tag == "Cvr"
                for name in archive.namelist()
            )
    with path.open(encoding="utf-8", newline="") as file:
        if form is BallotFormat.CSV:
            return sum(1 for _ in csv.reader(file))
        if form in _SEVERAL:
            document = json.load(file)
            return len(document["CVR" if form is BallotFormat.NIST else "Sessions"])
        return sum(len(line.split()) > 0 for line in file)


def child(form: BallotFormat, path: Path, *, own: bool) -> None:
    """Read once, and print what it took."""
    began_s, cpu_s = time.perf_counter(), time.process_time()
    rows = (read_own if own else read_plain)(form, path)
    took = {
        "rows": rows,
        "wall_s": time.perf_counter() - began_s,
        "cpu_s": time.process_time() - cpu_s,
        "peak_mib": memory_mib()[1],
    }
    print(json.dumps(took))


def _measured(form: BallotFormat, path: Path, *, own: bool) -> dict[str, Any]:
    program = (
        f"from pathlib import Path; from tests.bench.ballot_files import child, BallotFormat;"
        f" child(BallotFormat({str(form)!r}), Path({str(path)!r}), own={own})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=_CHILD_S,
        env=os.environ | {"PYTHONPATH": str(Path.cwd())},
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def bench(
    rows: Annotated[int, typer.Option(min=1000, help="Of each file.")] = 1_000_000,
    rounds: Annotated[int, typer.Option(min=1, help="Of each reader, by turns.")] = 3,
    only: Annotated[list[BallotFormat] | None, typer.Option(help="Formats; repeatable.")] = None,
) -> None:
    """Read each format beside a plain reader, and print the figures as JSON."""
    figures = []
    for form in only or list(WRITERS):
        name, write = WRITERS[form]
        with tempfile.TemporaryDirectory(prefix="scrutin-ballots-") as folder:
            path = Path(folder) / name
            write(path, rows // 10)
            small = _measured(form, path, own=True)
            write(path, rows)
            taken: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
            for _ in range(rounds):
                for own in (True, False):
                    taken[own].append(_measured(form, path, own=own))
            size = path.stat().st_size
        ours, plain = (
            {key: median(one[key] for one in taken[own]) for key in ("wall_s", "cpu_s", "peak_mib")}
            for own in (True, False)
        )
        assert taken[True][0]["rows"] == rows
        figures.append(
            {
                "format": form,
                "rows": rows,
                "file_mib": round(size / 2**20, 1),
                "rows_per_cpu_s": round(rows / ours["cpu_s"]),
                "plain_rows_per_cpu_s": round(rows / plain["cpu_s"]),
                "cpu_times_plain": round(ours["cpu_s"] / plain["cpu_s"], 2),
                "peak_mib": round(ours["peak_mib"], 1),
                "peak_mib_of_a_tenth": round(small["peak_mib"], 1),
                "plain_peak_mib": round(plain["peak_mib"], 1),
            }
        )
        print(json.dumps(figures[-1]), flush=True)
    print(json.dumps({"ballot_files": figures}, indent=2))


if __name__ == "__main__":
    typer.run(bench)
