"""Trees and proofs are those of pymerkle, which others wrote."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from streams.core.merkle import (
    consistency_ranges,
    continues,
    extend,
    includes,
    inclusion_ranges,
    leaf_hash,
    root_of,
)
from tests.tools import environment

HERE = Path(__file__).parent
SIZES = [1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 127, 200]
LEAVES = [leaf_hash(b"%d" % n) for n in range(max(SIZES))]


def root(start: int, end: int) -> bytes:
    return root_of(extend(0, b"", LEAVES[start:end])[0])


def test_roots_and_proofs_are_those_of_another_implementation() -> None:
    python = environment("pymerkle", HERE / "merkle.lock")
    program = [str(python), str(HERE / "merkle_reference.py"), json.dumps(SIZES)]
    done = subprocess.run(program, capture_output=True, check=True, timeout=120)
    for text, given in json.loads(done.stdout).items():
        size = int(text)
        assert given["root"] == root(0, size).hex()
        for n, path in enumerate(given["inclusion"]):
            assert path == [root(*r).hex() for r in inclusion_ranges(n, size)]
            theirs = [bytes.fromhex(step) for step in path]
            assert includes(LEAVES[n], n, size, theirs, root(0, size))
        for first in range(1, size):
            # Consistency proofs of pymerkle have another form than the RFC's: only roots compare.
            path = [root(*r) for r in consistency_ranges(first, size)]
            roots = [bytes.fromhex(given["roots"][first - 1]), bytes.fromhex(given["root"])]
            assert continues(first, roots[0], size, roots[1], path)
