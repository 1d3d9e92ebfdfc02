"""Publish a count: everything that a stranger needs to check it, from one moment, in one folder."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import asyncpg
import msgspec

from schemas.codec import decode_verdicts
from schemas.control import Conduct, ContestKind
from streams.adapters.kafka.view import LogView, Span
from streams.adapters.postgres.connection import connected, migrated
from streams.core.contests import kind_of
from streams.core.leaves import secret_of
from streams.core.records import poisoning
from streams.core.topics import VALIDATED_TOPIC
from streams.elections.contest_store import choice_names
from streams.elections.definitions import Definitions
from streams.elections.published import (
    PublishedContest,
    conduct_fields,
    of_choices,
    of_election,
)
from streams.elections.store import BALLOTS_BY_REGION, find, read_definitions
from streams.errors import REBUILD_VALIDATED, LogMismatch, SettingsError
from streams.inspect.export import Format, open_writer
from streams.maintenance.guard import Bars
from streams.proof.bundle import BundleFolder, LeafWriter
from streams.proof.bundle_readme import SCHEMA, readme
from streams.proof.checkpoints import Checkpoint
from streams.proof.notes import Verifier
from streams.proof.store import latest_checkpoint
from streams.settings.configs import DeploymentConfig
from streams.settings.processes import TallyConfig

if TYPE_CHECKING:
    from streams.tally.store import TallyStore

_NOTES: Final = "SELECT size, note FROM proof_checkpoints WHERE size <= $1 ORDER BY size"
_STARTS: Final = "SELECT partition, start_offset FROM proof_starts"
_CONTESTS: Final = """
SELECT c.contest_id, c.kind, c.title, c.state, c.choices, c.opens_at, c.closes_at, c.conduct,
    coalesce(f.enforced, false) AS enforced
FROM contests AS c LEFT JOIN contest_finals AS f USING (contest_id) ORDER BY c.contest_id
"""
PUBLIC: Final = "public"
WITHHELD: Final = "withheld"
_ROWS: Final = 10_000
"""Leaves that are written to a Parquet file at once."""


@dataclass(frozen=True)
class BundlePlan:
    """What to publish, and how."""

    public: frozenset[str] = frozenset()
    """Contests whose votes are public: their leaves are opened."""
    public_laws: bool = False
    """Whether all laws are public."""
    key: Verifier | None = None
    """The first key of the log; None: the one in the first checkpoint."""
    witnesses: tuple[Verifier, ...] = ()
    parquet: bool = False
    """Whether to add the rows as Parquet files."""
    tallies: tuple[str, ...] = ()
    """Encrypted elections whose records belong to it."""


@dataclass
class WrittenBundle:
    """A bundle that was written."""

    folder: Path
    manifest_sha256: str = ""
    checkpoints: int = 0
    leaves: int = 0
    contests: int = 0
    hidden: list[str] = field(default_factory=list)
    """Contests of which nothing is shown yet."""


@dataclass
class Publishing:
    """Writes bundles.

    Args:
        config: of this deployment.
        bars: shows progress.
        what: to publish.
        tally: of encrypted elections, if any is published.
    """

    config: DeploymentConfig
    bars: Bars
    what: BundlePlan
    tally: TallyConfig | None = None

    async def run(self, path: Path) -> WrittenBundle:
        """Write a bundle into a new folder.

        Raises:
            LogMismatch: log and signed trees differ.
            SettingsError: there is no checkpoint, or its first key is not known.
            ScrutinError: the folder exists.
            ServiceUnavailable: a service does not answer.
        """
        with BundleFolder(path) as folder:
            return await self._write(folder, WrittenBundle(path))

    async def _write(self, folder: BundleFolder, done: WrittenBundle) -> WrittenBundle:
        async with connected(self.config.postgres) as connection:
            with migrated("checkpoints", self.config.postgres.where()):
                last = await latest_checkpoint(connection)
            if last is None:
                raise SettingsError(
                    "There is no signed checkpoint", todo="`scrutin audit checkpoint` signs one"
                )
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                first, named = await self._notes(connection, folder, last)
                starts = {row[0]: row[1] for row in await connection.fetch(_STARTS)}
                contests = await _contests(connection, last, self.what, named)
        done.checkpoints, done.contests = last.size, len(contests)
        done.hidden = sorted(last.statement.hidden)
        witnesses = [key.text for key in self.what.witnesses]
        folder.document("keys.json", {"log": [first.text], "witnesses": witnesses})
        folder.document("contests.json", [each.about for each in contests])
        shown = {each.about["contest"]: each for each in contests if each.result}
        folder.document("results.json", {name: each.result for name, each in shown.items()})
        for number, each in enumerate(contests):
            if each.result:
                self._rows(folder, f"openings/{number}", each)
        public = frozenset(
            each.about["contest"] for each in contests if each.about["openings"] == PUBLIC
        )
        done.leaves = await self._leaves(folder, last, starts, public)
        for election in self.what.tallies:
            await self._tally(folder, election)
        folder.document("schema.json", SCHEMA)
        folder.text("README.md", readme(last, [each.about for each in contests]))
        done.manifest_sha256 = folder.manifest(
            {
                "origin": last.origin,
                # To the day: it says nothing about when the last votes came.
                "created": f"{datetime.now(UTC):%Y-%m-%d}",
                "software": f"scrutin {version('scrutin')}",
                "begins": {str(p): offset for p, offset in starts.items() if offset > 0},
            }
        )
        return done

    async def _tally(self, folder: BundleFolder, election: str) -> None:
        from streams.tally.commands import tally  # noqa: PLC0415 - needed for such elections only

        assert self.tally is not None
        async with tally(self.tally) as asked:
            await add_record(asked.store, folder, election, self.bars)

    async def _notes(
        self, connection: asyncpg.Connection, folder: BundleFolder, last: Checkpoint
    ) -> tuple[Verifier, set[str]]:
        """Write all checkpoints; returns the first key, and the contests with votes in any.

        Before a reset there may have been others.
        """
        first: Checkpoint | None = None
        named: set[str] = set()
        with folder.lines("checkpoints.jsonl") as out:
            async for row in connection.cursor(_NOTES, last.size):
                checkpoint = Checkpoint.parse(row["note"])
                first = first or checkpoint
                named |= {contest for contest, _ in checkpoint.statement.totals}
                out.write({"size": row["size"], "note": row["note"]})
        assert first is not None
        keys = [self.what.key] if self.what.key else first.statement.keys
        for key in keys:
            if first.note.signed_by(key) is not None:
                return key, named
        raise SettingsError(
            "The key that signed the first checkpoint is not known",
            where={"origin": first.origin},
            todo="Name it: --key with what `scrutin audit key` printed",
        )

    async def _leaves(
        self,
        folder: BundleFolder,
        last: Checkpoint,
        starts: dict[int, int],
        public: frozenset[str],
    ) -> int:
        total = 0
        secret = secret_of(self.config.proof_secret)
        size = sum(tree.offset + 1 for tree in last.statement.trees)
        async with LogView(self.config.kafka.servers) as view:
            spans = await view.spans(VALIDATED_TOPIC)
            with self.bars("writing leaves", size) as advance:
                for tree in last.statement.trees:
                    span = spans[tree.partition]
                    _check_begin(tree.partition, span)
                    with folder.lines(f"leaves/{tree.partition}.jsonl") as out:
                        writer = LeafWriter(
                            tree,
                            out,
                            secret=secret,
                            public=public,
                            start=starts.get(tree.partition, 0),
                        )
                        await _copy(view, tree.partition, span, writer, advance)
                        total += writer.end()
                    if self.what.parquet:
                        _parquet(folder, f"leaves/{tree.partition}")
        return total

    def _rows(self, folder: BundleFolder, name: str, each: PublishedContest) -> None:
        with folder.lines(f"{name}.jsonl") as out:
            out.write(*each.rows)
        if self.what.parquet:
            _parquet(folder, name)


async def add_record(store: TallyStore, folder: BundleFolder, election: str, bars: Bars) -> None:
    """Add the record of an encrypted election to a bundle.

    Raises:
        Refused: it has no published result yet.
    """
    # Only those who publish such an election need its packages.
    from streams.tally.record import export  # noqa: PLC0415
    from streams.tally.store import CAST, SPOILED  # noqa: PLC0415

    name = f"tally/{quote(election, safe='')}"
    count = await store.count_ballots(election, CAST)
    count += await store.count_ballots(election, SPOILED)
    with bars(f"writing ballots of {election}", count) as advance:
        await export(store, election, folder.file(name), advance=advance)
    folder.add(name)


def _check_begin(partition: int, span: Span) -> None:
    if span.begin:
        raise LogMismatch(
            f"The topic begins at offset {span.begin}; earlier records are gone",
            where={"topic": VALIDATED_TOPIC, "partition": partition},
            todo=REBUILD_VALIDATED,
        )


async def _copy(
    view: LogView, partition: int, span: Span, writer: LeafWriter, advance: Any
) -> None:
    reading = view.read(VALIDATED_TOPIC, {partition: span}, advance)
    async with aclosing(reading) as batches:  # type: ignore[type-var]
        async for records in batches:
            for record in records:
                with poisoning(VALIDATED_TOPIC, partition, record.offset):
                    verdicts = decode_verdicts(record.value or b"")
                    writer.add(verdicts)
            if writer.complete:
                return


def _parquet(folder: BundleFolder, name: str) -> None:
    """The same rows as in a file of lines, as Parquet."""
    lines, file = folder.file(f"{name}.jsonl"), folder.file(f"{name}.parquet")
    with lines.open("rb") as rows:
        first = rows.readline()
        if not first:
            return
        # Leaves of one partition may be open in one contest and closed in another.
        columns = {key: type(value) for key, value in msgspec.json.decode(first).items()}
        if "commitment" in columns:
            columns |= {"salt": str, "opening": str}
        rows.seek(0)
        with open_writer(file, Format.PARQUET, columns) as out:
            while batch := [msgspec.json.decode(line) for line in _some(rows)]:
                out.write([{key: row.get(key) for key in columns} for row in batch])
    folder.add(f"{name}.parquet")


def _some(lines: Any) -> Sequence[bytes]:
    return [line for line, _ in zip(lines, range(_ROWS), strict=False)]


async def _contests(
    connection: asyncpg.Connection, last: Checkpoint, what: BundlePlan, named: set[str]
) -> list[PublishedContest]:
    """All announced contests, and those that are named."""
    definitions = await read_definitions(connection)
    rows = {row["contest_id"]: row for row in await connection.fetch(_CONTESTS)}
    named = named | set(rows)
    if unknown := what.public - named:
        raise SettingsError(
            "There is no such contest", where={"contest": min(unknown)}, todo="See `contest list`"
        )
    contests = []
    for name in sorted(named | set(last.statement.hidden)):
        opened = name in what.public or (what.public_laws and kind_of(name) is ContestKind.LAW)
        row = rows.get(name)
        contests.append(await _contest(connection, definitions, last, name, row, opened=opened))
    return contests


async def _contest(
    connection: asyncpg.Connection,
    definitions: Definitions,
    last: Checkpoint,
    name: str,
    row: asyncpg.Record | None,
    *,
    opened: bool,
) -> PublishedContest:
    conduct = Conduct()
    about: dict[str, Any] = {
        "contest": name,
        "kind": str(kind_of(name)),
        "title": name if row is None else row["title"],
        "state": None if row is None else row["state"],
        "opens_at": None if row is None else _at(row["opens_at"]),
        "closes_at": None if row is None else _at(row["closes_at"]),
        "choices": None if row is None else row["choices"],
        "enforced": row is not None and row["enforced"],
        "openings": PUBLIC if opened else WITHHELD,
    }
    if row is not None and row["conduct"] is not None:
        conduct = msgspec.json.decode(row["conduct"], type=Conduct)
    about |= {"conduct": conduct_fields(conduct), "names": await choice_names(connection, name)}
    statement = last.statement
    totals = {choice: n for (of, choice), n in statement.totals.items() if of == name}
    final = bool(about["enforced"]) and last.is_final(name)
    election = find(definitions, name)
    if name in statement.hidden:
        if election is None or election.contest != name:
            return PublishedContest(of_choices(about, {}, final=False).about, {}, {})
        hidden = of_election(about, definitions, election, [], final=False)
        return PublishedContest(hidden.about, {}, {})
    if election is None or election.contest != name:
        return of_choices(about, totals, final=final)
    ballots = [(row[0], row[1], row[2]) for row in await connection.fetch(BALLOTS_BY_REGION, name)]
    if _sums(ballots) != totals:
        # The count went on: these are the totals that were signed, without regions.
        ballots = [(choice, None, votes) for choice, votes in totals.items()]
    return of_election(about, definitions, election, ballots, final=final)


def _sums(ballots: Sequence[tuple[str, str | None, int]]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for choice, _, votes in ballots:
        sums[choice] = sums.get(choice, 0) + votes
    return sums


def _at(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat()
