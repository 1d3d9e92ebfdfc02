"""A bridge during a reset."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import msgspec
import pytest

from schemas.codec import encode
from schemas.notices import IntakePaused, IntakeResumed
from schemas.verdicts import VerdictBatch
from schemas.votes import VoteBatch
from streams.core.records import Verdicts
from streams.intake.pause import PauseController
from tests.strategies import LOG_ID, make_batch, make_vote, under


class Intake:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    async def pause(self) -> None:
        self.told.append("pause")

    async def resume(self, epoch: int) -> None:
        self.told.append(f"resume {epoch}")


def verdicts(batch: VoteBatch) -> Verdicts:
    return Verdicts(VerdictBatch(LOG_ID, 0, 1, 0, [], msgspec.Raw(encode(batch))), 1)


def paused(epoch: int, seconds: float = 60) -> IntakePaused:
    return IntakePaused(LOG_ID, epoch, int((time.time() + seconds) * 1000))


@pytest.fixture
def intake() -> Intake:
    return Intake()


@pytest.fixture
def still(intake: Intake) -> PauseController:
    return PauseController(intake)


async def test_verdicts_wait_until_the_reset_is_over(
    still: PauseController, intake: Intake
) -> None:
    seen: list[int] = []

    async def handle(given: Sequence[Verdicts]) -> None:
        seen.append(len(given))

    held = still.gate(handle)
    await still.pause(paused(1))
    waiting = asyncio.create_task(
        held([verdicts(make_batch(make_vote(1))), verdicts(under(make_batch(), 0, epoch=1))])
    )
    await asyncio.sleep(0)
    assert not waiting.done()
    await still.resume(IntakeResumed(LOG_ID, 1))
    await waiting
    # What belongs to the epoch before is passed over.
    assert seen == [1]
    assert intake.told == ["pause", "resume 1"]


async def test_the_intake_pauses_once_what_is_in_hand_is_put_down(
    still: PauseController, intake: Intake
) -> None:
    ended = asyncio.Event()

    async def handle(_: Sequence[Verdicts]) -> None:
        await ended.wait()
        intake.told.append("put down")

    handling = asyncio.create_task(still.gate(handle)([]))
    await asyncio.sleep(0)
    pausing = asyncio.create_task(still.pause(paused(1)))
    await asyncio.sleep(0)
    assert intake.told == []
    ended.set()
    await asyncio.gather(handling, pausing)
    assert intake.told == ["put down", "pause"]


async def test_a_reset_that_does_not_end_lets_the_intake_go_on(
    still: PauseController, intake: Intake
) -> None:
    await still.pause(paused(1, seconds=1))
    await asyncio.wait_for(still.gate(_nothing)([]), 60)
    assert intake.told == ["pause", "resume 0"]


async def test_what_is_old_when_a_bridge_starts_has_no_effect_but_the_epoch(
    still: PauseController, intake: Intake
) -> None:
    for notice in (paused(1, seconds=-5), paused(2, seconds=-4)):
        await still.pause(notice)
    await still.resume(IntakeResumed(LOG_ID, 2))
    await still.resume(IntakeResumed(LOG_ID, 1))
    await still.pause(paused(2))
    assert intake.told == ["resume 2"]


async def test_a_reset_that_failed_goes_on_in_the_same_epoch(
    still: PauseController, intake: Intake
) -> None:
    await still.pause(paused(1))
    await still.resume(IntakeResumed(LOG_ID, 0))
    await asyncio.wait_for(still.gate(_nothing)([]), 60)
    assert intake.told == ["pause", "resume 0"]


async def _nothing(_: Sequence[Verdicts]) -> None:
    return None


async def test_an_adoption_holds_the_intake_alone_for_as_long_as_it_takes(
    still: PauseController, intake: Intake
) -> None:
    seen: list[int] = []

    async def handle(given: Sequence[Verdicts]) -> None:
        seen.append(len(given))

    await still.adoption_begins()
    await still.adoption_begins()
    assert (still.adopting, intake.told) == (True, ["pause"])
    await still.gate(handle)([verdicts(make_batch(make_vote()))])
    assert seen == [1]
    await still.adoption_ends()
    await still.adoption_ends()
    assert (still.adopting, intake.told) == (False, ["pause", "resume 0"])


async def test_a_reset_during_an_adoption_does_not_let_votes_in(
    still: PauseController, intake: Intake
) -> None:
    await still.adoption_begins()
    await still.pause(paused(1))
    await still.adoption_ends()
    assert intake.told == ["pause", "pause"]
    await still.adoption_begins()
    await still.resume(IntakeResumed(LOG_ID, 1))
    assert intake.told[-2:] == ["resume 1", "pause"]
    await still.adoption_ends()
    assert intake.told[-1] == "resume 1"
