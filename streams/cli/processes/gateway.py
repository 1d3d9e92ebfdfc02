"""`scrutin gateway`."""

from __future__ import annotations

from streams.cli.extras import needs
from streams.cli.processes import become

needs("litestar", "gateway")


def command() -> None:
    """Run a gateway until SIGTERM: serves votes, results and pages over HTTP and WebSocket.

    The same as `python -m streams.gateway`. Settings come from environment variables.

    Examples:

        scrutin gateway
    """
    become("streams.gateway")
