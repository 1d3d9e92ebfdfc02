"""`scrutin tally`: encrypted elections, from ballots to a result that anybody can check."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn

from schemas.tally import Mode
from streams.cli.progress import counting
from streams.cli.show import JsonOption, console, grid, plain, run, write_json
from streams.database import connect
from streams.errors import ExitCode, SettingsError
from streams.logs import configure_logging
from streams.migrations import migrate
from streams.settings import load_settings
from streams.tally.admission import Admission, admit
from streams.tally.commands import Tally, tally
from streams.tally.crypto.ceremony import Backup, GuardianKey
from streams.tally.crypto.documents import from_json, to_json
from streams.tally.crypto.manifest import Manifest, plain_manifest
from streams.tally.crypto.tallies import EncryptedTally
from streams.tally.demo import Outcome, Plan, TallyDemo
from streams.tally.files import (
    Product,
    Shares,
    ToDecrypt,
    describe,
    read_document,
    write_document,
)
from streams.tally.helpers import Helpers
from streams.tally.record import Verified, export, verify
from streams.tally.refusals import Refused
from streams.tally.store import CAST, SPOILED

app = typer.Typer(
    no_args_is_help=True, help="Encrypted tallies, with proofs that anyone can check."
)

ElectionArgument = Annotated[str, typer.Argument(help="The election's id.")]

_WATCH_S = 0.5
_STYLES = {"COMPLETED": "green", "FAILED": "bold red", "CANCELLED": "yellow"}


def register(parent: typer.Typer) -> None:
    """Attach `scrutin tally`."""
    parent.add_typer(app, name="tally")


@app.callback()
def _group() -> None:
    """Encrypted tallies, with proofs that anyone can check.

    `setup` and `admit` put an election and its ballots into the database; `create`, `decrypt` and
    `combine` ask the workers (SCRUTIN_STAGES=tally) for the work; `export` and `verify` are for
    everybody. The cryptography is ElectionGuard's and has not been audited.
    """


@app.command()
def manifest(
    election: ElectionArgument,
    contests: Annotated[
        list[str], typer.Argument(help="CONTEST=CANDIDATE,CANDIDATE,… for each question.")
    ],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="The manifest's file.")],
    elect: Annotated[int, typer.Option(min=1, help="How many may be chosen in each.")] = 1,
) -> None:
    """Write a simple manifest: one district, one kind of ballot.

    Example: `scrutin tally manifest mayor-2026 mayor=ann,bob,cem -o manifest.json`
    """
    shape = {}
    for contest in contests:
        name, _, candidates = contest.partition("=")
        shape[name] = [candidate for candidate in candidates.split(",") if candidate]
    moment = datetime.now(UTC).replace(microsecond=0)
    write_document(plain_manifest(election, shape, moment=moment, number_elected=elect), output)


@app.command()
def setup(
    election: ElectionArgument,
    manifest_file: Annotated[Path, typer.Argument(metavar="MANIFEST", help="Its manifest.")],
    keys: Annotated[list[Path], typer.Argument(help="All guardians' NAME.public.json.")],
    *,
    quorum: Annotated[int, typer.Option(min=1, help="Guardians that it takes to decrypt.")],
    backups: Annotated[
        Path | None, typer.Option(help="Folder with the guardians' backups.")
    ] = None,
) -> None:
    """Put an election into the database: manifest, guardians' keys and encrypted backups.

    Example: `scrutin tally setup mayor-2026 manifest.json *.public.json --quorum 2 --backups .`
    """
    described = describe(
        election,
        read_document(Manifest, manifest_file),
        [read_document(GuardianKey, path) for path in keys],
        quorum,
    )
    files = sorted(backups.glob("*.backup.json")) if backups else []
    found = [read_document(Backup, path) for path in files]
    rows = [(b.owner_id, b.designated_id, to_json(b).decode()) for b in found]

    async def put() -> bool:
        settings = load_settings()
        connection = await connect(settings)
        try:
            await migrate(connection)
        finally:
            await connection.close()
        async with tally(settings) as asked:
            return await asked.store.put_election(described, rows)

    if not run(put()):
        raise SettingsError(
            "There is an election of this id already; it stays as it is",
            where={"election": election},
            todo="Choose another id",
        )
    _say(f"{election}: {len(keys)} guardians, quorum {quorum}, {len(rows)} backups")


@app.command("admit")
def admit_ballots(
    election: ElectionArgument,
    file: Annotated[Path, typer.Argument(help="Submitted ballots, one JSON document a line.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Verify ballots with all their proofs, on every core, and keep those that verify.

    Ballots that are there already stay as they are. Exit code 3 if one is refused.

    Example: `scrutin tally admit mayor-2026 ballots.jsonl`
    """
    total = sum(1 for _ in _lines(file))

    async def work() -> Admission:
        settings = load_settings()
        async with tally(settings) as asked, Helpers(settings.helpers()) as helpers:
            described = await asked.store.election(election)
            with counting("verifying", total) as advance:
                return await admit(asked.store, helpers, described, _lines(file), advance=advance)

    outcome = run(work())
    if as_json:
        write_json(
            {
                "admitted": outcome.admitted,
                "repeated": outcome.repeated,
                "refused": outcome.refused,
            }
        )
    else:
        _say(f"{outcome.admitted:,} ballots admitted, {outcome.repeated:,} were there already")
        for reason in outcome.refused:
            _say(f"refused: {reason}")
    if outcome.refused:
        raise typer.Exit(ExitCode.DIFFERENT)


@app.command()
def create(
    election: ElectionArgument,
    *,
    mode: Annotated[
        Mode, typer.Option(help="`single` decrypts the product of all; `chunked` every chunk.")
    ] = Mode.SINGLE,
    chunk_size: Annotated[int, typer.Option(min=1, help="Ballots of a chunk.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """Tally the ballots that are in. Asking again changes nothing.

    Example: `scrutin tally create mayor-2026 && scrutin tally status mayor-2026 --watch`
    """

    async def ask(asked: Tally) -> dict[str, Any]:
        created = await asked.create(election, mode=mode, chunk_size=chunk_size)
        return {"jobId": str(created.job_id), "ballots": created.ballots, "success": True}

    answer = _ask(ask)
    if as_json:
        write_json(answer)
    else:
        _say(f"{answer['ballots']:,} ballots are to be tallied; job {answer['jobId']}")


@app.command()
def decrypt(
    election: ElectionArgument,
    guardians: Annotated[list[str], typer.Argument(help="Guardians whose secrets are sealed.")],
) -> None:
    """Let workers make these guardians' shares, once the tally is there.

    Example: `scrutin tally decrypt mayor-2026 ann bob`
    """

    async def ask(asked: Tally) -> None:
        for guardian in guardians:
            await asked.decrypt(election, guardian)

    _ask(ask)
    _say(f"Workers decrypt for {', '.join(guardians)}")


@app.command()
def combine(election: ElectionArgument) -> None:
    """Decrypt with the guardians that are there, once they are a quorum.

    Those that are there stand in for the others. With all guardians there it happens by itself.

    Example: `scrutin tally combine mayor-2026`
    """
    _ask(lambda asked: asked.combine(election))
    _say("It is combined as soon as the shares of a quorum are there")


@app.command()
def cancel(election: ElectionArgument) -> None:
    """Give out no more work of an election; `resume` goes on.

    Example: `scrutin tally cancel mayor-2026`
    """
    _ask(lambda asked: asked.cancel(election))


@app.command()
def resume(election: ElectionArgument) -> None:
    """Go on after a `cancel`, and try again what failed.

    Example: `scrutin tally resume mayor-2026`
    """
    _ask(lambda asked: asked.resume(election))


@app.command()
def status(
    election: Annotated[
        str | None, typer.Argument(help="The election; all active if none.")
    ] = None,
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Until the result is published.")] = False,
    as_json: JsonOption = False,
) -> None:
    """How far the jobs are.

    Examples:

        scrutin tally status

        scrutin tally status mayor-2026 --watch
    """

    async def look(asked: Tally) -> list[dict[str, Any]]:
        return await (asked.jobs(election) if election else asked.active_jobs())

    async def follow(asked: Tally) -> list[dict[str, Any]]:
        found = await look(asked)
        with Live(_bars(found), console=Console(stderr=True), transient=True) as live:
            while not _over(found):
                await asyncio.sleep(_WATCH_S)
                found = await look(asked)
                live.update(_bars(found))
        return found

    jobs = _ask(follow if watch else look)
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
            _say(f"{job['operationType']}: {job['errorMessage']}")


@app.command()
def results(election: ElectionArgument, as_json: JsonOption = False) -> None:
    """The published result.

    Example: `scrutin tally results mayor-2026`
    """
    published = _ask(lambda asked: asked.store.published(election))
    if published is None:
        raise SettingsError(
            "There is no result yet",
            where={"election": election},
            todo="`scrutin tally status` tells how far it is",
        )
    if as_json:
        write_json(published)
        return
    _show_counts(published)


@app.command()
def products(
    election: ElectionArgument,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where they go.")],
) -> None:
    """Write what guardians decrypt at home into a file.

    Example: `scrutin tally products mayor-2026 -o products.json`
    """

    async def collect(asked: Tally) -> ToDecrypt:
        described = await asked.store.election(election)
        count = await asked.store.count_centers(election)
        found = [await asked.store.center(election, unit) for unit in range(count)]
        return ToDecrypt(
            described.election_id,
            described.manifest,
            described.context,
            described.guardians,
            [
                Product(unit, from_json(list[EncryptedTally], center.tallies))
                for unit, center in enumerate(found)
            ],
        )

    given = _ask(collect)
    if not given.products:
        raise SettingsError(
            "There is nothing to decrypt yet",
            where={"election": election},
            todo="`scrutin tally create` first, and wait until it is completed",
        )
    write_document(given, output)
    _say(f"{output}: {len(given.products)} products")


@app.command()
def upload(file: Annotated[Path, typer.Argument(help="From `scrutin guardian decrypt`.")]) -> None:
    """Bring in shares that a guardian made at home; every proof is checked first.

    Example: `scrutin tally upload ann.shares.json`
    """
    shares = read_document(Shares, file)

    async def bring(asked: Tally) -> bool:
        complete = False
        for unit, own in shares.own.items():
            complete = await asked.upload(shares.election_id, unit, own)
        for unit, lists in shares.compensated.items():
            for parts in lists:
                await asked.upload_compensated(shares.election_id, unit, parts)
        return complete

    complete = _ask(bring)
    state = "complete" if complete else "not complete yet"
    _say(f"The shares of {shares.guardian} verify; they are {state}")


@app.command("export")
def export_record(
    election: ElectionArgument,
    record: Annotated[Path, typer.Argument(help="Folder for the record.")],
) -> None:
    """Write the election record: all that anybody needs to check the result.

    Example: `scrutin tally export mayor-2026 record/ && scrutin tally verify record/`
    """

    async def write(asked: Tally) -> None:
        count = await asked.store.count_ballots(election, CAST)
        count += await asked.store.count_ballots(election, SPOILED)
        with counting("writing ballots", count) as advance:
            await export(asked.store, election, record, advance=advance)

    _ask(write)
    _say(f"The record of {election} is in {record}")


@app.command("verify")
def verify_record(
    record: Annotated[Path, typer.Argument(help="Folder with the record.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Check a record from its files alone: every key, ballot, product, share and count.

    Needs no database and no service. Exit code 3, with the name of the check, if one fails.

    Example: `scrutin tally verify record/`
    """

    async def check() -> Verified:
        async with Helpers(load_settings().helpers()) as helpers:
            with counting("verifying ballots", total) as advance:
                return await verify(record, helpers, advance=advance)

    total = sum(1 for _ in _lines(record / "ballots.jsonl"))
    try:
        found = run(check())
    except Refused as refused:
        if as_json:
            write_json({"verified": False, "check": refused.check, "error": str(refused)})
        else:
            _say(f"The record does NOT verify: {refused}")
        raise typer.Exit(ExitCode.DIFFERENT) from refused
    if as_json:
        write_json(
            {
                "verified": True,
                "electionId": found.election_id,
                "guardians": found.guardians,
                "quorum": found.quorum,
                "cast": found.cast,
                "spoiled": found.spoiled,
                "tallies": found.tallies,
                "counts": found.counts,
            }
        )
        return
    _say(
        f"The record of {found.election_id} verifies: {found.guardians} guardians (quorum"
        f" {found.quorum}), {found.cast:,} cast and {found.spoiled:,} spoiled ballots,"
        f" {found.tallies:,} decrypted tallies"
    )


@app.command()
def demo(
    *,
    ballots: Annotated[int, typer.Option(min=1, help="Ballots to cast.")] = 60,
    candidates: Annotated[int, typer.Option(min=2, max=50, help="Candidates.")] = 4,
    chunk_size: Annotated[int, typer.Option(min=1, help="Ballots of a chunk.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Other seed, other votes.")] = 1,
) -> None:
    """Hold a small encrypted election on services of its own, and prove the count.

    Three guardians, one of them absent; two workers, one of them killed on the way. Exit code 3
    if result, record and the votes before encryption differ.

    Example: `scrutin tally demo --ballots 200`
    """
    settings = load_settings()
    configure_logging("ERROR", settings.log_format)
    plan = Plan(ballots, max(1, ballots // 30), candidates, chunk_size, seed)
    show = TallyDemo(
        settings.stack_dir / "demo-tally", plan, say=lambda step, text: _say(f"{step:<10} {text}")
    )

    async def play() -> Outcome:
        async with show.services():
            return await show.run()

    outcome = run(play())
    _show_counts(outcome.published)
    if not outcome.good:
        _say("The result is NOT the count of the votes before encryption")
        raise typer.Exit(ExitCode.DIFFERENT)
    _say("The result is the count of the votes before encryption, and its record verifies")


def _ask(question: Any) -> Any:
    async def ask() -> Any:
        async with tally(load_settings()) as asked:
            return await question(asked)

    return run(ask())


def _lines(file: Path) -> Iterator[bytes]:
    try:
        with file.open("rb") as lines:
            yield from lines
    except OSError as error:
        raise SettingsError(
            f"A file cannot be read: {error.strerror}", where={"file": file}
        ) from error


def _over(jobs: list[dict[str, Any]]) -> bool:
    """Whether the result is published, or nothing goes on without somebody's help."""
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
    _say(
        f"{shown['total_valid_ballots']:,} ballots counted, {shown['total_spoiled_ballots']:,}"
        " spoiled"
    )


def _say(text: str) -> None:
    console().print(plain(text))
