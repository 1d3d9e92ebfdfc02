"""The reference beside the tests, and the seed of their elections."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.oracle.program import Reference, running

SEED = int(os.environ.pop("SCRUTIN_TEST_SEED", random.randrange(10**9)))


def pytest_report_header() -> str:
    """So that a failing election can be made again."""
    return f"elections: SCRUTIN_TEST_SEED={SEED}"


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reference]:
    """The reference, running; without its packages tests are skipped, but not in CI."""
    with ExitStack() as stack:
        try:
            program = running(tmp_path_factory.mktemp("reference") / "log")
            asked = stack.enter_context(program)
        except (subprocess.SubprocessError, OSError) as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(f"electionguard cannot be installed here: {error}")
        yield asked


@pytest.fixture(scope="session")
def rng() -> random.Random:
    """What elections are made with; keys and nonces are the operating system's."""
    return random.Random(SEED)
