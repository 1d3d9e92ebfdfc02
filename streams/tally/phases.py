"""The work of each phase: read, compute in a helper, store the result.

Results are stored under the task's key, so that repeating a task changes nothing. Ballots are
streamed, with at most one batch in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from schemas.tally import Done, Mode, Phase, TallyTask
from streams.tally.crypto.ceremony import GuardianKey
from streams.tally.crypto.decryption import PlainTally
from streams.tally.crypto.documents import from_json
from streams.tally.crypto.group import to_hex
from streams.tally.crypto.tallies import EncryptedTally
from streams.tally.helpers import Helpers
from streams.tally.opening import ContestCounts
from streams.tally.packing import pack_element, pads_of
from streams.tally.refusals import RefusalCheck, Refused
from streams.tally.results import Result, add_counts
from streams.tally.store import CAST, SPOILED, Center, TallyStore
from streams.tally.work import (
    CombineWork,
    Describe,
    DescribedElection,
    MakeCompensated,
    MakeShares,
    Multiply,
    MultiplyTallies,
    Spoil,
    load_election,
)

_SPOILED: Final = 200
"""Most spoiled ballots in memory at a time, whatever the size of a chunk."""
_CHECKED: Final = 16
"""Checked products that are remembered: one is opened by several guardians."""


@dataclass(frozen=True)
class Phases:
    """Runs tasks."""

    store: TallyStore
    """PostgreSQL."""
    helpers: Helpers
    """Run the computations."""
    key_file: Path
    """The workers' private key, for sealed secrets."""
    min_ballots: int
    """Fewest ballots whose count is decrypted."""
    _checked: dict[tuple[str, int], str] = field(default_factory=dict, init=False)
    """Tallies of the latest products that were checked."""

    async def do(self, task: TallyTask) -> Done:
        """Run a task; returns the event to answer with.

        Raises:
            ScrutinError: the task failed.
        """
        done = Done(task.election_id, task.lane, task.unit)
        match task.lane.phase:
            case Phase.PLAN:
                chunks = await self.store.plan(task.election_id, task.chunk_size)
                done = Done(task.election_id, task.lane, task.unit, chunks=chunks)
            case Phase.TALLY:
                await self._tally(task)
            case Phase.TOTAL:
                centers = await self._total(task)
                done = Done(task.election_id, task.lane, task.unit, centers=centers)
            case Phase.PARTIAL:
                await self._partial(task)
            case Phase.COMPENSATED:
                await self._compensated(task)
            case Phase.COMBINE:
                await self._combine(task)
            case Phase.PUBLISH:
                await self._publish(task)
        return done

    async def _tally(self, task: TallyTask) -> None:
        """Multiply the ballots of one chunk."""
        store, name = self.store, task.election_id
        if await store.has_center(name, "chunk", task.unit):
            return
        election = await store.election(name)
        product, ballots = b"", 0
        async for batch in store.chunk(name, task.unit):
            product = await self.helpers.ask(Multiply(election, product, batch))
            ballots += len(batch)
        tally = await self.helpers.ask(Describe(election, product, f"chunk-{task.unit}"))
        await store.put_center(name, "chunk", task.unit, tally.decode(), ballots=ballots)

    async def _total(self, task: TallyTask) -> int:
        """Determine what to decrypt: the total or the chunks, then the spoiled ballots."""
        store, name = self.store, task.election_id
        election = await store.election(name)
        if task.mode == Mode.CHUNKED:
            await store.number_chunks(name)
            unit = await store.count_centers(name)
        else:
            unit = 1
            if not await store.has_center(name, "total", 0):
                product, ballots = b"", 0
                async for batch in store.chunk_tallies(name):
                    tallies = [tally for tally, _ in batch]
                    product = await self.helpers.ask(MultiplyTallies(election, product, tallies))
                    ballots += sum(count for _, count in batch)
                tally = await self.helpers.ask(Describe(election, product, "tally"))
                await store.put_center(name, "total", 0, tally.decode(), ballots=ballots, unit=0)
        number = 0
        async for group in store.spoiled(name, min(task.chunk_size, _SPOILED)):
            if not await store.has_center(name, "spoiled", number):
                tally = await self.helpers.ask(Spoil(election, group))
                await store.put_center(
                    name,
                    "spoiled",
                    number,
                    tally.decode(),
                    ballots=len(group),
                    unit=unit + number,
                )
            number += 1
        return await store.count_centers(name)

    async def _check(self, election_id: str, unit: int, center: Center) -> None:
        """Check that a product is that of the admitted ballots, before a guardian opens it.

        Raises:
            Refused: `tally` or `minimum`.
        """
        key = (election_id, unit)
        if self._checked.get(key) == center.tallies:
            return
        election = await self.store.election(election_id)
        if center.kind == "spoiled":
            tallies = from_json(list[EncryptedTally], center.tallies)
            names = [tally.object_id for tally in tallies]
            ballots = await self.store.spoiled_named(election_id, names)
            again = await self.helpers.ask(Spoil(election, ballots))
            await self._check_copies(election, tallies)
        else:
            ballots_of = (
                self.store.cast_ballots(election_id)
                if center.kind == "total"
                else self.store.chunk(election_id, center.number)
            )
            counts, product = ContestCounts(load_election(election)[0]), b""
            async for batch in ballots_of:
                product = await self.helpers.ask(Multiply(election, product, batch))
                for packed in batch:
                    counts.add(packed)
            counts.check(self.min_ballots, f"{center.kind} {center.number}")
            name = "tally" if center.kind == "total" else f"chunk-{center.number}"
            again = await self.helpers.ask(Describe(election, product, name))
        if from_json(list[EncryptedTally], again) != from_json(
            list[EncryptedTally], center.tallies
        ):
            raise Refused(
                RefusalCheck.TALLY,
                "a product is not that of the admitted ballots",
                where={"election": election_id, "unit": unit},
            )
        while len(self._checked) >= _CHECKED:
            del self._checked[next(iter(self._checked))]
        self._checked[key] = center.tallies

    async def _check_copies(
        self, election: DescribedElection, tallies: Sequence[EncryptedTally]
    ) -> None:
        """Check that no spoiled ballot holds a ciphertext of a cast one, which it would open."""
        pads = {pack_element(line.pad) for tally in tallies for line in tally.lines().values()}
        async for batch in self.store.cast_ballots(election.election_id):
            for packed in batch:
                if not pads.isdisjoint(pads_of(packed)):
                    raise Refused(
                        RefusalCheck.REPEATED,
                        "a spoiled ballot holds a ciphertext of a cast ballot and would open it",
                        where={"election": election.election_id},
                    )

    async def _sealed(self, task: TallyTask) -> bytes:
        sealed = await self.store.secret(task.election_id, task.lane.guardian)
        if sealed is None:
            raise Refused(
                RefusalCheck.SECRET,
                "this guardian has no sealed secret",
                where={"election": task.election_id, "guardian": task.lane.guardian},
                todo="Add it with `scrutin guardian seal`, or decrypt with `scrutin guardian"
                " decrypt` and upload the shares",
            )
        return sealed

    async def _partial(self, task: TallyTask) -> None:
        store, guardian = self.store, task.lane.guardian
        center = await store.center(task.election_id, task.unit)
        if await store.has_share(center.center_id, guardian):
            return
        await self._check(task.election_id, task.unit, center)
        election = await store.election(task.election_id)
        sealed = await self._sealed(task)
        request = MakeShares(election, guardian, center.tallies, sealed, str(self.key_file))
        shares = await self.helpers.ask(request)
        keys = from_json(list[GuardianKey], election.guardians)
        key = next(to_hex(key.key) for key in keys if key.owner_id == guardian)
        await store.put_share(center.center_id, guardian, key, shares.decode())

    async def _compensated(self, task: TallyTask) -> None:
        store, lane = self.store, task.lane
        center = await store.center(task.election_id, task.unit)
        if await store.has_compensated(center.center_id, lane.guardian, lane.missing):
            return
        await self._check(task.election_id, task.unit, center)
        election = await store.election(task.election_id)
        shares = await self.helpers.ask(
            MakeCompensated(
                election,
                lane.guardian,
                lane.missing,
                await store.backup(task.election_id, lane.missing, lane.guardian),
                center.tallies,
                await self._sealed(task),
                str(self.key_file),
            )
        )
        await store.put_compensated(center.center_id, lane.guardian, lane.missing, shares.decode())

    async def _combine(self, task: TallyTask) -> None:
        store = self.store
        center = await store.center(task.election_id, task.unit)
        if center.result is not None:
            return
        election = await store.election(task.election_id)
        shares, compensated = await store.shares(center.center_id, task.present)
        limit = 1 if center.kind == "spoiled" else center.ballots
        counts = await self.helpers.ask(
            CombineWork(election, center.tallies, shares, compensated, limit)
        )
        await store.put_result(center.center_id, counts.decode())

    async def _publish(self, task: TallyTask) -> None:
        store, name = self.store, task.election_id
        election = await store.election(name)
        counts: dict[str, int] = {}
        spoiled: list[PlainTally] = []
        async for row in store.centers(name):
            if row["election_result"] is None:
                continue
            tallies = from_json(list[PlainTally], row["election_result"])
            if row["kind"] == "spoiled":
                spoiled += tallies
            else:
                add_counts(counts, tallies)
        result = Result(
            cast=await store.count_ballots(name, CAST),
            spoiled=await store.count_ballots(name, SPOILED),
            counts=counts,
            spoiled_ballots={tally.object_id: tally.counts() for tally in spoiled},
            present=task.present,
        )
        await store.put_published(name, result.document(election))
