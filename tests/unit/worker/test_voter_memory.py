"""What voters take in the process that has read them."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import os
from pathlib import Path
from schemas.voted import FIRST_VOTE
from streams.core.voter_stores import BulkVoterStore
from streams.runtime.memory import return_freed

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

before, stores = resident(), []
for _ in range(4):
    bulk = BulkVoterStore()
    for offset in range(5_000):
        bulk.add(offset, os.urandom(50 * FIRST_VOTE.size))
    stores.append(bulk.done())
del bulk
return_freed()
print((resident() - before) / sum(map(len, stores)))
"""


def test_a_million_voters_take_less_than_90_bytes_each_all_in() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True, timeout=120
    )
    assert 44 < float(done.stdout) < 90
