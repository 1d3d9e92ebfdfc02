"""First vote of a key wins, on Quix Streams: RocksDB state with a changelog, one output a vote.

Runs in an environment of its own. Arguments: servers, consumer group, input topic, output topic,
state folder.
"""

from __future__ import annotations

import sys
from typing import Any

from quixstreams import Application, State


def first(_: Any, state: State) -> bytes:
    """Whether this is the key's first vote."""
    if state.get("voted"):
        return b"\0"
    state.set("voted", True)
    return b"\1"


def main(servers: str, group: str, votes: str, verdicts: str, folder: str) -> None:
    """Run until told to end."""
    app = Application(
        servers,
        consumer_group=group,
        auto_offset_reset="earliest",
        state_dir=folder,
        commit_interval=1.0,
        processing_guarantee="exactly-once",
        loglevel="WARNING",
    )
    stream = app.dataframe(app.topic(votes, value_deserializer="bytes"))
    stream = stream.apply(first, stateful=True)
    stream.to_topic(app.topic(verdicts, value_serializer="bytes"))
    app.run()


if __name__ == "__main__":
    main(*sys.argv[1:6])
