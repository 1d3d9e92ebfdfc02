"""`scrutin tally`: commands that import or export files."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from streams.cli.show import JsonOption, counting, run, write_json
from streams.cli.tally.group import ElectionArgument, app, ask, lines_of, say
from streams.cli.values import MAX_NUMBER
from streams.errors import ExitCode, SettingsError
from streams.settings.build import tally_config
from streams.settings.load import load_settings
from streams.tally.admission import Admission, admit
from streams.tally.collecting import Collected
from streams.tally.collecting import collect as collect_votes
from streams.tally.commands import TallyCommands, tally
from streams.tally.crypto.ballots import submitted
from streams.tally.crypto.ceremony import Backup, GuardianKey
from streams.tally.crypto.documents import to_json
from streams.tally.crypto.manifest import Manifest, plain_manifest
from streams.tally.files import (
    Shares,
    ToDecrypt,
    ballots_beside,
    describe,
    read_document,
    write_document,
)
from streams.tally.helpers import Helpers
from streams.tally.published_layout import write_published
from streams.tally.record import export, products_of, write_ballots
from streams.tally.store import CAST, SPOILED


class RecordLayout(StrEnum):
    """How the files of a record are called."""

    SCRUTIN = "scrutin"
    ELECTIONGUARD = "electionguard-1.1"


@app.command()
def manifest(
    election: ElectionArgument,
    contests: Annotated[
        list[str], typer.Argument(help="CONTEST=CANDIDATE,CANDIDATE,… for each question.")
    ],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="File for the manifest.")],
    elect: Annotated[
        int, typer.Option(min=1, max=MAX_NUMBER, help="Number of choices in each.")
    ] = 1,
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
    manifest_file: Annotated[
        Path, typer.Argument(metavar="MANIFEST", help="The election's manifest.")
    ],
    keys: Annotated[list[Path], typer.Argument(help="All guardians' NAME.public.json.")],
    *,
    quorum: Annotated[
        int, typer.Option(min=1, max=MAX_NUMBER, help="Number of guardians required to decrypt.")
    ],
    backups: Annotated[
        Path | None, typer.Option(help="Folder with the guardians' backups.")
    ] = None,
) -> None:
    """Store an election in the database: manifest, guardians' keys and encrypted backups.

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
        async with tally(tally_config(load_settings())) as asked:
            return await asked.store.put_election(described, rows)

    if not run(put()):
        raise SettingsError(
            "An election with this id exists already; it is unchanged",
            where={"election": election},
            todo="Choose another id",
        )
    say(f"{election}: {len(keys)} guardians, quorum {quorum}, {len(rows)} backups")


@app.command("admit")
def admit_ballots(
    election: ElectionArgument,
    file: Annotated[
        Path, typer.Argument(help="Submitted ballots, one a line: JSON, or Base64 of MessagePack.")
    ],
    *,
    cast: Annotated[
        bool,
        typer.Option(
            "--cast",
            help="Ballots that do not say whether they were cast or spoiled were cast: deployed"
            " services keep that beside the ballot.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Verify ballots with all their proofs, on every core, and store the valid ones.

    Ballots that are already stored stay unchanged. Exit code 3 if one is refused.

    Example: `scrutin tally admit mayor-2026 ballots.jsonl`
    """
    total = sum(1 for _ in lines_of(file))

    async def work() -> Admission:
        settings = load_settings()
        async with tally(tally_config(settings)) as asked, Helpers(settings.helpers()) as helpers:
            described = await asked.store.election(election)
            with counting("verifying", total) as advance:
                ballots = (submitted(line, cast=cast) for line in lines_of(file))
                return await admit(asked.store, helpers, described, ballots, advance=advance)

    outcome = run(work())
    said = f"{outcome.admitted:,} ballots admitted, {outcome.repeated:,} were already stored"
    _show(outcome, said, as_json=as_json)


@app.command()
def collect(election: ElectionArgument, *, as_json: JsonOption = False) -> None:
    """Admit encrypted ballots that arrived as votes and were counted.

    These are votes in ELECTION whose choice is `encrypted` and whose message has a field
    `encrypted_ballot` with the ballot's JSON as text. Each is verified once, with all its proofs.
    Exit code 3 if one is refused.

    Example: `scrutin tally collect mayor-2026 && scrutin tally create mayor-2026`
    """

    async def work() -> Collected:
        settings = load_settings()
        async with tally(tally_config(settings)) as asked, Helpers(settings.helpers()) as helpers:
            described = await asked.store.election(election)
            total = await asked.store.count_uncollected(election)
            with counting("verifying", total) as advance:
                return await collect_votes(asked.store, helpers, described, advance=advance)

    outcome = run(work())
    said = f"The ballots of {outcome.admitted:,} votes are admitted"
    _show(outcome, said, as_json=as_json)


def _show(outcome: Admission | Collected, said: str, *, as_json: bool) -> None:
    if as_json:
        write_json(asdict(outcome))
    else:
        say(said)
        for reason in outcome.refused:
            say(f"refused: {reason}")
    if outcome.refused:
        raise typer.Exit(ExitCode.DIFFERENT)


@app.command()
def products(
    election: ElectionArgument,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="File for the products.")],
) -> None:
    """Export the products for guardians to decrypt offline, and the ballots that they check.

    The ballots are in a second file: OUTPUT with `.ballots.jsonl` in place of `.json`.

    Example: `scrutin tally products mayor-2026 -o products.json`
    """
    ballots = ballots_beside(output)

    async def collect(asked: TallyCommands) -> tuple[ToDecrypt, str | None]:
        given = await products_of(asked.store, election)
        count = await asked.store.count_ballots(election, CAST)
        count += await asked.store.count_ballots(election, SPOILED)
        with counting("writing ballots", count) as advance:
            await write_ballots(asked.store, election, ballots, advance=advance)
        return given, await asked.store.ballots_head(election)

    given, head = ask(collect)
    if not given.products:
        raise SettingsError(
            "There is nothing to decrypt yet",
            where={"election": election},
            todo="`scrutin tally create` first, and wait until it is completed",
        )
    write_document(given, output)
    say(f"{output}: {len(given.products)} products; {ballots}: the ballots, head {head}")


@app.command()
def upload(file: Annotated[Path, typer.Argument(help="From `scrutin guardian decrypt`.")]) -> None:
    """Import shares that a guardian computed offline; every proof is checked first.

    Example: `scrutin tally upload ann.shares.json`
    """
    shares = read_document(Shares, file)

    async def bring(asked: TallyCommands) -> bool:
        complete = False
        for unit, own in shares.own.items():
            complete = await asked.upload(shares.election_id, unit, own)
        for unit, lists in shares.compensated.items():
            for parts in lists:
                await asked.upload_compensated(shares.election_id, unit, parts)
        return complete

    complete = ask(bring)
    state = "complete" if complete else "not complete yet"
    say(f"The shares of {shares.guardian} verify; they are {state}")


@app.command("export")
def export_record(
    election: ElectionArgument,
    record: Annotated[Path, typer.Argument(help="Folder for the record.")],
    *,
    layout: Annotated[
        RecordLayout, typer.Option(help="Scrutin's, or the one that other verifiers read.")
    ] = RecordLayout.SCRUTIN,
) -> None:
    """Export the election record: all that anyone needs to verify the result.

    Example: `scrutin tally export mayor-2026 record/ && scrutin tally verify record/`
    """

    async def write(asked: TallyCommands) -> None:
        count = await asked.store.count_ballots(election, CAST)
        count += await asked.store.count_ballots(election, SPOILED)
        with counting("writing ballots", count) as advance:
            if layout == RecordLayout.SCRUTIN:
                await export(asked.store, election, record, advance=advance)
                return
            record.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=record.parent, prefix=".record-") as folder:
                await export(asked.store, election, Path(folder), advance=advance)
                write_published(Path(folder), record)

    ask(write)
    say(f"The record of {election} is in {record}")
