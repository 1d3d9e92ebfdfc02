"""Who has nothing to do with the tally does not load its cryptography."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOADED = "print(sorted(m for m in sys.modules if m.startswith('streams.tally') or m == 'gmpy2'))"


@pytest.mark.parametrize("module", ["topology", "streams.bridge.__main__"])
def test_votes_are_counted_without_the_tally(module: str) -> None:
    """A worker's stages and a bridge's queues are chosen by settings; by default votes only."""
    program = f"import sys, {module}; {LOADED}"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "[]\n"
