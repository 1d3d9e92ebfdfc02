"""`scrutin doctor`: RabbitMQ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from streams.errors import ServiceUnavailable
from streams.inspect.checks import Check, failure, ok, warning
from streams.inspect.rabbit import BrokerFacts, look
from streams.inspect.rabbit_http import Management, QueueDetails
from streams.settings.configs import RabbitConfig
from streams.settings.queues import VALIDATION, VOTES_EXCHANGE, QueuesConfig

SERVICE: Final = "rabbitmq"


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


async def gather(config: RabbitConfig, queues: QueuesConfig) -> RabbitFacts:
    """Read the facts from RabbitMQ and, if it answers, from the management API.

    Raises:
        ServiceUnavailable: RabbitMQ does not answer.
        SettingsError: it refuses the login.
    """
    names = queues.used()
    broker = await look(config, names, [VOTES_EXCHANGE])
    management = Management(config)
    facts = RabbitFacts(broker, management.url)
    try:
        facts.details = await management.queues(names)
        if broker.exchanges.get(VOTES_EXCHANGE):
            facts.bound = await management.bound_queues(VOTES_EXCHANGE)
    except ServiceUnavailable:
        facts.details = None
    return facts


def evaluate(queues: QueuesConfig, facts: RabbitFacts) -> Iterator[Check]:
    """Checks derived from the facts."""
    yield ok(SERVICE, "reachable", f"version {facts.broker.version}")
    ingress = {queues.name(name) for name in queues.ingress}
    for name, depth in facts.broker.queues.items():
        if depth is None:
            yield warning(SERVICE, f"queue {name}", "does not exist", "The bridge declares it")
            continue
        detail = f"{depth.ready:,} waiting, {depth.consumers} consumers"
        if name in ingress and not depth.consumers:
            yield warning(
                SERVICE, f"queue {name}", detail, "It has no consumer; is a bridge running?"
            )
        else:
            yield ok(SERVICE, f"queue {name}", detail)
    if facts.details is None:
        yield ok(
            SERVICE,
            "queue arguments",
            f"not checked: no management API at {facts.management} "
            "(SCRUTIN_RABBITMQ_MANAGEMENT_URL)",
        )
    else:
        yield from _evaluate_details(facts.details)
    yield from _evaluate_exchange(queues, facts)


def _evaluate_details(details: Mapping[str, QueueDetails]) -> Iterator[Check]:
    found = False
    for name, queue in details.items():
        for fault, todo in queue_faults(queue):
            found = True
            yield warning(SERVICE, f"queue {name}", fault, todo)
    if not found and details:
        yield ok(SERVICE, "queue arguments", "nothing that loses or reorders votes")


def queue_faults(queue: QueueDetails) -> Iterator[tuple[str, str]]:
    """(fault, remedy) for every property of a queue that loses or reorders messages."""
    recreate = "Empty the queue, delete it and let the bridge declare it"
    if not queue.durable:
        yield "not durable", f"A restart of the broker deletes it. {recreate}"
    if queue.auto_delete:
        yield "auto-delete", f"It is deleted when the bridge disconnects. {recreate}"
    for source, options, change in (
        ("", {k.removeprefix("x-"): v for k, v in queue.arguments.items()}, recreate),
        ("policy: ", queue.policy, "Change the policy"),
    ):
        yield from (
            (f"{source}{fault}", f"{reason}. {change}") for fault, reason in _options(options)
        )


def _options(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if (ttl := options.get("message-ttl")) is not None:
        yield f"message-ttl {ttl} ms", "Messages that wait longer are dropped"
    overflow = options.get("overflow", "drop-head")
    for key in ("max-length", "max-length-bytes"):
        if (limit := options.get(key)) is not None:
            reason = (
                "A full queue drops its oldest messages"
                if overflow == "drop-head"
                else "A full queue refuses publishers; they must use confirms"
            )
            yield f"{key} {limit}, overflow {overflow}", reason
    if (expires := options.get("expires")) is not None:
        yield f"expires {expires} ms", "It is deleted when unused"
    if (priority := options.get("max-priority")) is not None:
        yield (
            f"max-priority {priority}",
            "Messages overtake each other, so a later vote may count as the first",
        )
    if (limit := options.get("delivery-limit")) is not None:
        yield f"delivery-limit {limit}", "Messages requeued that often are dropped"


def _evaluate_exchange(queues: QueuesConfig, facts: RabbitFacts) -> Iterator[Check]:
    if not facts.broker.exchanges.get(VOTES_EXCHANGE):
        return
    queue = queues.name(VALIDATION)
    if facts.details is None:
        yield ok(SERVICE, VOTES_EXCHANGE, "exists; bindings not checked")
    elif queue in facts.bound:
        yield ok(SERVICE, VOTES_EXCHANGE, f"feeds {queue}")
    elif queues.bindings and VALIDATION in queues.ingress:
        yield warning(
            SERVICE,
            VOTES_EXCHANGE,
            f"does not feed {queue} yet; messages published there are lost",
            "Start the bridge, which binds the queue",
        )
    else:
        yield failure(
            SERVICE,
            VOTES_EXCHANGE,
            f"does not feed {queue}; messages published there are lost",
            "Set SCRUTIN_BINDINGS=true, or bind the queue yourself",
        )
