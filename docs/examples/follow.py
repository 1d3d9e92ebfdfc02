"""Prints the result of a contest each time that it changes, until it is final.

python follow.py http://localhost:8000 L1
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen


def patched(document: Any, patch: Any) -> Any:
    """A document changed by a JSON merge patch; here a field that is null is kept as null."""
    if not isinstance(patch, dict) or not isinstance(document, dict):
        return patch
    return document | {name: patched(document.get(name), value) for name, value in patch.items()}


def results(gateway: str, contest: str) -> Iterator[dict[str, Any]]:
    """The whole result, then again after each change. A break of the connection is an error."""
    url = f"{gateway}/v2/contests/{quote(contest, safe='')}/events"
    kind, found = "", {}
    # A message comes every 2.5 s at least.
    with urlopen(url, timeout=10) as stream:
        for line in stream:
            name, _, value = line.decode().strip().partition(": ")
            if name == "event":
                kind = value
            elif name == "data" and kind != "heartbeat":
                found = json.loads(value) if kind == "result" else patched(found, json.loads(value))
                yield found


if __name__ == "__main__":
    for result in results(*sys.argv[1:3]):
        choices = ", ".join(f"{one['name']} {one['votes']}" for one in result["choices"])
        print(f"{result['phase']}: {result['total_votes']} votes: {choices}", flush=True)
        if result["phase"] == "final":
            break
