"""`scrutin bridge`."""

from __future__ import annotations

from streams.cli.extras import needs
from streams.cli.processes import become

needs("uvloop", "bridge")


def command() -> None:
    """Run a bridge until SIGTERM: passes votes between RabbitMQ's queues and the log in Kafka.

    The same as `python -m streams.bridge`. Settings come from environment variables.

    Examples:

        RABBITMQ_HOST=rabbit-1 scrutin bridge
    """
    become("streams.bridge")
