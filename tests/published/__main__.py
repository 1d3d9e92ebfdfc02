"""`python -m tests.published KIND FILE...`: published contests counted again.

By the counter alone; with `--queue` as marked through RabbitMQ, bridge, worker and PostgreSQL of a
stack of its own. Exit code 1 if a round differs.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from streams.devstack import Stack
from streams.load.programs import worker
from streams.settings.load import load_settings
from tests.harness import database, until
from tests.integration.bridge_harness import VALIDATION, BridgeHarness, scrutin
from tests.published import sources
from tests.published.contests import Contest, Votes, with_votes

_WITHIN_S: Final = 3600.0
PATIENTLY: Final = ("--wait", "120")


class Kind(StrEnum):
    """What the files are."""

    MAINE = "maine"
    MINNEAPOLIS = "minneapolis"
    RCTAB = "rctab"
    IRELAND = "ireland"
    AUSTRALIA = "australia"
    NEW_YORK = "new-york"
    SCOTLAND = "scotland"
    COUNCILS = "councils"


_READERS: Final[Mapping[Kind, Callable[..., Contest | Iterable[Contest]]]] = {
    Kind.MAINE: sources.maine,
    Kind.MINNEAPOLIS: sources.minneapolis,
    Kind.RCTAB: sources.rctab,
    Kind.IRELAND: sources.ireland,
    Kind.AUSTRALIA: sources.australia,
    Kind.NEW_YORK: sources.new_york,
    Kind.SCOTLAND: sources.scotland,
    Kind.COUNCILS: sources.councils,
}


def main(
    kind: Annotated[Kind, typer.Argument(help="What the files are.")],
    files: Annotated[list[Path] | None, typer.Argument(help="Files or a folder.")] = None,
    *,
    only: Annotated[str, typer.Option(help="Contests with this in their names.")] = "",
    queue: Annotated[
        bool, typer.Option("--queue", help="Send the ballots through the whole chain.")
    ] = False,
) -> None:
    """Count published contests again and compare each round.

    Example: `python -m tests.published maine votes.dat --queue`
    """
    found = _READERS[kind](*(files or ()))
    contests = [found] if isinstance(found, Contest) else found
    differ = 0
    for contest in contests:
        if only not in contest.name:
            continue
        began_s = time.monotonic()
        rounds = asyncio.run(_through_queue(contest)) if queue else contest.counted()
        difference = contest.difference(rounds)
        differ += bool(difference)
        print(
            f"{contest.name}: {contest.ballots.total():,} ballots, {len(contest.rounds)} rounds:"
            f" {difference or 'equal'} ({time.monotonic() - began_s:.0f} s)",
            flush=True,
        )
    sys.exit(1 if differ else 0)


async def _through_queue(contest: Contest) -> list[Votes]:
    """The rounds that the installed commands show for ballots that were published to RabbitMQ."""
    with tempfile.TemporaryDirectory(prefix="scrutin-published-") as name:
        folder = Path(name)
        (tables := folder / "election.json").write_text(json.dumps(contest.tables()))
        contest.write_ballots(ballots := folder / "ballots.csv")
        stack = Stack(folder / "stack", environ={})
        await asyncio.to_thread(stack.up)
        try:
            async with BridgeHarness(stack, folder) as world:
                world.env |= {
                    "SCRUTIN_ENFORCE_CONTESTS": "true",
                    "SCRUTIN_ROLL": "open",
                    "SCRUTIN_SECRET": "not a secret, since all of it is a test",
                }
                counter = worker(world.env, folder, "worker")
                async with world.bridge() as bridge, counter:
                    await asyncio.gather(*(each.ready(within_s=120) for each in (bridge, counter)))
                    await _command(world, "election", "import", str(tables))
                    await _command(world, "contest", "open", "election:1")
                    sending = ("election", "ballots", "1", str(ballots), "--queue", VALIDATION)
                    await _command(world, *sending)
                    await _counted(world, contest.ballots.total())
                    await _command(world, "contest", "close", "election:1", "--yes")
                    counted = await _command(world, "election", "count", "1")
        finally:
            await asyncio.to_thread(stack.down)
    [seat] = counted["seats"]
    return [with_votes(each["votes"]) for each in seat["rounds"]]


async def _counted(world: BridgeHarness, ballots: int) -> None:
    connection = await database(load_settings(world.stack.env()))

    async def all_in() -> bool:
        query = "SELECT coalesce(sum(votes), 0) FROM contest_results"
        return bool(await connection.fetchval(query) == ballots)

    await until(all_in, f"{ballots} ballots counted", within_s=_WITHIN_S, poll_s=1)
    await connection.close()


async def _command(world: BridgeHarness, *words: str) -> dict[str, object]:
    waiting = () if words[:2] in {("election", "ballots"), ("election", "count")} else PATIENTLY
    done = await asyncio.to_thread(
        scrutin, world.env, *words, *waiting, "--json", timeout_s=_WITHIN_S
    )
    assert done.returncode == 0, f"{words}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    answer = json.loads(done.stdout)
    return answer if isinstance(answer, dict) else {}


if __name__ == "__main__":
    typer.run(main)
