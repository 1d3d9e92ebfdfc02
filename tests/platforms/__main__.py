"""`python -m tests.platforms`: the demos and all tests on other releases of Debian.

As root: each tree is made by debootstrap under `build/platforms` (about 2 GB each) and kept for the
next run. A name like `postgres-13` is this machine with another server instead. `--only` chooses
what is run. `--pythons` runs the unit tests on each Python of this machine instead.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.platforms import pythons
from tests.platforms.servers import SERVERS, Server
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
    "tables": (
        ".venv/bin/python -m pytest -q tests/integration/test_migrations.py"
        " tests/integration/test_sink_rows.py tests/integration/test_sink_proof.py"
        " tests/integration/test_sink_revotes.py tests/integration/test_roles.py"
        " tests/integration/test_mirror.py tests/integration/test_roll.py"
    ),
    "ends": ".venv/bin/python -m tests.platforms.ends",
    "queue-faults": ".venv/bin/python -m tests.faults --only queue --results build/queues",
}
"""Name -> command. The demo comes first: it installs what the others need."""
_USUAL: Final = ("demo", "demo-tally", "test")
_VERSIONS: Final = (
    "python3 -V; java -version 2>&1 | head -1; dpkg-query -W -f '${Package} ${Version}\\n'"
    " rabbitmq-server 2>/dev/null; /usr/lib/postgresql/*/bin/postgres --version;"
    " redis-server --version"
)


def main(given: Sequence[str] | None = None) -> int:
    """Run; returns the exit code: 1 if anything failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.platforms", description=__doc__)
    known = [*SUITES, *SERVERS]
    parser.add_argument(
        "trees",
        nargs="*",
        default=["debian-12", "debian-13"],
        metavar="TREE",
        help=", ".join(known),
    )
    parser.add_argument("--only", action="append", choices=CHECKS, default=[])
    parser.add_argument("--kafka", default="", help="version of Kafka, else the usual one")
    parser.add_argument("--pythons", action="store_true", help="unit tests on each Python here")
    parser.add_argument(
        "--short", action="store_true", help="on each but this one, what depends on the version"
    )
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "platforms")
    options = parser.parse_args(given)
    if options.pythons:
        return pythons.run(options.folder, short=options.short)
    if unknown := set(options.trees) - set(known):
        parser.error(f"no such tree: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    for needed in ("debootstrap", "unshare"):
        if shutil.which(needed) is None:
            parser.error(f"{needed} is missing. Type: apt-get install {needed}")
    setting = f"export SCRUTIN_KAFKA_VERSION={options.kafka}; " if options.kafka else ""
    failed = False
    for name in options.trees:
        tree = (
            Server(name, options.folder)
            if name in SERVERS
            else Tree(name, SUITES[name], options.folder)
        )
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


if __name__ == "__main__":
    sys.exit(main())
