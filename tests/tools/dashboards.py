"""What Grafana's own types do not know in a dashboard; runs in the tools' environment.

`python dashboards.py FILE` reads a dashboard into the types that Grafana Labs generate from their
schemas, writes it again, and prints what was lost or changed on the way. Exit code 1 if anything
was.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

OF_PROMETHEUS = frozenset({"step", "tagKeys", "titleFormat", "useValueForTime"})
"""Fields of annotations that Grafana's plugin for Prometheus reads, and no type has."""


def lost(given: Any, kept: Any, place: str = "dashboard") -> Iterator[str]:
    """Places whose value is not what it was; fields with defaults may have been added."""
    if isinstance(given, dict) and isinstance(kept, dict):
        for name, value in given.items():
            at = f"{place}.{name}"
            if place.startswith("dashboard.annotations.list[") and name in OF_PROMETHEUS:
                continue
            if name in kept:
                yield from lost(value, kept[name], at)
            else:
                yield f"{at}: unknown to Grafana"
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        for number, (value, other) in enumerate(zip(given, kept, strict=True)):
            yield from lost(value, other, f"{place}[{number}]")
    elif given != kept:
        yield f"{place}: {given!r} is read as {kept!r}"


def main() -> int:
    register_default_plugins()
    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    kept = json.loads(json.dumps(Dashboard.from_json(given), cls=JSONEncoder))
    faults = list(lost(given, kept))
    print("\n".join(faults))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
