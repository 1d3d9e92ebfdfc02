"""`scrutin schema`: machine-readable description of every message."""

from __future__ import annotations

from streams.cli.show import write_json
from streams.inspect.asyncapi import asyncapi


def command() -> None:
    """Print the AsyncAPI 3 document of all queues and topics, with a JSON Schema of each message.

    Generated from the types; `docs/asyncapi.json` is its output.

        scrutin schema > docs/asyncapi.json

        scrutin schema | jq .components.schemas.Review
    """
    write_json(asyncapi())
