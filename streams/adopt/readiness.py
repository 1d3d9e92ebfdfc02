"""Whether log and queues are ready for an adoption."""

from __future__ import annotations

from contextlib import suppress

from schemas.control import EpochOpened
from schemas.votes import AdoptedVoteBatch, VoteBatch
from streams.errors import LogMismatch, ServiceUnavailable
from streams.inspect.kafka import LogView
from streams.inspect.rabbit import look
from streams.rules import epoch_of
from streams.settings import AGGREGATION, VALIDATION, Settings
from streams.skips import read_input
from streams.topics import VALIDATION_TOPIC, ensure_topics


async def queues(settings: Settings) -> dict[str, int]:
    """Who still reads the old queues, and what waits for the old aggregator; nothing if unknown."""
    names = [settings.queue_name(VALIDATION), settings.queue_name(AGGREGATION)]
    with suppress(ServiceUnavailable):
        queues = (await look(settings, names)).queues
        waiting = queues.get(names[1])
        return {
            "consumers": sum(queue.consumers for queue in queues.values() if queue is not None),
            "aggregation_waiting": 0 if waiting is None else waiting.ready,
        }
    return {}


async def check_log(settings: Settings) -> None:
    """Refuse a log in which an adopted vote would not be its voter's first.

    Raises:
        LogMismatch: it has votes of its own.
        ServiceUnavailable: Kafka is away.
    """
    _, votes = await log_state(settings)
    if votes:
        raise LogMismatch(
            "The log has votes of its own; adopted ones behind them would be duplicates of later"
            " votes of the same voters",
            where={"topic": VALIDATION_TOPIC},
            todo="Adopt before the first bridge runs; for a rehearsal's votes, reset first",
        )


async def log_state(settings: Settings) -> tuple[int, bool]:
    """The log's epoch, and whether it holds votes of this epoch that were not adopted."""
    servers = list(settings.kafka_bootstrap_servers)
    await ensure_topics(
        servers,
        app_id=settings.app_id,
        partitions=settings.partitions,
        replication_factor=settings.replication_factor,
    )
    epoch, latest = 0, -1
    async with LogView(servers) as view:
        async for batch in view.read(VALIDATION_TOPIC, await view.spans(VALIDATION_TOPIC)):
            for record in batch:
                given = read_input(record.value)
                if isinstance(given, EpochOpened):
                    epoch = max(epoch, given.epoch)
                elif isinstance(given, VoteBatch) and not isinstance(given, AdoptedVoteBatch):
                    latest = max(latest, epoch_of(given))
    return epoch, latest >= epoch
