"""`python -m tests.platforms`: the demos and all tests on other releases of Debian.

As root: each tree is made by debootstrap under `build/platforms` (about 2 GB each) and kept for the
next run. `--only` chooses what is run. `--pythons` runs the unit tests on each Python of this
machine instead.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.platforms.trees import ROOT, Tree

SUITES: Final[Mapping[str, str]] = {
    "debian-12": "bookworm",
    "debian-13": "trixie",
    "debian-14": "forky",
}
CHECKS: Final[Mapping[str, str]] = {
    "demo": "make demo",
    "demo-tally": "make demo-tally",
    "test": "make test",
    "unit": "make unit",
    "queues": ".venv/bin/python -m pytest -q tests/integration/test_queue_losses.py",
    "queue-faults": ".venv/bin/python -m tests.faults --only queue --results build/queues",
}
"""Name -> command. The demo comes first: it installs what the others need."""
_USUAL: Final = ("demo", "demo-tally", "test")
_VERSIONS: Final = (
    "python3 -V; java -version 2>&1 | head -1; dpkg-query -W -f '${Package} ${Version}\\n'"
    " rabbitmq-server 'postgresql-[0-9]*' redis-server valkey-server 2>/dev/null"
)
_PYTHONS: Final = ("3.11", "3.12", "3.13", "3.14")
_DEPENDENT: Final = (
    "tests/unit/cli/test_schema_doc.py",
    "tests/unit/core",
    "tests/unit/messages",
    "tests/unit/schemas",
    "tests/unit/settings",
    "tests/unit/tally/test_messages.py",
)
"""Where another version of Python gave another result, or is likely to."""


def main(given: Sequence[str] | None = None) -> int:
    """Run; returns the exit code: 1 if anything failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.platforms", description=__doc__)
    parser.add_argument("trees", nargs="*", default=["debian-12", "debian-13"], metavar="TREE")
    parser.add_argument("--only", action="append", choices=CHECKS, default=[])
    parser.add_argument("--kafka", default="", help="version of Kafka, else the usual one")
    parser.add_argument("--pythons", action="store_true", help="unit tests on each Python here")
    parser.add_argument(
        "--short", action="store_true", help="on the newest of them, what depends on the version"
    )
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "platforms")
    options = parser.parse_args(given)
    if options.pythons:
        return _pythons(options.folder, short=options.short)
    if unknown := set(options.trees) - SUITES.keys():
        parser.error(f"no such tree: {', '.join(sorted(unknown))}; there are {', '.join(SUITES)}")
    for needed in ("debootstrap", "unshare"):
        if shutil.which(needed) is None:
            parser.error(f"{needed} is missing. Type: apt-get install {needed}")
    setting = f"export SCRUTIN_KAFKA_VERSION={options.kafka}; " if options.kafka else ""
    failed = False
    for name in options.trees:
        tree = Tree(name, SUITES[name], options.folder)
        tree.build()
        tree.copy_checkout()
        for check in options.only or _USUAL:
            log = options.folder / f"{name}-{check}.log"
            log.unlink(missing_ok=True)
            begin = time.monotonic()
            status = tree.run(setting + CHECKS[check], log)
            failed |= status != 0
            said = "passed" if status == 0 else f"failed with {status}, see {log}"
            print(f"{name} {check}: {said}, {time.monotonic() - begin:.0f} s", flush=True)
        versions = options.folder / f"{name}-versions.log"
        versions.unlink(missing_ok=True)
        tree.run(_VERSIONS, versions)
        print(versions.read_text(), flush=True)
    return int(failed)


def _pythons(folder: Path, *, short: bool) -> int:
    """Install the lock for each Python of this machine, and run the unit tests."""
    found = {version: _python(version) for version in _PYTHONS}
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    there = {
        version: program
        for version, program in found.items()
        if program is not None and not (short and version == own)
    }
    for version, program in found.items():
        if program is None:
            print(f"Python {version}: not on this machine", flush=True)
    failed = False
    for version, program in list(there.items())[-1 if short else 0 :]:
        venv = folder / f"python-{version}"
        python = venv / "bin" / "python"
        pip = [str(python), "-m", "pip", "install", "-q"]
        tests = _DEPENDENT if short else ("tests/unit",)
        steps = [
            [program, "-m", "venv", "--clear", str(venv)],
            [*pip, "--require-hashes", "-r", "requirements.lock"],
            [*pip, "--no-deps", "--no-build-isolation", "-e", "."],
            [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
        ]
        done = all(subprocess.run(step, cwd=ROOT, check=False).returncode == 0 for step in steps)
        failed |= not done
        print(f"Python {version}: {'passed' if done else 'failed'}", flush=True)
    return int(failed)


def _python(version: str) -> str | None:
    """A program of that version that runs: a shim of pyenv may name one that is switched off."""
    places = [shutil.which(f"python{version}")]
    places += sorted(map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python3")))
    for place in filter(None, places):
        if subprocess.run([place, "-V"], check=False, capture_output=True).returncode == 0:
            return place
    return None


if __name__ == "__main__":
    sys.exit(main())
