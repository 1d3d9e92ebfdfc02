"""`python -m tests.hostile.broken`: a gateway without some of its bounds.

The harness must find that: one that cannot fail shows nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from streams.gateway import connections
from streams.load.programs import Program, gateway
from streams.settings.entry import run_process

_WHICH: Final = "HOSTILE_BROKEN_BOUNDS"


@dataclass(frozen=True)
class Broken:
    """A bound that is taken away."""

    attack: str
    """That shows it."""
    constants: tuple[str, ...] = ()
    """Of streams/gateway/connections.py, made very large."""
    limits: tuple[str, ...] = ()
    """Variables of the environment that are set to `off`."""


BOUNDS: Final = {
    "message": Broken("socket: oversized", ("MAX_MESSAGE_BYTES",)),
    "guesses": Broken(
        "http: guessing", (), ("SCRUTIN_THROTTLE_REFUSED_PERSON", "SCRUTIN_THROTTLE_VOTER")
    ),
    "request time": Broken("http: slow", ("REQUEST_TIMEOUT_S",)),
}


def broken_gateway(bounds: list[str], env: Mapping[str, str], directory: Path) -> Program:
    """A gateway without bounds, to be started."""
    off = {name: "off" for bound in bounds for name in BOUNDS[bound].limits}
    return gateway(
        {**env, **off, _WHICH: ",".join(bounds)},
        directory,
        f"gateway-without-{'-'.join(bounds).replace(' ', '-')}",
        module="tests.hostile.broken",
    )


def main() -> int:
    """Run it; returns its exit code."""
    for bound in os.environ[_WHICH].split(","):
        for name in BOUNDS[bound].constants:
            setattr(connections, name, 10**9)
    # Only now: other modules of the gateway import those constants by name.
    from streams.gateway.__main__ import _serve  # noqa: PLC0415

    return run_process("tests.hostile.broken", "A gateway without some of its bounds.", _serve)


if __name__ == "__main__":
    sys.exit(main())
