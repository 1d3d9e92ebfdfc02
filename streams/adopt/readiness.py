"""Check whether log and queues are ready for an adoption."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Final

from schemas.codec import encode
from schemas.control import EpochOpened
from schemas.genesis import RehearsalGenesis
from schemas.notices import AdoptionBegun, AdoptionEnded
from schemas.votes import AdoptedVoteBatch, VoteBatch
from streams.adapters.kafka.admin import ensure_topics
from streams.adapters.kafka.view import LogView
from streams.adapters.kafka.writer import writing
from streams.control.skips import read_input
from streams.core.records import OutRecord
from streams.core.rules import epoch_of
from streams.core.topics import CONTROL_TOPIC, VALIDATION_TOPIC
from streams.errors import LogMismatch, ServiceUnavailable
from streams.inspect.rabbit import look
from streams.settings.configs import DeploymentConfig
from streams.settings.queues import AGGREGATION, POLL_UPDATES, VALIDATION

VOTE_TASKS: Final = "celery"
"""Queue of the old vote service's tasks."""


async def queues(config: DeploymentConfig, *, polls: bool) -> dict[str, int]:
    """Consumers of the old queues and messages that wait in them; empty if unknown.

    Args:
        config: of this deployment.
        polls: whether the old system has polls.
    """
    aggregation = config.queues.name(AGGREGATION)
    names = [config.queues.name(VALIDATION), aggregation]
    waiting = {"aggregation_waiting": aggregation}
    if polls:
        updates = config.queues.name(POLL_UPDATES)
        names += [updates, VOTE_TASKS]
        waiting |= {"updates_waiting": updates, "vote_tasks_waiting": VOTE_TASKS}
    with suppress(ServiceUnavailable):
        found = {
            name: queue
            for name, queue in (await look(config.rabbit, names)).queues.items()
            if queue
        }
        return {
            "consumers": sum(queue.consumers for queue in found.values()),
            **{fact: found[name].ready for fact, name in waiting.items() if name in found},
        }
    return {}


async def check_log(config: DeploymentConfig) -> int:
    """Refuse a log in which adopted votes would not be their voters' first; returns its epoch.

    Raises:
        LogMismatch: it has votes that were not adopted.
        ServiceUnavailable: Kafka does not answer.
    """
    epoch, votes = await log_state(config)
    if votes:
        raise LogMismatch(
            "The log already has votes; adopted votes after them would count as duplicates of the"
            " same voters' later votes",
            where={"topic": VALIDATION_TOPIC},
            todo="Adopt before the first bridge runs; after a rehearsal, reset first",
        )
    return epoch


async def log_state(config: DeploymentConfig) -> tuple[int, bool]:
    """The log's epoch, and whether it holds votes of this epoch that were not adopted."""
    genesis = await ensure_topics(config.kafka)
    epoch, latest = 0, -1
    async with LogView(config.kafka.servers) as view:
        async for batch in view.read(VALIDATION_TOPIC, await view.spans(VALIDATION_TOPIC)):
            for record in batch:
                given = read_input(record.value)
                if isinstance(given, EpochOpened):
                    if not isinstance(genesis[record.partition], RehearsalGenesis):
                        continue
                    epoch = max(epoch, given.epoch)
                elif isinstance(given, VoteBatch) and not isinstance(given, AdoptedVoteBatch):
                    latest = max(latest, epoch_of(given))
    return epoch, latest >= epoch


async def notify_bridges(
    config: DeploymentConfig, kind: type[AdoptionBegun | AdoptionEnded]
) -> None:
    """Notify all bridges, those running and those started later.

    Raises:
        ServiceUnavailable: Kafka does not answer.
    """
    genesis = await ensure_topics(config.kafka)
    notice = kind(genesis[0].log_id, time.time_ns() // 1_000_000)
    async with writing(config.kafka, config.retry) as writer:
        await writer.write([OutRecord(CONTROL_TOPIC, 0, encode(notice))])
