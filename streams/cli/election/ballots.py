"""`scrutin election ballots`: ballot files of other programs as votes, line by line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from streams.adapters.postgres.connection import connected
from streams.cli.show import JsonOption, console, counting, facts, plain, run, write_json
from streams.cli.values import MAX_NUMBER, contest_name
from streams.elections.definitions import Definitions, ElectionDefinition
from streams.elections.files.formats import BallotFormat, digest_of, open_ballots
from streams.elections.files.items import (
    BallotFile,
    FileBallot,
    FileRefused,
    LineAccount,
    NoBallot,
    RefusedLine,
)
from streams.elections.files.publish import publish_votes
from streams.elections.files.votes import FileVote, Names, Source, match, votes_of
from streams.elections.store import named, read_definitions
from streams.errors import ExitCode, SettingsError
from streams.settings.load import load_settings
from streams.settings.model import Settings
from streams.settings.queues import AGGREGATION

_SHOWN: Final = 20
_STEP: Final = 1000
"""Ballots between two movements of the progress bar."""


@dataclass
class _Import:
    """One file on its way into the queue."""

    path: Path
    reader: BallotFile
    names: Names
    election: ElectionDefinition
    region: int | None
    source: Source
    account: LineAccount = field(default_factory=LineAccount)
    """Of the latest pass."""

    def votes(
        self, on_refused: Callable[[RefusedLine], None], from_row: int = 1
    ) -> Iterator[FileVote]:
        """The votes of each line; counts lines and reports those that are refused."""
        self.account = LineAccount()
        for item in self.reader.items():
            if not isinstance(item, FileBallot):
                self.account.add(item)
                if isinstance(item, RefusedLine):
                    on_refused(item)
                continue
            try:
                votes = votes_of(item, self.names, self.election, self.source, self.region)
                first = next(votes)
            except NoBallot as fault:
                refused = RefusedLine(item.row, str(fault))
                self.account.add(refused)
                on_refused(refused)
                continue
            self.account.add(item)
            if item.row >= from_row:
                yield first
                yield from votes

    def shown(self, sent: int, refused: list[RefusedLine]) -> dict[str, Any]:
        """The account as a JSON object."""
        return {
            "file": str(self.path),
            "sha256": self.source.sha256,
            **asdict(self.account),
            "votes_sent": sent,
            "refused_lines": [asdict(line) for line in refused],
        }


def command(
    election: Annotated[
        str,
        typer.Argument(metavar="ELECTION", callback=contest_name, help="Its id, code or contest."),
    ],
    files: Annotated[
        list[Path], typer.Argument(help="Ballot files; a folder holds Hart's records.")
    ],
    *,
    form: Annotated[
        BallotFormat | None, typer.Option("--format", help="Otherwise by the file's name.")
    ] = None,
    contest: Annotated[
        str | None, typer.Option(help="Id or name of the contest, in a file with several.")
    ] = None,
    candidate: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=ID", help="What the file calls a candidate; repeatable."),
    ] = None,
    region: Annotated[
        str | None,
        typer.Option(help="Id or code of the region where they were cast."),
    ] = None,
    queue: Annotated[
        str,
        typer.Option(help="votes.aggregation (nobody asks the roll), or votes.validation."),
    ] = AGGREGATION,
    from_row: Annotated[
        int, typer.Option(min=1, max=MAX_NUMBER, help="Send from this line on.")
    ] = 1,
    without_refused: Annotated[
        bool, typer.Option("--without-refused", help="Send the others although lines are refused.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read and check; send nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Send the ballots of files as votes of an election.

    Formats: BLT, PrefLib, CSV with a column for each rank, NIST SP 1500-103 JSON, exports of
    Dominion's and Hart's form. Every line is a ballot, a comment, or refused and named. If one is
    refused, nothing is sent, unless --without-refused. A ballot counts once, however often its
    file is sent.

    Example: `scrutin election ballots 1 ward5.blt --dry-run`
    """
    settings = load_settings()
    given = dict(_pair(text) for text in candidate or ())
    definitions = run(_definitions(settings))
    chosen = named(definitions, election)
    standing = definitions.standing(chosen.id)
    imports = []
    for path in files:
        reader = open_ballots(path, form, contest)
        names = match(reader.layout(), standing, given)
        source = Source(path.name, digest_of(path))
        region_id = _region(definitions, region)
        imports.append(_Import(path, reader, names, chosen, region_id, source))
    refused = {one.source.sha256: _check(one) for one in imports}
    send = not dry_run and (without_refused or not any(refused.values()))
    documents = [
        one.shown(_send(settings, one, queue, from_row) if send else 0, refused[one.source.sha256])
        for one in imports
    ]
    if as_json:
        write_json(documents)
    else:
        for document in documents:
            _show(document)
    if any(refused.values()) and not without_refused:
        sys.exit(ExitCode.FAILED)


def _check(one: _Import) -> list[RefusedLine]:
    refused: list[RefusedLine] = []
    with counting(f"reading {one.path.name}", None) as advance:
        votes = one.votes(refused.append)
        while read := sum(1 for _ in islice(votes, _STEP)):
            advance(read)
    return refused


def _send(settings: Settings, one: _Import, queue: str, from_row: int) -> int:
    with counting(f"sending {one.path.name}", one.account.ballots) as advance:
        votes = one.votes(lambda _: None, from_row)
        return run(
            publish_votes(
                settings.rabbit, settings.queues.deployed.get(queue, queue), votes, advance
            )
        )


def _show(document: dict[str, Any]) -> None:
    table = facts()
    for name in ("file", "sha256"):
        table.add_row(name, plain(document[name]))
    for name in ("lines", "ballot_lines", "comments", "refused", "ballots", "votes_sent"):
        table.add_row(name.replace("_", " "), f"{document[name]:,}")
    console().print(table)
    for line in document["refused_lines"][:_SHOWN]:
        console().print(plain(f"line {line['row']}: {line['why']}"))
    more = len(document["refused_lines"]) - _SHOWN
    if more > 0:
        console().print(f"and {more:,} more; --json names all")


async def _definitions(settings: Settings) -> Definitions:
    async with connected(settings.postgres) as connection:
        return await read_definitions(connection)


def _pair(text: str) -> tuple[str, str]:
    name, _, number = text.rpartition("=")
    if not name or not number:
        raise SettingsError(f"{text!r} is not NAME=ID", todo="Write --candidate 'Ann Lee=7'")
    return name, number


def _region(definitions: Definitions, name: str | None) -> int | None:
    if name is None:
        return None
    found = [r.id for r in definitions.regions.values() if name in {str(r.id), r.code}]
    if len(found) != 1:
        raise FileRefused(f"There is no region {name!r}, or several")
    return found[0]
