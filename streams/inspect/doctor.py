"""All checks of a deployment. Services are checked concurrently and independently."""

from __future__ import annotations

import asyncio

from streams.inspect import check_host, check_kafka, check_postgres, check_rabbit, check_redis
from streams.inspect.checks import Check, ask
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
        checks.append(rabbit)
    else:
        checks += check_rabbit.evaluate(deployment.queues, rabbit)
    if isinstance(kafka, Check):
        checks.append(kafka)
    else:
        checks += check_kafka.evaluate(deployment.kafka, kafka)
    if isinstance(redis, Check):
        checks.append(redis)
    else:
        checks += check_redis.evaluate(deployment.roll, redis)
    if isinstance(postgres, Check):
        checks.append(postgres)
    else:
        checks += check_postgres.evaluate(deployment.postgres, postgres)
        if not isinstance(kafka, Check) and deployment.sinks:
            checks.append(check_postgres.evaluate_log(postgres, kafka.log_ids, kafka.spans))
    return checks
