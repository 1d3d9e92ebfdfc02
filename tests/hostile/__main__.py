"""`python -m tests.hostile`: every attack, one after the other, beside honest voters and watchers.

Only addresses of this machine are attacked: a stack that the harness brings up itself.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from streams.devstack import Stack
from streams.gateway.process import raise_open_files
from tests.hostile.attacks import ATTACKS
from tests.hostile.running import Result, as_json, ground, table

VOTERS = 200_000
MEMORY_MIB = 128
SLOWDOWN = 3.0


async def _play(stack: Stack, directory: Path, options: argparse.Namespace) -> list[Result]:
    attacks = [each for each in ATTACKS if not options.only or each.name in options.only]
    results = []
    async with ground(
        stack,
        directory,
        voters=VOTERS,
        watchers=options.watchers,
        votes_per_s=options.votes_per_s,
    ) as found:
        await found.alone(5)
        for attack in attacks:
            results.append(await found.play([attack], await found.alone(10)))
            print(table(results[-1:]).splitlines()[-1], flush=True)
    return results


def _findings(result: Result) -> list[str]:
    found = [*result.honest_errors, *result.told]
    if result.lost or result.left:
        found.append(f"{result.lost} votes lost, {result.left} connections left")
    if result.memory_mib > MEMORY_MIB:
        found.append(f"memory grew by {result.memory_mib} MiB")
    if result.p99_ms > SLOWDOWN * result.p99_alone_ms:
        found.append(f"honest p99 {result.p99_ms} ms instead of {result.p99_alone_ms} ms")
    return found


def main() -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("--only", action="append", metavar="ATTACK", help="may be repeated")
    parser.add_argument("--watchers", type=int, default=500)
    parser.add_argument("--votes-per-s", type=int, default=50)
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    raise_open_files()
    with tempfile.TemporaryDirectory(prefix="scrutin-hostile-") as name:
        stack = Stack(Path(name) / "stack", environ={})
        try:
            stack.up()
            results = asyncio.run(_play(stack, Path(name), options))
        finally:
            stack.down()
    print(table(results))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(as_json(results), encoding="utf-8")
    found = {result.attack: _findings(result) for result in results}
    for attack, findings in found.items():
        for finding in findings:
            print(f"{attack}: {finding}", file=sys.stderr)
    return int(any(found.values()))


if __name__ == "__main__":
    sys.exit(main())
