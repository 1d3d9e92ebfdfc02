"""Makes aiokafka's connections work on uvloop (aiokafka issue 1038).

aiokafka 0.14 expects an `OSError` when it writes to a connection that has just closed; uvloop
raises `RuntimeError`. That silently ended the background task that wrote next: a consumer without
its metadata task never found its coordinator again.
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
    """Make a write to a closed connection fail as aiokafka expects; call it once per process."""
    AIOKafkaConnection.send = _send_or_break
