"""Who has nothing to do with the tally does not load its cryptography."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

import pytest

LOADED = "print(sorted(m for m in sys.modules if m.startswith('streams.tally') or m == 'gmpy2'))"


@pytest.mark.parametrize("module", ["topology", "streams.bridge.__main__"])
def test_votes_are_counted_without_the_tally(module: str) -> None:
    """A worker's stages and a bridge's queues are chosen by settings; by default votes only."""
    assert printed(f"import sys, {module}; {LOADED}") == "[]"


def test_a_tally_worker_looks_for_cycles_as_often_as_python_does() -> None:
    """What lies in cycles holds ballots, and would be most of its memory."""
    program = "import gc, topology; print(gc.get_threshold(), gc.get_freeze_count() > 0)"
    assert printed(program, SCRUTIN_STAGES="tally") == f"{gc.get_threshold()} True"


def printed(program: str, **env: str) -> str:
    """What a fresh Python says."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout.strip()
