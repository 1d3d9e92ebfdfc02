"""All checks of a deployment. Services are checked concurrently and independently."""

from __future__ import annotations

import asyncio

from streams.inspect import check_host, check_kafka, check_postgres, check_rabbit, check_redis
from streams.inspect.checks import Check, ask
from streams.settings.model import Settings


async def examine(settings: Settings) -> list[Check]:
    """Run every check; takes as long as the slowest service, at most its deadline."""
    rabbit, kafka, redis, postgres = await asyncio.gather(
        ask(check_rabbit.SERVICE, check_rabbit.gather(settings)),
        ask(check_kafka.SERVICE, check_kafka.gather(settings)),
        ask(check_redis.SERVICE, check_redis.gather(settings.redis)),
        ask(check_postgres.SERVICE, check_postgres.gather(settings.postgres)),
    )
    checks = list(check_host.evaluate(settings))
    if isinstance(rabbit, Check):
        checks.append(rabbit)
    else:
        checks += check_rabbit.evaluate(settings, rabbit)
    if isinstance(kafka, Check):
        checks.append(kafka)
    else:
        checks += check_kafka.evaluate(settings, kafka)
    if isinstance(redis, Check):
        checks.append(redis)
    else:
        checks += check_redis.evaluate(settings, redis)
    if isinstance(postgres, Check):
        checks.append(postgres)
    else:
        checks += check_postgres.evaluate(settings, postgres)
        if not isinstance(kafka, Check) and settings.sink == "postgres":
            checks.append(check_postgres.evaluate_log(postgres, kafka.log_ids, kafka.spans))
    return checks
