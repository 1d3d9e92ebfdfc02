"""aiokafka's connections on uvloop.

aiokafka 0.14 expects an `OSError` from writing to a connection that has just closed; uvloop raises
`RuntimeError`. That ended whichever of aiokafka's background tasks wrote next, without a word: a
consumer whose metadata task was gone never found its coordinator again.
"""

from __future__ import annotations

from typing import Any

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError

_send = AIOKafkaConnection.send


def _send_or_break(self: Any, request: Any, expect_response: bool = True) -> Any:
    try:
        return _send(self, request, expect_response)
    except RuntimeError as error:
        self.close(reason=CloseReason.CONNECTION_BROKEN, exc=error)
        raise KafkaConnectionError(
            f"Connection at {self.host}:{self.port} broken: {error}"
        ) from error


def patch_aiokafka_for_uvloop() -> None:
    """Let a write to a closed connection fail as aiokafka expects; once a process."""
    AIOKafkaConnection.send = _send_or_break
