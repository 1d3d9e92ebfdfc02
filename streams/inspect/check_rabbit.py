"""`scrutin doctor`: RabbitMQ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from streams.adapters.rabbitmq.management import Management, QueueDetails
from streams.errors import ServiceUnavailable
from streams.inspect.checks import Check, CheckedService
from streams.inspect.queue_settings import (
    CLASSIC,
    QUORUM,
    STREAM,
    faults,
    is_settled,
    other_arguments,
    reorders,
)
from streams.inspect.rabbit import BrokerFacts, look
from streams.settings.configs import RabbitConfig
from streams.settings.queues import VALIDATION, VOTES_EXCHANGE, QueuesConfig

SERVICE: Final = CheckedService("rabbitmq")
_KINDS: Final = {
    CLASSIC: "classic; if publishers wait for confirms, a quorum queue costs half the CPU",
    QUORUM: "quorum; publishers must wait for confirms, or votes may be lost",
}


@dataclass
class RabbitFacts:
    """Facts about RabbitMQ."""

    broker: BrokerFacts
    management: str
    """Address of the management API."""
    details: dict[str, QueueDetails] | None = None
    """By queue; None without a management API."""
    bound: list[str] = field(default_factory=list)
    """Queues bound to `votes.exchange`."""
    vhost: str = "/"
    unread: str = ""
    """Why the management API was not read."""


async def gather(config: RabbitConfig, queues: QueuesConfig) -> RabbitFacts:
    """Read the facts from RabbitMQ and, if it answers, from the management API.

    Raises:
        ServiceUnavailable: RabbitMQ does not answer.
        SettingsError: it refuses the login.
    """
    names = queues.used()
    broker = await look(config, names, [VOTES_EXCHANGE])
    management = Management(config)
    facts = RabbitFacts(broker, management.url, vhost=config.vhost)
    try:
        facts.details = await management.queues(names)
        if broker.exchanges.get(VOTES_EXCHANGE):
            facts.bound = await management.bound_queues(VOTES_EXCHANGE)
    except ServiceUnavailable as error:
        facts.details, facts.unread = None, error.what
    return facts


def evaluate(queues: QueuesConfig, facts: RabbitFacts) -> Iterator[Check]:
    """Checks derived from the facts."""
    yield SERVICE.ok("reachable", f"version {facts.broker.version}")
    ingress = {queues.name(name) for name in queues.ingress}
    for name, depth in facts.broker.queues.items():
        if depth is None:
            yield SERVICE.warning(f"queue {name}", "does not exist", "The bridge declares it")
            continue
        detail = f"{depth.ready:,} waiting, {depth.consumers} consumers"
        if name in ingress and not depth.consumers:
            yield SERVICE.warning(
                f"queue {name}", detail, "It has no consumer; is a bridge running?"
            )
        else:
            yield SERVICE.ok(f"queue {name}", detail)
    if facts.details is None:
        yield SERVICE.not_checked(
            "queue arguments",
            f"{facts.unread} ({facts.management})",
            "Set SCRUTIN_RABBITMQ_MANAGEMENT_URL, so that settings that lose votes are found",
        )
    else:
        yield from _evaluate_details(facts.details, facts, queues)
    yield from _evaluate_exchange(queues, facts)


def _evaluate_details(
    details: Mapping[str, QueueDetails], facts: RabbitFacts, queues: QueuesConfig
) -> Iterator[Check]:
    found = False
    version = facts.broker.version
    for name, queue in details.items():
        wanted = queues.arguments.get(name)
        if wanted is not None and (todo := other_arguments(name, wanted, queue)) is not None:
            found = True
            yield SERVICE.warning(f"queue {name}", "not as SCRUTIN_QUEUE_ARGUMENTS says", todo)
        if not is_settled(queue, version):
            found = True
            yield SERVICE.not_checked(
                f"queue {name}", "RabbitMQ does not show its policy yet", "Ask again in 5 s"
            )
            continue
        for refused, fault, todo in faults(name, queue, version, facts.vhost):
            found = True
            if refused and queue.kind != STREAM and name in queues.accept_loss:
                yield SERVICE.warning(f"queue {name}", f"{fault}, accepted", todo)
            else:
                report = SERVICE.failure if refused else SERVICE.warning
                yield report(f"queue {name}", fault, todo)
        if reorders(queue, version):
            yield SERVICE.ok(
                f"queue {name}",
                "messages with a priority overtake others; publishers must set none",
            )
        if (told := _KINDS.get(queue.kind)) is not None:
            yield SERVICE.ok(f"queue {name}", told)
    unseen = [n for n, depth in facts.broker.queues.items() if depth and n not in details]
    if unseen or not details:
        why = f"the management API does not show {', '.join(unseen)}" if unseen else "no queues yet"
        yield SERVICE.not_checked("queue arguments", why)
    elif not found:
        yield SERVICE.ok("queue arguments", "nothing that loses or reorders votes")


def _evaluate_exchange(queues: QueuesConfig, facts: RabbitFacts) -> Iterator[Check]:
    if not facts.broker.exchanges.get(VOTES_EXCHANGE):
        return
    queue = queues.name(VALIDATION)
    if facts.details is None:
        yield SERVICE.not_checked(VOTES_EXCHANGE, "exists; its bindings could not be read")
    elif queue in facts.bound:
        yield SERVICE.ok(VOTES_EXCHANGE, f"feeds {queue}")
    elif queues.bindings and VALIDATION in queues.ingress:
        yield SERVICE.warning(
            VOTES_EXCHANGE,
            f"does not feed {queue} yet; messages published there are lost",
            "Start the bridge, which binds the queue",
        )
    else:
        yield SERVICE.failure(
            VOTES_EXCHANGE,
            f"does not feed {queue}; messages published there are lost",
            "Set SCRUTIN_BINDINGS=true, or bind the queue yourself",
        )
