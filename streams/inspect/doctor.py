"""All checks of a deployment. Services are checked concurrently and independently."""

from __future__ import annotations

import asyncio

from streams.inspect import check_host, check_kafka, check_postgres, check_rabbit, check_redis
from streams.inspect.checks import Check, ask, not_checked
from streams.settings.processes import DoctorConfig


async def examine(config: DoctorConfig) -> list[Check]:
    """Run every check; takes as long as the slowest service, at most its deadline."""
    deployment = config.deployment
    rabbit, kafka, redis, postgres = await asyncio.gather(
        ask(check_rabbit.SERVICE, check_rabbit.gather(deployment.rabbit, deployment.queues)),
        ask(check_kafka.SERVICE, check_kafka.gather(deployment.kafka)),
        ask(check_redis.SERVICE, check_redis.gather(deployment.redis)),
        ask(check_postgres.SERVICE, check_postgres.gather(deployment.postgres)),
    )
    checks = list(check_host.evaluate(config))
    if isinstance(rabbit, Check):
        checks += _only(rabbit)
    else:
        checks += check_rabbit.evaluate(deployment.queues, rabbit)
    if isinstance(kafka, Check):
        checks += _only(kafka)
    else:
        checks += check_kafka.evaluate(deployment.kafka, kafka)
    if isinstance(redis, Check):
        checks += _only(redis)
    else:
        checks += check_redis.evaluate(deployment.roll, redis)
    if isinstance(postgres, Check):
        checks += _only(postgres)
    else:
        checks += check_postgres.evaluate(deployment.postgres, postgres)
        name = check_postgres.LOG_IDENTITY
        if isinstance(kafka, Check):
            checks.append(not_checked(check_postgres.SERVICE, name, "Kafka could not be asked"))
        elif not deployment.sinks:
            why = "no votes are counted in PostgreSQL here"
            checks.append(not_checked(check_postgres.SERVICE, name, why))
        else:
            checks.append(check_postgres.evaluate_log(postgres, kafka.log_ids, kafka.spans))
    return checks


def _only(failed: Check) -> list[Check]:
    """The checks of a service that could not be asked."""
    return [failed, not_checked(failed.service, "all else", "the service could not be asked")]
