"""Prints roots and proofs of trees as pymerkle makes them; runs in an environment of its own."""

import json
import sys

from pymerkle import InmemoryTree

tree = InmemoryTree()
for n in range(max(json.loads(sys.argv[1]))):
    tree.append_entry(b"%d" % n)


def path(proof):
    """The hashes of a proof."""
    return [digest.hex() for digest in proof.path]


json.dump(
    {
        size: {
            "root": tree.get_state(size).hex(),
            "inclusion": [path(tree.prove_inclusion(n + 1, size))[1:] for n in range(size)],
            "roots": [tree.get_state(n).hex() for n in range(1, size)],
        }
        for size in json.loads(sys.argv[1])
    },
    sys.stdout,
)
