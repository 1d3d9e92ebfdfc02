"""`python -m tests.hostile`: every attack, one after the other, beside honest voters and watchers.

Only addresses of this machine are attacked: a stack that the harness brings up itself. At the end
gateways without some of their bounds are attacked; the harness must find that.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from streams.devstack import Stack
from streams.gateway.process import raise_open_files
from streams.runtime.memory import raise_gc_thresholds
from tests.hostile.attacks import ATTACKS
from tests.hostile.broken import BOUNDS, broken_gateway
from tests.hostile.honest import p99_ms
from tests.hostile.running import Ground, Result, as_json, ground, table
from tests.integration.gateway_harness import GatewayChain

PERSONS: Final = 200_000
WARM_S: Final = 10.0
ALONE_S: Final = 20.0
BETWEEN_S: Final = 3.0
"""Of honest votes alone between two attacks."""
LASTS_S: Final = 12.0
"""With 50 votes a second, no single stop of 0.1 s of this machine is the p99."""
BROKEN_MARGIN_S: Final = 5.0


async def _play(stack: Stack, directory: Path, options: argparse.Namespace) -> list[Result]:
    names = [each.name for each in ATTACKS if not options.only or each.name in options.only]
    results = []
    async with ground(
        GatewayChain(stack, directory),
        persons=PERSONS,
        voters=options.voters,
        watchers=options.watchers,
        votes_per_s=options.votes_per_s,
        niceness=options.niceness,
    ) as found:
        # A full collection stops the clients whose times are measured for 0.1 s.
        gc.collect()
        raise_gc_thresholds()
        await found.alone(WARM_S)
        found.alone_s.clear()
        await found.alone(ALONE_S)
        for name in names:
            results.append(await found.play(name, lasts_s=LASTS_S))
            _show(table(results[-1:]).splitlines()[-1])
            await found.alone(BETWEEN_S)
        p99_alone_ms = p99_ms(found.alone_s)
        for bound in [each for each in BOUNDS if BOUNDS[each].attack in names]:
            results.append(await _broken(found, bound))
            _show(table(results[-1:]).splitlines()[-1])
    return [replace(result, p99_alone_ms=p99_alone_ms) for result in results]


async def _broken(found: Ground, bound: str) -> Result:
    """Attack a gateway without a bound."""
    async with broken_gateway([bound], found.chain.env, found.chain.directory) as program:
        await program.ready()
        result = await found.play(
            BOUNDS[bound].attack, lasts_s=1.0, gateway=program, margin_s=BROKEN_MARGIN_S
        )
        await program.kill()
    return replace(result, without=bound)


def _show(line: str) -> None:
    print(time.strftime("%H:%M:%S"), line, flush=True)


def main() -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("--only", action="append", metavar="ATTACK", help="may be repeated")
    parser.add_argument("--voters", type=int, default=500)
    parser.add_argument("--watchers", type=int, default=500)
    parser.add_argument("--votes-per-s", type=int, default=50)
    parser.add_argument("--niceness", type=int, default=10, help="of the hostile clients")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    unknown = set(options.only or ()) - {each.name for each in ATTACKS}
    if unknown:
        parser.error(f"no such attack: {', '.join(sorted(unknown))}")
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
        options.json.write_bytes(as_json(results))
    for result in results:
        for finding in result.findings():
            print(f"{result.name}: {finding}", file=sys.stderr)
    return int(any(result.findings() for result in results))


if __name__ == "__main__":
    sys.exit(main())
