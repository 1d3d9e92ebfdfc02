"""`scrutin tally`: encrypted elections, from ballots to a publicly verifiable result."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn

from schemas.tally import Mode
from streams.cli.show import JsonOption, console, grid, plain, run, write_json
from streams.cli.tally import (  # noqa: F401 - their commands are in the group
    challenge_command,
    file_commands,
    verify_command,
)
from streams.cli.tally.group import ElectionArgument, app, ask, say
from streams.cli.values import MAX_NUMBER
from streams.errors import ExitCode, SettingsError
from streams.runtime.logs import configure_logging
from streams.settings.build import tally_config
from streams.settings.load import load_settings
from streams.tally.commands import TallyCommands

if TYPE_CHECKING:
    from streams.load.tally_demo import TallyDemoReport

_WATCH_S = 0.5
_STYLES = {"COMPLETED": "green", "FAILED": "bold red", "CANCELLED": "yellow"}


@app.command()
def create(
    election: ElectionArgument,
    *,
    mode: Annotated[
        Mode,
        typer.Option(help="`single` decrypts the product of all chunks; `chunked` each chunk."),
    ] = Mode.SINGLE,
    chunk_size: Annotated[int, typer.Option(min=1, max=1_000_000, help="Ballots of a chunk.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """Tally the admitted ballots. Repeating the command changes nothing.

    Example: `scrutin tally create mayor-2026 && scrutin tally status mayor-2026 --watch`
    """

    async def send(asked: TallyCommands) -> dict[str, Any]:
        created = await asked.create(election, mode=mode, chunk_size=chunk_size)
        return {"jobId": str(created.job_id), "ballots": created.ballots, "success": True}

    answer = ask(send)
    if as_json:
        write_json(answer)
    else:
        say(f"{answer['ballots']:,} ballots will be tallied; job {answer['jobId']}")


@app.command()
def decrypt(
    election: ElectionArgument,
    guardians: Annotated[list[str], typer.Argument(help="Guardians whose secrets are sealed.")],
) -> None:
    """Let workers compute these guardians' shares, once the tally is completed.

    Example: `scrutin tally decrypt mayor-2026 ann bob`
    """

    async def send(asked: TallyCommands) -> None:
        for guardian in guardians:
            await asked.decrypt(election, guardian)

    ask(send)
    say(f"Workers decrypt for {', '.join(guardians)}")


@app.command()
def combine(election: ElectionArgument) -> None:
    """Decrypt with the available guardians, once they are a quorum.

    They stand in for the missing guardians. If all are available, it happens automatically.

    Example: `scrutin tally combine mayor-2026`
    """
    ask(lambda asked: asked.combine(election))
    say("Combining starts as soon as the shares of a quorum are available")


@app.command()
def cancel(election: ElectionArgument) -> None:
    """Stop assigning an election's work; `resume` continues it.

    Example: `scrutin tally cancel mayor-2026`
    """
    ask(lambda asked: asked.cancel(election))


@app.command()
def resume(election: ElectionArgument) -> None:
    """Continue after a `cancel`, and retry failed work.

    Example: `scrutin tally resume mayor-2026`
    """
    ask(lambda asked: asked.resume(election))


@app.command()
def status(
    election: Annotated[
        str | None, typer.Argument(help="The election; default: all active ones.")
    ] = None,
    *,
    watch: Annotated[
        bool, typer.Option("--watch", help="Watch until the result is published.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the progress of the jobs.

    Examples:

        scrutin tally status

        scrutin tally status mayor-2026 --watch
    """

    async def look(asked: TallyCommands) -> list[dict[str, Any]]:
        if election:
            await asked.store.election(election)
        return await (asked.jobs(election) if election else asked.active_jobs())

    async def follow(asked: TallyCommands) -> list[dict[str, Any]]:
        found = await look(asked)
        with Live(_bars(found), console=Console(stderr=True), transient=True) as live:
            while not _over(found):
                await asyncio.sleep(_WATCH_S)
                found = await look(asked)
                live.update(_bars(found))
        return found

    jobs = ask(follow if watch else look)
    if as_json:
        write_json(jobs)
        return
    table = grid("Job", "Guardian", "Status", "Chunks", "Failed", right=("Chunks", "Failed"))
    for job in jobs:
        name = job["guardianId"] or ""
        if job["missingGuardianId"]:
            name += f" for {job['missingGuardianId']}"
        style = _STYLES.get(job["status"], "")
        shown = f"[{style}]{job['status']}[/]" if style else job["status"]
        chunks = f"{job['processedChunks']}/{job['totalChunks']}"
        table.add_row(job["operationType"], plain(name), shown, chunks, str(job["failedChunks"]))
    console().print(table)
    for job in jobs:
        if job["errorMessage"]:
            say(f"{job['operationType']}: {job['errorMessage']}")


@app.command()
def results(election: ElectionArgument, as_json: JsonOption = False) -> None:
    """Show the published result.

    Example: `scrutin tally results mayor-2026`
    """
    published = ask(lambda asked: asked.store.published(election))
    if published is None:
        raise SettingsError(
            "There is no result yet",
            where={"election": election},
            todo="`scrutin tally status` shows the progress",
        )
    if as_json:
        write_json(published)
        return
    _show_counts(published)


@app.command()
def demo(
    *,
    ballots: Annotated[int, typer.Option(min=5, max=MAX_NUMBER, help="Ballots to cast.")] = 60,
    candidates: Annotated[int, typer.Option(min=2, max=50, help="Candidates.")] = 4,
    chunk_size: Annotated[
        int, typer.Option(min=1, max=MAX_NUMBER, help="Ballots of a chunk.")
    ] = 10,
    seed: Annotated[
        int, typer.Option(min=0, max=MAX_NUMBER, help="Different seeds make different votes.")
    ] = 1,
) -> None:
    """Hold a small encrypted election on its own services, and prove the count.

    Three guardians, one of them absent; two workers, one of them killed during the tally. Exit
    code 3 if the result, the record and the votes before encryption differ.

    Example: `scrutin tally demo --ballots 200`
    """
    # The load generator is not installed with the product.
    from streams.load.tally_demo import TallyDemo, TallyPlan  # noqa: PLC0415

    settings = load_settings()
    configure_logging("ERROR", settings.log_format)
    plan = TallyPlan(ballots, max(1, ballots // 30), candidates, chunk_size, seed)
    show = TallyDemo(
        settings.stack_dir / "demo-tally",
        plan,
        say=lambda step, text: say(f"{step:<10} {text}"),
        configure=lambda env: tally_config(load_settings(env)),
    )

    async def play() -> TallyDemoReport:
        async with show.services():
            return await show.run()

    outcome = run(play())
    _show_counts(outcome.published)
    if not outcome.good:
        say("The result is NOT the count of the votes before encryption")
        raise typer.Exit(ExitCode.DIFFERENT)
    say("The result is the count of the votes before encryption, and its record verifies")


def _over(jobs: list[dict[str, Any]]) -> bool:
    """Whether the result is published, or the work needs an operator."""
    if any(job["status"] in {"FAILED", "CANCELLED"} for job in jobs):
        return True
    return any(job["operationType"] == "COMBINE" and job["status"] == "COMPLETED" for job in jobs)


def _bars(jobs: list[dict[str, Any]]) -> Progress:
    bars = Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[status]}")
    )
    for job in jobs:
        name = " ".join(filter(None, (job["operationType"], job["guardianId"])))
        bars.add_task(
            name, total=100, completed=job["progressPercent"], status=job["status"].lower()
        )
    return bars


def _show_counts(published: dict[str, Any]) -> None:
    shown = published["results"]
    for contest, lines in shown["contests"].items():
        table = grid(contest, "Votes", "%", right=("Votes", "%"))
        for line in lines.values():
            table.add_row(plain(line["name"]), f"{line['votes']:,}", f"{line['percentage']:.2f}")
        console().print(table)
    say(
        f"{shown['total_valid_ballots']:,} ballots counted, {shown['total_spoiled_ballots']:,}"
        " spoiled"
    )
