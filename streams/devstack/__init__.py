"""The local stack: RabbitMQ, Kafka, Redis and PostgreSQL for development, tests and the demo.

Use :class:`streams.devstack.stack.Stack`, or `scrutin stack` on the command line.
"""

from streams.devstack.stack import Stack

__all__ = ["Stack"]
