"""Preconditions of a rebuild: no process of the deployment may be running."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final

from aiokafka.errors import for_code

from streams.adapters.kafka.clients import kafka_admin, with_coordinator
from streams.core.topics import egress_group, worker_group
from streams.errors import ScrutinError
from streams.settings.configs import KafkaConfig

Bars = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""Takes a description and a number of steps; returns a progress bar's context."""

_POLL_S: Final = 0.5
_MEMBERS: Final = 5
"""Index of the members in Kafka's description of a group."""


class StillRunning(ScrutinError):
    """Processes are members of a group that must be empty."""


async def require_stopped(kafka: KafkaConfig, *, bridges: bool, wait_s: float, bars: Bars) -> None:
    """Make sure that no worker runs and, with `bridges`, no bridge.

    Args:
        kafka: which groups.
        bridges: whether bridges must be stopped too.
        wait_s: how long to wait for members to leave. A killed one stays until its session expires.
        bars: shows the wait.

    Raises:
        StillRunning: a group has members.
        ServiceUnavailable: Kafka does not answer.
    """
    groups = {"worker": worker_group(kafka.app_id)}
    if bridges:
        # A bridge is a member of both of its groups; one is enough.
        groups["bridge"] = egress_group(kafka.app_id)
    async with kafka_admin(kafka.servers) as admin:
        for process, group in groups.items():
            await _wait_empty(admin, process, group, wait_s, bars)


async def _wait_empty(admin: Any, process: str, group: str, wait_s: float, bars: Bars) -> None:
    members = await _members(admin, group)
    if not members:
        return
    polls = int(wait_s / _POLL_S)
    with bars(f"waiting for every {process} to leave", polls) as advance:
        for _ in range(polls):
            await asyncio.sleep(_POLL_S)
            advance(1)
            members = await _members(admin, group)
            if not members:
                return
    raise _running(process, group, members)


def _running(process: str, group: str, members: int) -> StillRunning:
    return StillRunning(
        f"{members} {process}{'s are' if members > 1 else ' is'} running",
        where={"group": group},
        todo=f"Stop every {process} first (SIGTERM); one that was killed counts until its session"
        " expires",
    )


@with_coordinator
async def _members(admin: Any, group: str) -> int:
    [response] = await admin.describe_consumer_groups([group])
    [described] = response.groups
    if described[0]:
        raise for_code(described[0])(f"group {group}")
    return len(described[_MEMBERS])
