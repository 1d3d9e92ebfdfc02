"""Which properties of a RabbitMQ queue lose or reorder votes, and what to type against it. Pure."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any, Final

from streams.adapters.rabbitmq.management import QueueDetails

CLASSIC: Final = "classic"
QUORUM: Final = "quorum"
STREAM: Final = "stream"

_LIMITED_SINCE: Final = 4
"""From this version of RabbitMQ on, a quorum queue that sets no delivery limit has one."""
_DEFAULT_LIMIT: Final = 20
_CLIENTS_FIRST: Final = (
    "first change what its other clients declare, or they are refused (406); then stop them, empty "
    "the queue and delete it: the bridge declares it"
)


def default_limit(version: str) -> int | None:
    """The delivery limit of a quorum queue that sets none.

    Args:
        version: of RabbitMQ.
    """
    found = re.match(r"\d+", version)
    return _DEFAULT_LIMIT if found and int(found[0]) >= _LIMITED_SINCE else None


def reorders(queue: QueueDetails, version: str) -> bool:
    """Whether messages with a priority overtake others although no argument says so."""
    return queue.kind == QUORUM and default_limit(version) is not None


def delivery_limit(queue: QueueDetails, version: str) -> int | None:
    """How often a message may be returned to the queue before RabbitMQ removes it; None: always.

    Args:
        queue: facts about it.
        version: of RabbitMQ.
    """
    if queue.kind != QUORUM:
        return None
    given = [
        int(limit)
        for limit in (
            queue.arguments.get("x-delivery-limit"),
            queue.policy.get("delivery-limit"),
        )
        if limit is not None
    ]
    if not given:
        return default_limit(version)
    # -1 means no limit; RabbitMQ lets a limit of the other source prevail over it.
    limit = max(given) if min(given) < 0 else min(given)
    return None if limit < 0 else limit


def is_settled(queue: QueueDetails, version: str) -> bool:
    """Whether it is known which delivery limit is in force.

    Args:
        queue: facts about it.
        version: of RabbitMQ.
    """
    return queue.policy_shown or queue.kind != QUORUM or default_limit(version) is None


def dead_letters(queue: QueueDetails) -> bool:
    """Whether messages that the queue removes go to another exchange."""
    return bool(
        "x-dead-letter-exchange" in queue.arguments or "dead-letter-exchange" in queue.policy
    )


def remove_limit(name: str, queue: QueueDetails, version: str, vhost: str) -> str:
    """What to do against a delivery limit.

    Args:
        name: of the queue.
        queue: facts about it.
        version: of RabbitMQ.
        vhost: its virtual host.
    """
    if "x-delivery-limit" in queue.arguments:
        return (
            "An argument of the queue sets it, which no policy lifts: empty the queue, delete it, "
            "and declare it without x-delivery-limit"
        )
    if default_limit(version) is None:
        return "Remove delivery-limit from the policy"
    pattern = "^" + name.replace(".", "\\.") + "$"
    definition = json.dumps({**queue.policy, "delivery-limit": -1})
    return (
        f"Type: rabbitmqctl set_policy -p {shlex.quote(vhost)} --priority 100 --apply-to queues "
        f"scrutin-{name} {shlex.quote(pattern)} {shlex.quote(definition)}"
    )


def faults(
    name: str, queue: QueueDetails, version: str, vhost: str
) -> Iterator[tuple[bool, str, str]]:
    """(whether a bridge refuses the queue, fault, remedy) for what loses or reorders messages.

    Args:
        name: of the queue.
        queue: facts about it.
        version: of RabbitMQ.
        vhost: its virtual host.
    """
    if queue.kind == STREAM:
        yield (
            True,
            "a stream queue",
            "A bridge would miss messages published while it is not connected. Declare a quorum "
            "or classic queue, and move the messages there",
        )
        return
    if (limit := delivery_limit(queue, version)) is not None:
        lost = not dead_letters(queue)
        fate = "lost" if lost else "dead-lettered, not counted"
        yield (
            lost,
            f"delivery limit {limit}",
            f"A message returned more often is {fate}. {remove_limit(name, queue, version, vhost)}",
        )
    yield from ((False, fault, remedy) for fault, remedy in _other_faults(name, queue))


def other_arguments(name: str, wanted: Mapping[str, Any], queue: QueueDetails) -> str | None:
    """What to do where a queue was declared with other arguments than clients declare; else None.

    Args:
        name: of the queue.
        wanted: arguments of `SCRUTIN_QUEUE_ARGUMENTS`.
        queue: facts about it.
    """
    # The type may come from the virtual host.
    declared = {k: v for k, v in queue.arguments.items() if k in wanted or k != "x-queue-type"}
    if declared == wanted:
        return None
    return (
        f"A bridge reads it all the same. Clients that declare {_shown(wanted)} are refused (406):"
        f" let them declare {_shown(declared)}, and SCRUTIN_QUEUE_ARGUMENTS say so too. Or keep"
        f" them: stop them and the bridges once {name} is empty, delete it, and start the bridges,"
        " which declare it as the setting says"
    )


def _shown(arguments: Mapping[str, Any]) -> str:
    given = [f"{name}={_value(value)}" for name, value in sorted(arguments.items())]
    return ", ".join(given) or "no arguments"


def _value(value: object) -> str:
    """As `SCRUTIN_QUEUE_ARGUMENTS` takes it."""
    return value if isinstance(value, str) else json.dumps(value)


def _other_faults(name: str, queue: QueueDetails) -> Iterator[tuple[str, str]]:
    if not queue.durable:
        yield "not durable", f"A restart of the broker deletes it. To change it, {_CLIENTS_FIRST}"
    if queue.auto_delete:
        yield (
            "auto-delete",
            f"It is deleted when the bridge disconnects. To change it, {_CLIENTS_FIRST}",
        )
    for prefix, source, options in (("x-", "", queue.arguments), ("", "policy: ", queue.policy)):
        for option, fault, reason in _options(
            {k.removeprefix(prefix): v for k, v in options.items()}
        ):
            given = f"{name}:x-{option}={_value(options[prefix + option])}"
            change = (
                f"Clients that declare it so need it, and a missing queue gets it by"
                f" SCRUTIN_QUEUE_ARGUMENTS={given}. To do without it, {_CLIENTS_FIRST}"
                if prefix
                else "Change the policy"
            )
            yield f"{source}{fault}", f"{reason}. {change}"


def _options(options: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(option, fault, its effect) for each one that loses or reorders messages."""
    if (ttl := options.get("message-ttl")) is not None:
        yield "message-ttl", f"message-ttl {ttl} ms", "Messages that wait longer are dropped"
    overflow = options.get("overflow", "drop-head")
    for key in ("max-length", "max-length-bytes"):
        if (limit := options.get(key)) is not None:
            reason = (
                "A full queue drops its oldest messages"
                if overflow == "drop-head"
                else "A full queue refuses publishers; they must use confirms"
            )
            yield key, f"{key} {limit}, overflow {overflow}", reason
    if (expires := options.get("expires")) is not None:
        yield "expires", f"expires {expires} ms", "It is deleted when unused"
    if (priority := options.get("max-priority")) is not None:
        yield (
            "max-priority",
            f"max-priority {priority}",
            "Messages overtake each other, so a later vote may count as the first",
        )
