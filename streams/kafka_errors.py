"""The Kafka driver's errors, in our own words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from aiokafka.errors import KafkaError

from streams.brokers import why_not
from streams.errors import ServiceUnavailable


@contextmanager
def kafka_answers(bootstrap_servers: Sequence[str], **where: object) -> Iterator[None]:
    """Translate what the driver raises inside, keeping the cause.

    Args:
        bootstrap_servers: who was asked.
        where: topic, partition, group and the like, for the message.

    Raises:
        ServiceUnavailable: Kafka did not answer, or not in time.
    """
    try:
        yield
    except (KafkaError, OSError, TimeoutError) as error:
        raise ServiceUnavailable(
            f"Kafka does not answer: {why_not(bootstrap_servers) or error or type(error).__name__}",
            where={"KAFKA_BOOTSTRAP_SERVERS": ",".join(bootstrap_servers), **where},
            todo="Check the address and that the broker is up; `scrutin doctor` tells more",
        ) from error
