"""Assembles the intake from the settings, for a bridge or a gateway."""

from __future__ import annotations

from redis.asyncio import Redis

from schemas.votes import Rule
from streams.core import topics
from streams.core.polls import poll_key
from streams.errors import ScrutinError, StageFailed
from streams.intake.buffers import VotingRules
from streams.intake.ingress import Ingress, Limits
from streams.intake.input_log import InputLog
from streams.intake.lag_gate import LagGate
from streams.intake.roll import OpenRoll, RedisRoll, Roll, TableRoll
from streams.runtime.metrics import BridgeMetrics
from streams.runtime.outages import Retry
from streams.settings.model import Settings


class Intake:
    """An ingress and its parts.

    Args:
        settings: all of them.
        redis: client, for the roll.
        retry: waits while Kafka or the roll does not answer.
        metrics: of the bridge.
    """

    def __init__(
        self, settings: Settings, redis: Redis, retry: Retry, metrics: BridgeMetrics
    ) -> None:
        servers = list(settings.kafka_bootstrap_servers)
        watched = {topics.VALIDATION_TOPIC: settings.partitions}
        if settings.sink != "off":
            watched[topics.VALIDATED_TOPIC] = settings.partitions
        self.gate = LagGate(
            servers,
            group=topics.worker_group(settings.app_id),
            topics=watched,
            max_lag_records=settings.max_lag_records,
            retry=retry,
            metrics=metrics,
        )
        self.input_log = InputLog(
            servers,
            partitions=settings.partitions,
            retry=retry,
            metrics=metrics,
        )
        self.table_roll = TableRoll()
        rolls: dict[str, Roll] = {
            "redis": RedisRoll(redis, min_share=settings.roll_min_share, metrics=metrics),
            "table": self.table_roll,
            "open": OpenRoll(),
        }
        self.ingress = Ingress(
            limits=Limits(
                settings.partitions,
                settings.max_body_bytes,
                settings.flush_ms,
                poll_key(settings.secret.get_secret_value()),
                settings.default_election,
            ),
            bridge=settings.worker_id,
            voting_rules=voting_rules(settings),
            input_log=self.input_log,
            roll=rolls[settings.roll],
            gate=self.gate,
            retry=retry,
            metrics=metrics,
        )


def first_error(errors: ExceptionGroup[Exception], *, process: str) -> ScrutinError:
    """The error that ended a group of tasks.

    Args:
        errors: of the group.
        process: name of this process, for the message.
    """
    error: Exception = errors
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, ScrutinError):
        return error
    return StageFailed(
        f"The intake met an unexpected error: {type(error).__name__}",
        where={"process": process},
        todo="No delivery in progress was acknowledged; the log has the traceback",
    )


def voting_rules(settings: Settings) -> VotingRules:
    """The voting rules that the settings define."""
    rules = Rule(0)
    if settings.enforce_contests:
        rules |= Rule.CONTESTS
    elif settings.secret.get_secret_value():
        rules |= Rule.POLLS
    if settings.roll == "table":
        rules |= Rule.ROLL_TABLE
    return VotingRules(rules=int(rules))
