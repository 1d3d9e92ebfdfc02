"""Shared by commands that write to the log: an issuer, and the wait for the partitions."""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Final

import asyncpg
import typer

from streams.adapters.postgres.connection import translated
from streams.cli.show import counting
from streams.cli.values import finite
from streams.control.issuer import Issuer
from streams.control.issuing import issuing as control_issuing
from streams.control.trail import user_of_host
from streams.errors import ServiceUnavailable
from streams.settings.build import deployment_config
from streams.settings.model import Settings

WaitOption = Annotated[
    float,
    typer.Option(
        callback=finite,
        help="Seconds to wait until every partition has passed the command and counted all votes "
        "before it; 0: do not wait.",
        min=0,
    ),
]

_POLL_S: Final = 0.05


def issuing(settings: Settings) -> AbstractAsyncContextManager[Issuer]:
    """An issuer for one command of this host's user, with its own connections.

    Raises:
        ServiceUnavailable: PostgreSQL or Kafka does not answer.
        TopologyMismatch: the log's number of partitions differs from the settings.
    """
    return control_issuing(
        deployment_config(settings),
        enforced=settings.enforce_contests != "false",
        actor=user_of_host(),
    )


async def passed(
    connection: asyncpg.Connection, command_id: bytes, partitions: int, wait_s: float
) -> None:
    """Wait until every partition has passed a command.

    Raises:
        ServiceUnavailable: it did not happen in time.
    """
    deadline = time.monotonic() + wait_s
    count = shown = 0
    with counting("partitions", partitions) as advance:
        while count < partitions:
            async with translated({"table": "control_progress"}):
                count = await connection.fetchval(
                    "SELECT count(*) FROM control_progress WHERE command_id = $1", command_id
                )
            advance(count - shown)
            shown = count
            if count < partitions and time.monotonic() > deadline:
                raise ServiceUnavailable(
                    f"The command is in the log, but only {count} of {partitions} partitions"
                    f" have passed it within {wait_s:.0f} s",
                    where={"command": command_id.hex()},
                    todo="Check that a worker runs. The command applies in any case;"
                    " `scrutin contest list` shows its progress",
                )
            await asyncio.sleep(_POLL_S)
