"""`scrutin tally verify`: a record, checked from its files alone."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from streams.cli.show import JsonOption, counting, run, write_json
from streams.cli.tally.group import app, say
from streams.errors import ExitCode
from streams.settings.load import load_settings
from streams.tally.helpers import Helpers
from streams.tally.record import Verified, verify
from streams.tally.record_files import NotARecord, open_record
from streams.tally.refusals import Refused
from streams.tally.second.files import SecondFiles, open_second
from streams.tally.second.verify import NAMES, SecondVerified, verify_second
from streams.tally.steps import StepOutcome, StepResult, Steps
from streams.tally.zipped import unpacked


@app.command("verify")
def verify_record(
    record: Annotated[Path, typer.Argument(help="Folder with the record, or it zipped.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Verify a record from its files alone: every key, ballot, product, share and count.

    Reads records of `scrutin tally export`, of ElectionGuard 1.0 and 1.1 as published, and of
    ElectionGuard 2 in the JSON files of egk-ec. Needs no database and no service. Shows the outcome
    of each verification step, numbered as in the specification. Exit code 3, with the name of the
    check, if one fails; 15 if it is no such record.

    Example: `scrutin tally verify record/`
    """
    steps = Steps()
    try:
        with unpacked(record) as folder:
            second = open_second(folder)
            if second is not None:
                steps = Steps(NAMES)
                found: Verified | SecondVerified = _second(second, steps)
            else:
                found = run(_first(folder, steps))
    except Refused as refused:
        known = not isinstance(refused, NotARecord)
        if as_json:
            write_json(
                {
                    "verified": False,
                    "record": known,
                    "check": refused.check,
                    "error": str(refused),
                    "steps": [asdict(each) for each in steps.results()] if known else [],
                }
            )
        else:
            say_steps(steps.results() if known else [])
            say(f"{'The record does NOT verify' if known else 'Not verified'}: {refused}")
        raise typer.Exit(ExitCode.DIFFERENT if known else refused.exit_code) from refused
    if as_json:
        write_json(_document(found) | {"steps": [asdict(each) for each in steps.results()]})
        return
    say_steps(steps.results())
    for note in found.notes:
        say(note)
    say(_summary(found))


async def _first(folder: Path, steps: Steps) -> Verified:
    total = sum(1 for _ in open_record(folder).ballots())
    async with Helpers(load_settings().helpers()) as helpers:
        with counting("verifying ballots", total) as advance:
            return await verify(folder, helpers, advance=advance, steps=steps)


def _second(files: SecondFiles, steps: Steps) -> SecondVerified:
    with counting("verifying ballots", files.count()) as advance:
        return verify_second(files, steps, processes=load_settings().helpers(), advance=advance)


def _document(found: Verified | SecondVerified) -> dict[str, object]:
    shown: dict[str, object] = {
        "verified": True,
        "electionId": found.election_id,
        "guardians": found.guardians,
        "quorum": found.quorum,
        "cast": found.cast,
        "spoiled": found.spoiled,
        "counts": found.counts,
        "notes": found.notes,
    }
    if isinstance(found, Verified):
        shown |= {"tallies": found.tallies, "ballotsHead": found.head}
    return shown


def _summary(found: Verified | SecondVerified) -> str:
    more = (
        f", {found.tallies:,} decrypted tallies, head of the ballots {found.head}"
        if isinstance(found, Verified)
        else ""
    )
    return (
        f"The record of {found.election_id} verifies: {found.guardians} guardians (quorum"
        f" {found.quorum}), {found.cast:,} cast and {found.spoiled:,} spoiled ballots{more}"
    )


def say_steps(steps: list[StepResult]) -> None:
    """One line a step: number, outcome, name, and why."""
    for each in steps:
        why = f" ({each.note})" if each.note and each.outcome != StepOutcome.FAIL else ""
        say(f"{each.step:2}  {each.outcome:14}  {each.name}{why}")
