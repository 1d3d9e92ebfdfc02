"""Tally workers on the real stack, with an election whose ballots are in."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from streams.adapters.kafka.reader import LogReader
from streams.adapters.postgres.migrations import migrate
from streams.devstack import Stack
from streams.load.programs import Program, bridge, child_environment, worker
from streams.settings.load import load_settings
from streams.settings.model import Settings
from streams.tally.admission import Admission, admit
from streams.tally.commands import TallyCommands
from streams.tally.crypto.ceremony import make_backup
from streams.tally.crypto.documents import to_json
from streams.tally.crypto.manifest import Manifest, plain_manifest
from streams.tally.helpers import Helpers
from streams.tally.sealing import make_key_file, public_key, seal
from streams.tally.topics import EVENTS_TOPIC, TASKS_TOPIC, jobs_changelog
from streams.tally.work import DescribedElection
from tests.harness import database, until, wipe
from tests.small_election import SmallElection, Voting, make_election

APP_ID = "tally-test"


class TallyHarness:
    """A wiped stack, a tally to ask, and workers to run."""

    def __init__(self, stack: Stack, directory: Path) -> None:
        self.stack = stack
        self.directory = directory
        self.key_file = directory / "workers.key"
        self.env = child_environment(
            stack.env(),
            SCRUTIN_APP_ID=APP_ID,
            SCRUTIN_PARTITIONS="2",
            SCRUTIN_STAGES="tally",
            SCRUTIN_TALLY_HELPERS="1",
            SCRUTIN_TALLY_KEY_FILE=str(self.key_file),
            SCRUTIN_TALLY_MIN_BALLOTS="1",
            RETRY_DELAY_SECONDS="0.2",
            SCRUTIN_LOG_FORMAT="json",
        )
        self.settings: Settings = load_settings(
            {k: v for k, v in self.env.items() if k in stack.env() or k.startswith("SCRUTIN_")}
        )
        self.programs: list[Program] = []

    async def prepare(self) -> None:
        """Wipe the stack and bring the schema up to date."""
        await wipe(self.stack.env())
        connection = await database(self.settings)
        await migrate(connection)
        await connection.close()

    async def dump(self) -> str:
        """Every table of the tally, every record of its topics, and the workers' logs, as text."""
        parts = [program.log.read_text() for program in self.programs]
        connection = await database(self.settings)
        try:
            tables = await connection.fetch(
                "SELECT table_name FROM information_schema.tables"
                " WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
            )
            for (table,) in tables:
                rows = await connection.fetch(f"SELECT t::text FROM {table} t")
                parts += [row[0] for row in rows]
        finally:
            await connection.close()
        reader = LogReader(self.settings.kafka.servers)
        for topic in (EVENTS_TOPIC, TASKS_TOPIC, jobs_changelog(APP_ID)):
            for partition in range(self.settings.partitions):
                end = await reader.end_offset(topic, partition)
                async for record in reader.read(topic, partition, 0, end):
                    parts.append(record.value.decode("latin-1"))
        return "\n".join(parts)

    def worker(self, name: str = "tally-1") -> Program:
        """A worker, started."""
        program = worker(self.env, self.directory, name).start()
        self.programs.append(program)
        return program

    def bridge(self, **more: str) -> Program:
        """A bridge, to be entered."""
        return bridge({**self.env, "SCRUTIN_ROLL": "open", **more}, self.directory)

    async def put(
        self, tally: TallyCommands, election_id: str, world: SmallElection
    ) -> DescribedElection:
        """Add an election with all its backups and ballots."""
        described = await self.put_election(tally, election_id, world.voting)
        outcome = await self.admit(tally, described, map(to_json, world.ballots))
        assert outcome.admitted == len(world.ballots)
        return described

    async def put_election(
        self, tally: TallyCommands, election_id: str, world: Voting
    ) -> DescribedElection:
        """Add an election with all its backups, without ballots."""
        described = described_as(election_id, world)
        backups = [
            (secret.owner_id, key.owner_id, to_json(make_backup(secret, key)).decode())
            for secret in world.secrets
            for key in world.keys
            if secret.owner_id != key.owner_id
        ]
        assert await tally.store.put_election(described, backups)
        return described

    async def admit(
        self, tally: TallyCommands, described: DescribedElection, ballots: Iterable[bytes]
    ) -> Admission:
        """Verify ballots and let them in; none may be refused."""
        async with Helpers(2) as helpers:
            outcome = await admit(tally.store, helpers, described, ballots)
        assert not outcome.refused
        return outcome

    async def seal(
        self, tally: TallyCommands, election_id: str, world: SmallElection | Voting, *who: int
    ) -> None:
        """Give the workers these guardians' secrets, sealed."""
        if not self.key_file.exists():
            make_key_file(self.key_file)
        for index in who:
            secret = world.secrets[index]
            sealed = seal(secret, election_id, public_key(self.key_file))
            await tally.store.put_secret(election_id, secret.owner_id, sealed)

    async def tallied(self, asked: TallyCommands, election_id: str) -> None:
        """Wait until the ballots are multiplied."""

        async def there() -> bool:
            jobs = await asked.jobs(election_id)
            return any(
                (job["operationType"], job["status"]) == ("TALLY", "COMPLETED") for job in jobs
            )

        await until(there, "tally", 120)

    async def published(
        self, tally: TallyCommands, election_id: str, within_s: float = 120.0
    ) -> None:
        """Wait for the result."""

        async def there() -> bool:
            for program in self.programs:
                if program.returncode is not None and program.returncode >= 0:
                    program.check()
            return await tally.store.published(election_id) is not None

        await until(there, f"result of {election_id}", within_s)


def described_as(election_id: str, world: Voting) -> DescribedElection:
    """An election as the database has it."""
    return DescribedElection(
        election_id,
        to_json(world.election.manifest).decode(),
        to_json(world.election.context).decode(),
        to_json(world.keys).decode(),
    )


def plain_election(name: str, candidates: int) -> Manifest:
    """One contest."""
    shape = {"mayor": [f"candidate-{number}" for number in range(candidates)]}
    return plain_manifest(name, shape, moment=datetime(2026, 1, 1, tzinfo=UTC))


def small_election(
    name: str, seed: int, *, cast: int, spoiled: int = 0, candidates: int = 3
) -> SmallElection:
    """Three guardians, quorum two, one contest."""
    manifest = plain_election(name, candidates)
    return make_election(
        manifest, random.Random(seed), guardians=3, quorum=2, cast=cast, spoiled=spoiled
    )


def counts(result: dict[str, Any]) -> dict[str, int]:
    """Votes by selection, of a published result."""
    lines = result["results"]["contests"]["mayor"]
    return {name: line["votes"] for name, line in lines.items()}


async def statuses(asked: TallyCommands, election: str) -> dict[tuple[str, str | None], str]:
    """Status by (operation, guardian)."""
    return {
        (job["operationType"], job["guardianId"]): job["status"]
        for job in await asked.jobs(election)
    }


@asynccontextmanager
async def tally_harness(stack: Stack, directory: Path) -> AsyncIterator[TallyHarness]:
    """A fresh world; its workers end with it."""
    world = TallyHarness(stack, directory)
    await world.prepare()
    try:
        yield world
    finally:
        for program in world.programs:
            if program.running:
                await program.kill()
