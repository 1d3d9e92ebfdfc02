"""The fuzzers' targets with their seeds, which hold every input that once showed a fault."""

from __future__ import annotations

import pytest

from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_every_seed_passes(name: str) -> None:
    for seed in (b"", b"\0", *TARGETS[name].seeds):
        TARGETS[name].run(seed)
