"""A small encrypted election on real services: keys, ballots, tally, a kill, result, record."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import KW_ONLY, InitVar, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from streams.devstack import Stack
from streams.devstack.state import StateFile
from streams.errors import StackError
from streams.load.programs import Program, child_environment, worker
from streams.settings.processes import TallyConfig
from streams.tally.admission import admit
from streams.tally.commands import TallyCommands, tally
from streams.tally.crypto.ballots import BallotState, encrypt_ballot, encrypt_many
from streams.tally.crypto.ceremony import GuardianSecret, make_backup, make_guardian
from streams.tally.crypto.documents import to_json
from streams.tally.crypto.election import CryptoElection
from streams.tally.crypto.manifest import plain_manifest
from streams.tally.files import describe
from streams.tally.helpers import Helpers
from streams.tally.record import Verified, export, verify
from streams.tally.sealing import make_key_file, public_key, seal
from streams.tally.work import DescribedElection, load_election

NAMES: Final = ("ann", "bob", "cem")
QUORUM: Final = 2
ABSENT: Final = "cem"
CONTEST: Final = "mayor"
_POLL_S: Final = 0.1
_PATIENCE_S: Final = 120.0

Say = Callable[[str, str], None]


@dataclass(frozen=True)
class TallyPlan:
    """The election to hold."""

    ballots: int
    spoiled: int
    candidates: int
    chunk_size: int
    seed: int


@dataclass(frozen=True)
class TallyDemoReport:
    """Outcome of a run."""

    published: dict[str, Any]
    expected: dict[str, int]
    """Votes by selection before encryption."""
    verified: Verified
    tallied_s: float
    """Time from the request for the tally to the published result."""
    record: Path

    @property
    def good(self) -> bool:
        """Whether the result, the record and the votes before encryption agree."""
        lines = self.published["results"]["contests"][CONTEST]
        counted = {name: line["votes"] for name, line in lines.items()}
        return counted == self.expected == self.verified.counts


_HELPERS: Final = 1
"""Processes that compute, in each worker and here."""


@dataclass
class TallyDemo:
    """One run."""

    directory: InitVar[Path]
    """For the stack, keys, logs and the record."""
    plan: TallyPlan
    """The election."""
    _: KW_ONLY
    say: Say
    """Called with (step, what happens)."""
    configure: Callable[[Mapping[str, str]], TallyConfig]
    """Reads what the environment of the processes says."""

    def __post_init__(self, directory: Path) -> None:
        self._directory = directory.resolve()
        self._election_id = f"demo-{int(time.time())}"
        self._key_file = self._directory / f"{self._election_id}.key"
        self._env: dict[str, str] = {}
        self._programs: list[Program] = []

    @asynccontextmanager
    async def services(self) -> AsyncIterator[None]:
        """Run the services and two workers during the block."""
        stack = Stack(self._directory / "stack", say=self.say, environ={})
        try:
            if StateFile(stack.directory).load() is not None:
                await asyncio.to_thread(stack.down)
            await asyncio.to_thread(stack.up)
            self._env = child_environment(
                stack.env(),
                SCRUTIN_STAGES="tally",
                SCRUTIN_TALLY_KEY_FILE=str(self._key_file),
                SCRUTIN_TALLY_HELPERS=str(_HELPERS),
                SCRUTIN_TALLY_IN_FLIGHT="2",
            )
            make_key_file(self._key_file)
            for number in (1, 2):
                self._start(f"tally-{number}")
            yield
        finally:
            for program in self._programs:
                if program.running:
                    await program.kill()
            await asyncio.to_thread(stack.down)

    def _start(self, name: str) -> Program:
        program = worker(self._env, self._directory / "logs", name).start()
        self._programs.append(program)
        self.say(name, f"starts, pid {program.pid}")
        return program

    async def run(self) -> TallyDemoReport:
        """Hold the election, tally it while a worker is killed, and verify its record.

        Raises:
            StackError: no result was published in time.
        """
        async with tally(self.configure(self._env)) as commands:
            secrets, described, backups = self._ceremony()
            await commands.store.put_election(described, backups)
            key = public_key(self._key_file)
            for secret in secrets:
                if secret.owner_id != ABSENT:
                    sealed = seal(secret, self._election_id, key)
                    await commands.store.put_secret(self._election_id, secret.owner_id, sealed)
            self.say("keys", f"{', '.join(NAMES)}; any {QUORUM} decrypt, {ABSENT} will be absent")
            ballots, expected = self._vote(load_election(described)[0])
            await self._admit(commands, described, ballots)
            begin = time.monotonic()
            await commands.create(self._election_id, chunk_size=self.plan.chunk_size)
            for name in NAMES:
                if name != ABSENT:
                    await commands.decrypt(self._election_id, name)
            await commands.combine(self._election_id)
            published = await self._published(commands)
            tallied_s = time.monotonic() - begin
            self.say("result", f"published after {tallied_s:.1f} s")
            record = self._directory / f"{self._election_id}.record"
            await export(commands.store, self._election_id, record, advance=lambda _: None)
        async with Helpers(_HELPERS) as helpers:
            verified = await verify(record, helpers)
        self.say("record", f"verified from its files alone: {record}")
        return TallyDemoReport(published, expected, verified, tallied_s, record)

    def _ceremony(
        self,
    ) -> tuple[list[GuardianSecret], DescribedElection, list[tuple[str, str, str]]]:
        pairs = [make_guardian(name, order, QUORUM) for order, name in enumerate(NAMES, 1)]
        keys = [key for _, key in pairs]
        candidates = [f"candidate-{number}" for number in range(1, self.plan.candidates + 1)]
        moment = datetime.now(UTC).replace(microsecond=0)
        manifest = plain_manifest(self._election_id, {CONTEST: candidates}, moment=moment)
        described = describe(self._election_id, manifest, keys, QUORUM)
        backups = [
            (secret.owner_id, key.owner_id, to_json(make_backup(secret, key)).decode())
            for secret, _ in pairs
            for key in keys
            if key.owner_id != secret.owner_id
        ]
        return [secret for secret, _ in pairs], described, backups

    def _vote(self, election: CryptoElection) -> tuple[list[bytes], dict[str, int]]:
        rng = random.Random(self.plan.seed)  # noqa: S311 - votes, not keys
        expected = dict.fromkeys(election.line_names, 0)
        ballots = []
        begin = time.monotonic()
        encrypt_many(election, self.plan.ballots + self.plan.spoiled)
        for number in range(self.plan.ballots + self.plan.spoiled):
            spoiled = number >= self.plan.ballots
            chosen = rng.choice(election.line_names)
            state = BallotState.SPOILED if spoiled else BallotState.CAST
            ballot = encrypt_ballot(
                election, f"ballot-{number}", "ballot", {CONTEST: [chosen]}, state=state
            )
            expected[chosen] += not spoiled
            ballots.append(to_json(ballot))
        each_ms = 1000 * (time.monotonic() - begin) / max(1, len(ballots))
        self.say("ballots", f"{len(ballots)} encrypted, {each_ms:.0f} ms each")
        return ballots, expected

    async def _admit(
        self, commands: TallyCommands, described: DescribedElection, ballots: list[bytes]
    ) -> None:
        begin = time.monotonic()
        async with Helpers(_HELPERS) as helpers:
            outcome = await admit(commands.store, helpers, described, ballots)
        rate = len(ballots) / (time.monotonic() - begin)
        self.say("ballots", f"{outcome.admitted} verified and admitted, {rate:.0f} a second")

    async def _published(self, commands: TallyCommands) -> dict[str, Any]:
        """Wait for the result; kill a worker once a chunk is processed."""
        deadline = time.monotonic() + _PATIENCE_S
        alive = True
        while time.monotonic() < deadline:
            published = await commands.store.published(self._election_id)
            if published is not None:
                return published
            jobs = await commands.jobs(self._election_id)
            if alive and any(job["processedChunks"] for job in jobs):
                alive = False
                await self._programs[0].kill()
                self.say(self._programs[0].name, "killed on purpose; the other takes over")
                self._start("tally-3")
            await asyncio.sleep(_POLL_S)
        raise StackError(
            f"No result after {_PATIENCE_S:.0f} s",
            where={"logs": self._directory / "logs"},
            todo="Read the workers' logs there",
        )
