"""All checks of a deployment. Services are checked concurrently and independently."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from streams.inspect import check_host, check_kafka, check_postgres, check_rabbit, check_redis
from streams.inspect.checks import Check, CheckedService
from streams.settings.processes import DoctorConfig


async def examine(config: DoctorConfig) -> list[Check]:
    """Run every check; takes as long as the slowest service, at most its deadline."""
    deployment = config.deployment
    rabbit, kafka, redis, postgres = await asyncio.gather(
        check_rabbit.SERVICE.ask(check_rabbit.gather(deployment.rabbit, deployment.queues)),
        check_kafka.SERVICE.ask(check_kafka.gather(deployment.kafka)),
        check_redis.SERVICE.ask(check_redis.gather(deployment.redis)),
        check_postgres.SERVICE.ask(check_postgres.gather(deployment.postgres)),
    )
    checks = list(check_host.evaluate(config))
    answers: list[tuple[Any, Callable[[Any], Iterable[Check]]]] = [
        (rabbit, partial(check_rabbit.evaluate, deployment.queues)),
        (kafka, partial(check_kafka.evaluate, deployment.kafka)),
        (redis, partial(check_redis.evaluate, deployment.roll)),
        (postgres, partial(check_postgres.evaluate, deployment.postgres)),
    ]
    for found, evaluate in answers:
        checks += _only(found) if isinstance(found, Check) else evaluate(found)
    if not isinstance(postgres, Check):
        name = check_postgres.LOG_IDENTITY
        if isinstance(kafka, Check):
            checks.append(check_postgres.SERVICE.not_checked(name, "Kafka could not be asked"))
        elif not deployment.sinks:
            why = "no votes are counted in PostgreSQL here"
            checks.append(check_postgres.SERVICE.not_checked(name, why))
        else:
            checks.append(check_postgres.evaluate_log(postgres, kafka.log_ids, kafka.spans))
    return checks


def _only(failed: Check) -> list[Check]:
    """The checks of a service that could not be asked."""
    return [
        failed,
        CheckedService(failed.service).not_checked("all else", "the service could not be asked"),
    ]
