"""Assembles the intake, for a bridge or a gateway."""

from __future__ import annotations

from redis.asyncio import Redis

from schemas.votes import Rule
from streams.core import topics
from streams.core.citizens import CitizenIds
from streams.core.polls import poll_key
from streams.errors import ScrutinError, StageFailed
from streams.intake.buffers import VotingRules
from streams.intake.ingress import Ingress, Limits
from streams.intake.input_log import InputLog
from streams.intake.lag_gate import LagGate
from streams.intake.roll import OpenRoll, RedisRoll, Roll, TableRoll
from streams.runtime.metrics import BridgeMetrics
from streams.runtime.outages import Retry
from streams.settings.processes import IntakeConfig


class Intake:
    """An ingress and its parts.

    Args:
        config: where the log is, and what is accepted into it.
        redis: client, for the roll.
        retry: waits while Kafka or the roll does not answer.
        metrics: of the bridge.
    """

    def __init__(
        self, config: IntakeConfig, redis: Redis, retry: Retry, metrics: BridgeMetrics
    ) -> None:
        deployment, kafka = config.deployment, config.deployment.kafka
        watched = {topics.VALIDATION_TOPIC: kafka.partitions}
        if deployment.sinks:
            watched[topics.VALIDATED_TOPIC] = kafka.partitions
        self.gate = LagGate(
            kafka.servers,
            group=topics.worker_group(kafka.app_id),
            topics=watched,
            max_lag_records=config.max_lag_records,
            retry=retry,
            metrics=metrics,
        )
        self.input_log = InputLog(
            kafka.servers,
            partitions=kafka.partitions,
            retry=retry,
            metrics=metrics,
        )
        self.table_roll = TableRoll()
        rolls: dict[str, Roll] = {
            "redis": RedisRoll(redis, min_share=config.roll_min_share, metrics=metrics),
            "table": self.table_roll,
            "open": OpenRoll(),
        }
        self.ingress = Ingress(
            limits=Limits(
                kafka.partitions,
                config.max_body_bytes,
                config.flush_ms,
                poll_key(config.secret),
                deployment.default_election,
                CitizenIds(deployment.citizen_id, config.secret.encode()),
            ),
            bridge=deployment.name,
            voting_rules=voting_rules(config),
            input_log=self.input_log,
            roll=rolls[deployment.roll],
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


def voting_rules(config: IntakeConfig) -> VotingRules:
    """The voting rules of a deployment."""
    rules = Rule(0)
    if config.enforce_contests == "true":
        rules |= Rule.CONTESTS
    elif config.secret:
        rules |= Rule.POLLS
    if config.deployment.roll == "table":
        rules |= Rule.ROLL_TABLE
    return VotingRules(rules=int(rules))
