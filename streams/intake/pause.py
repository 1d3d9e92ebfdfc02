"""Pauses a bridge during a reset; it begins the new epoch with the votes after the reset.

A reset pauses all bridges (`votes.control`), empties queues and mirror, writes the epoch record to
every partition, and resumes the bridges. Votes that a bridge received before are written with the
old epoch's number, however late, and are void.

During the adoption of another system only the intake is paused, for as long as that takes: a vote
written before an adopted one of the same voter would be the voter's first.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Protocol

import structlog

from schemas.notices import IntakePaused, IntakeResumed
from streams.core.records import Handle, Verdicts
from streams.core.rules import epoch_of

log = structlog.get_logger(__name__)

_QUIET_S: Final = 1.0
"""Longest wait for the mirror and the egress to finish their current batch."""


class PausableIntake(Protocol):
    """An intake that can be paused."""

    async def pause(self) -> None:
        """Stop deliveries."""

    async def resume(self, epoch: int) -> None:
        """Write the buffered votes, then start deliveries in this epoch."""


class PauseController:
    """Pauses intake, egress and mirror while a reset runs.

    Args:
        intake: paused and resumed.
    """

    def __init__(self, intake: PausableIntake) -> None:
        self._intake = intake
        self._epoch = 0
        self.adopting = False
        """Whether an adoption has begun but not ended."""
        self._running = asyncio.Event()
        self._running.set()
        self._busy = 0
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._deadline: asyncio.Task[None] | None = None

    async def pause(self, notice: IntakePaused) -> None:
        """Pause until :meth:`resume` or until the reset's deadline."""
        left_s = notice.until_ms / 1000 - time.time()
        if notice.epoch <= self._epoch or left_s <= 0:
            return
        log.info("a reset begins, pausing the intake", epoch=notice.epoch)
        self._running.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(_QUIET_S):
                await self._quiet.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(_QUIET_S):
                await self._intake.pause()
        self._end_deadline()
        self._deadline = asyncio.create_task(self._give_up(left_s))

    async def resume(self, notice: IntakeResumed) -> None:
        """Begin the new epoch, or continue in the current one if the reset failed."""
        if notice.epoch < self._epoch or (notice.epoch == self._epoch and self._running.is_set()):
            return
        self._end_deadline()
        self._epoch = notice.epoch
        await self._continue()
        log.info("resumed the intake", epoch=notice.epoch)

    async def _give_up(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        log.warning("the reset did not finish in time, resuming the intake", epoch=self._epoch)
        await self._continue()

    async def _continue(self) -> None:
        await self._intake.resume(self._epoch)
        if self.adopting:
            await self._intake.pause()
        self._running.set()

    async def adoption_begins(self) -> None:
        """Receive no votes until :meth:`adoption_ends`."""
        if not self.adopting:
            log.warning("an adoption has begun, pausing the intake until it ends")
            self.adopting = True
            await self._intake.pause()

    async def adoption_ends(self) -> None:
        """Receive votes again."""
        if self.adopting:
            log.info("the adoption has ended, resuming the intake")
            self.adopting = False
            if self._running.is_set():
                await self._intake.resume(self._epoch)

    def _end_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def gate(self, handle: Handle) -> Handle:
        """Wrap a handler of verdicts so that it pauses too and skips older epochs."""

        async def handled(verdicts: Sequence[Verdicts]) -> None:
            await self._running.wait()
            self._busy += 1
            self._quiet.clear()
            try:
                await handle([one for one in verdicts if self._counts(one)])
            finally:
                self._busy -= 1
                if not self._busy:
                    self._quiet.set()

        return handled

    def _counts(self, one: Verdicts) -> bool:
        if not self._epoch:
            return True
        record = one.record()
        return record is None or epoch_of(record) >= self._epoch
