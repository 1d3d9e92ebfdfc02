"""A bridge during a reset: it stands still, and begins the new epoch with what comes after.

A reset pauses all bridges (`votes.control`), empties queues and mirror, sends the epoch record
through every partition, and lets the bridges go on. What a bridge took in before is written with
the old epoch's number, however late, and is void.

While another system is adopted the intake alone stands still, however long that takes: a vote in
front of an adopted one of the same voter would be the first.
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
"""Longest wait for the mirror and the egress to put down what they have in hand."""


class PausableIntake(Protocol):
    """What takes deliveries in."""

    async def pause(self) -> None:
        """Let no more deliveries come."""

    async def resume(self, epoch: int) -> None:
        """Write what was taken in, then let deliveries of this epoch come."""


class PauseController:
    """Holds intake, egress and mirror while a reset runs.

    Args:
        intake: paused and resumed.
    """

    def __init__(self, intake: PausableIntake) -> None:
        self._intake = intake
        self._epoch = 0
        self.adopting = False
        """Whether an adoption has begun and not ended."""
        self._going = asyncio.Event()
        self._going.set()
        self._busy = 0
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._deadline: asyncio.Task[None] | None = None

    async def pause(self, notice: IntakePaused) -> None:
        """Stand still, until :meth:`resume` or until the reset's time is over."""
        left_s = notice.until_ms / 1000 - time.time()
        if notice.epoch <= self._epoch or left_s <= 0:
            return
        log.info("a reset begins, the intake pauses", epoch=notice.epoch)
        self._going.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(_QUIET_S):
                await self._quiet.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(_QUIET_S):
                await self._intake.pause()
        self._end_deadline()
        self._deadline = asyncio.create_task(self._give_up(left_s))

    async def resume(self, notice: IntakeResumed) -> None:
        """Begin the new epoch, or go on in this one if the reset failed."""
        if notice.epoch < self._epoch or (notice.epoch == self._epoch and self._going.is_set()):
            return
        self._end_deadline()
        self._epoch = notice.epoch
        await self._go_on()
        log.info("the intake goes on", epoch=notice.epoch)

    async def _give_up(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        log.warning("the reset did not come to its end, the intake goes on", epoch=self._epoch)
        await self._go_on()

    async def _go_on(self) -> None:
        await self._intake.resume(self._epoch)
        if self.adopting:
            await self._intake.pause()
        self._going.set()

    async def adoption_begins(self) -> None:
        """Take no vote in until :meth:`adoption_ends`."""
        if not self.adopting:
            log.warning("an adoption has begun, the intake waits for its end")
            self.adopting = True
            await self._intake.pause()

    async def adoption_ends(self) -> None:
        """Take votes in again."""
        if self.adopting:
            log.info("the adoption has ended, the intake goes on")
            self.adopting = False
            if self._going.is_set():
                await self._intake.resume(self._epoch)

    def _end_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def gate(self, handle: Handle) -> Handle:
        """A handler of verdicts that stands still too, and passes over older epochs."""

        async def handled(verdicts: Sequence[Verdicts]) -> None:
            await self._going.wait()
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
