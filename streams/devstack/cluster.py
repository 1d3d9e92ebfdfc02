"""A Kafka cluster of several brokers, each a service with its own address and data."""

from __future__ import annotations

from collections.abc import Mapping

from streams.devstack.kafka import VOTERS, Kafka
from streams.devstack.state import StackRecord
from streams.errors import StackError

LARGEST = 3
"""With replication 3 every broker holds all data."""


def members(heap: str, proxy_port: int | None) -> list[Kafka]:
    """All brokers that a stack may have; only the first can have a proxy."""
    first = Kafka(heap, proxy_port=proxy_port)
    return [first, *(Kafka(heap, node=node) for node in range(2, LARGEST + 1))]


def wanted(brokers: int) -> set[str]:
    """Names of the services of a cluster with this many brokers."""
    return {kafka.name for kafka in members("", None)[:brokers]}


def check(record: StackRecord | None, brokers: int, environ: Mapping[str, str]) -> None:
    """Refuse to change the number of brokers.

    Raises:
        StackError: this stack's Kafka has another number, or is given by the environment.
    """
    if brokers == 1:
        return
    if brokers != LARGEST:
        raise StackError(f"A stack's Kafka has 1 or {LARGEST} brokers, not {brokers}")
    if environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        raise StackError(
            "Kafka is given by the environment, so its number of brokers is fixed",
            todo="Unset KAFKA_BOOTSTRAP_SERVERS",
        )
    first = record.services.get("kafka") if record is not None else None
    if first is not None and VOTERS not in first.options:
        raise StackError(
            "This stack's Kafka has one broker, which cannot be changed",
            todo="`scrutin stack down` removes it; or choose another folder with SCRUTIN_STACK_DIR",
        )


def join(record: StackRecord) -> None:
    """Store the cluster's addresses in new brokers' records, once their ports are chosen."""
    brokers = [(k, record.services[k.name]) for k in members("", None) if k.name in record.services]
    if len(brokers) < LARGEST or VOTERS in brokers[0][1].options:
        return
    shared = {
        "cluster": brokers[0][1].options["cluster"],
        VOTERS: ",".join(f"{k.node}@{one.host}:{one.ports['controller']}" for k, one in brokers),
        "servers": ",".join(f"{one.host}:{one.ports['broker']}" for _, one in brokers),
    }
    for kafka, one in brokers:
        one.options |= shared | {"node": str(kafka.node)}
