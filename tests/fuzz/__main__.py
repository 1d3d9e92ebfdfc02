"""`python -m tests.fuzz`: each target for some seconds, with atheris, which `make fuzz` installs.

Prints a table. What it finds is kept under build/fuzz/TARGET/; it becomes a seed with the repair.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

FOLDER: Final = Path("build/fuzz")
_STATISTIC: Final = re.compile(r"^stat::(\w+):\s+(\d+)", re.MULTILINE)
_COVERED: Final = re.compile(r"cov: (\d+)")


def _fuzz(name: str, seconds: int) -> None:
    """Fuzz a target in this process, which then ends."""
    import atheris  # noqa: PLC0415 - only `make fuzz` installs it

    # Modules are instrumented as they are imported, in this process only.
    with atheris.instrument_imports(include=["streams", "schemas"]):
        from tests.fuzz.targets import MOST_BYTES, TARGETS  # noqa: PLC0415

    target, folder = TARGETS[name], FOLDER / name
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in target.seeds:
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    options = {
        "max_total_time": seconds,
        "max_len": MOST_BYTES,
        "timeout": 20,
        "rss_limit_mb": 2048,
    }
    arguments = [f"-{option}={value}" for option, value in options.items()]
    arguments += ["-print_final_stats=1", f"-artifact_prefix={folder}/", str(corpus)]
    atheris.Setup([sys.argv[0], *arguments], target.run)
    atheris.Fuzz()


def _row(name: str, seconds: int) -> tuple[str, bool]:
    """Fuzz a target in a process of its own; returns its row and whether nothing was found."""
    command = [sys.executable, "-m", "tests.fuzz", "--here", name, "--seconds", str(seconds)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace")
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{name}.log").write_text(done.stdout + done.stderr, encoding="utf-8")
    found = {each: int(value) for each, value in _STATISTIC.findall(done.stderr)}
    covered = _COVERED.findall(done.stderr)
    well = done.returncode == 0
    row = (
        f"| {name} | {found.get('number_of_executed_units', 0):,} | {covered[-1] if covered else 0}"
        f" | {'none' if well else f'{FOLDER}/{name}.log'} |"
    )
    return row, well


def main() -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--only", action="append", metavar="TARGET")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--here", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        _fuzz(options.here, options.seconds)
        return 0
    from tests.fuzz.targets import TARGETS  # noqa: PLC0415 - not before a process is instrumented

    print("| target | executions | covered | findings |\n| --- | --- | --- | --- |", flush=True)
    all_well = True
    for name in options.only or TARGETS:
        row, well = _row(name, options.seconds)
        print(row, flush=True)
        all_well &= well
    return int(not all_well)


if __name__ == "__main__":
    sys.exit(main())
