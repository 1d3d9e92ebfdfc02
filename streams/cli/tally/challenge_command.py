"""`scrutin tally challenge`: what a device encrypted, checked on another one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streams.cli.show import JsonOption, write_json
from streams.cli.tally.group import app, say
from streams.errors import ExitCode
from streams.tally.challenge import Challenge, Definition, verify_challenge
from streams.tally.crypto.ceremony import GuardianKey
from streams.tally.crypto.documents import from_json
from streams.tally.crypto.election import Context, CryptoElection
from streams.tally.crypto.group import to_hex
from streams.tally.crypto.manifest import Manifest
from streams.tally.files import read_document
from streams.tally.record_files import open_record
from streams.tally.refusals import RefusalCheck, Refused


@app.command("challenge")
def check_challenge(
    file: Annotated[Path, typer.Argument(help="The file of the challenged ballot.")],
    election: Annotated[
        Path,
        typer.Argument(
            help="The election: a folder with its record, or what"
            " `GET /api/tallies/ELECTION/definition` answered."
        ),
    ],
    *,
    code: Annotated[
        str, typer.Option(help="The tracking code that the device showed; blanks do not matter.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Check a challenged ballot: its tracking code, its proofs, and what it holds.

    Use it on another device than the one that encrypted the ballot, with a definition that you did
    not get through that device. Compare what it prints with what was chosen. Needs no service. Exit
    code 3, with the name of the check, if something does not hold.

    Example: `scrutin tally challenge challenge-1234ABCD.json definition.json --code 1234ABCD…`
    """
    try:
        opened = verify_challenge(*_read(file, election, "".join(code.split())))
    except Refused as refused:
        if as_json:
            write_json({"verified": False, "check": refused.check, "error": str(refused)})
        else:
            say(f"The ballot does NOT hold what it should: {refused}")
        raise typer.Exit(ExitCode.DIFFERENT) from refused
    if as_json:
        write_json({"verified": True, "choices": opened})
        return
    for contest, names in opened.items():
        say(f"{contest}: {', '.join(names) or 'nobody'}")
    say("The tracking code and all proofs are right. Is this what was chosen?")


def _read(file: Path, election: Path, code: str) -> tuple[Challenge, CryptoElection]:
    challenge = read_document(Challenge, file)
    if to_hex(challenge.ballot.code).lower() != code.lower():
        raise Refused(
            RefusalCheck.CODE,
            "the tracking code is not that of this ballot",
            where={"code": to_hex(challenge.ballot.code)},
        )
    if election.is_dir():
        described = open_record(election).described
        definition = Definition(
            from_json(Manifest, described.manifest),
            from_json(Context, described.context),
            from_json(list[GuardianKey], described.guardians),
        )
    else:
        definition = read_document(Definition, election)
    return challenge, definition.checked()
