"""`scrutin mirror`: compare the Redis mirror with the log, or rebuild it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import Annotated, TypeVar

import typer
from redis.asyncio import Redis

from streams.adapters.kafka.view import LogView
from streams.adapters.redis.client import redis_client
from streams.cli.show import JsonOption, answer, console, counting, grid, run
from streams.cli.values import finite
from streams.errors import ExitCode
from streams.maintenance.mirror import Advance, Comparison, MirrorLog, compare, rebuild
from streams.settings.load import load_settings

T = TypeVar("T")

app = typer.Typer(
    help="The Redis mirror: `voted_hashes` and `duplicate_count:{hash}`, derived from the log.\n\n"
    "The count never reads it, so it may be lost; `rebuild` restores it.\n\n"
    "Example: `scrutin mirror check`",
    no_args_is_help=True,
)


@app.command("check")
def check(
    *,
    wait: Annotated[
        float,
        typer.Option(
            callback=finite, help="Seconds to wait for a running mirror to catch up.", min=0
        ),
    ] = 5.0,
    as_json: JsonOption = False,
) -> None:
    """Compare the mirror with the log in both directions. Exit code 3 if they differ.

    Reads the whole of `votes.validated` without a consumer group; takes about 100 bytes of memory
    a voter. Reports the number of entries that differ, never which.

    Example: `scrutin mirror check --wait 30`
    """
    found = run(_on_mirror(partial(compare, settle_s=wait)))
    answer(found.as_dict(), lambda: _show(found), as_json=as_json)
    if not found.equal:
        raise typer.Exit(ExitCode.DIFFERENT)


@app.command("rebuild")
def rebuild_mirror(as_json: JsonOption = False) -> None:
    """Rebuild the mirror from the log and swap it in. Bridges may keep running.

    Example: `scrutin mirror rebuild && scrutin mirror check`
    """
    found = run(_on_mirror(rebuild))
    said = (
        f"The mirror is rebuilt: {found['voters']:,} voters, "
        f"{found['counters']:,} duplicate counters."
    )
    answer(found, lambda: console().print(said), as_json=as_json)


async def _on_mirror(work: Callable[[LogView, Redis, Advance], Awaitable[T]]) -> T:
    settings = load_settings()
    redis = redis_client(settings.redis)
    async with aclosing(redis), LogView(settings.kafka.servers) as view:
        with counting("votes.validated", await MirrorLog(view).total()) as advance:
            return await work(view, redis, advance)


def _show(found: Comparison) -> None:
    table = grid("", "Log", "Redis", "Missing", "Surplus", "Different", right=_NUMBERS)
    table.add_row(
        "voted_hashes",
        *_numbers(found.voters_in_log, found.voters_in_redis),
        *_numbers(found.voters_missing, found.voters_surplus),
        "",
    )
    table.add_row(
        "duplicate_count:*",
        *_numbers(found.counters_in_log, found.counters_in_redis),
        *_numbers(found.counters_missing, found.counters_surplus, found.counters_different),
    )
    console().print(table)
    if found.equal:
        console().print("[green]The mirror agrees with the log.[/]")
    else:
        console().print(
            "[bold red]The mirror differs from the log.[/] Is a bridge running? "
            "`scrutin mirror rebuild` corrects it."
        )


_NUMBERS = ("Log", "Redis", "Missing", "Surplus", "Different")


def _numbers(*values: int) -> list[str]:
    return [f"{value:,}" for value in values]
