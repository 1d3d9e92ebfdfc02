"""Votes written directly to the input log, each answered when Kafka has it.

For `SCRUTIN_CONFIRM=kafka`. Votes bypass RabbitMQ then, and the gateway does to a vote all that a
bridge does, with the same classes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

import structlog
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from schemas.notices import IntakePaused, IntakeResumed, Notice, RollLoaded
from streams.adapters.kafka import admin
from streams.errors import ServiceUnavailable
from streams.gateway.vote_sink import AGAIN, COUNTS_ONCE, MAX_OPEN, Unconfirmed, VoteSink
from streams.intake.assembly import Intake, first_error
from streams.intake.control_reader import ControlReader
from streams.intake.pause import PauseController
from streams.runtime.metrics import BridgeMetrics
from streams.runtime.outages import Retry, Service
from streams.settings.processes import IntakeConfig

log = structlog.get_logger(__name__)


class PendingVotes:
    """Votes that the log does not have yet; the ingress reads them like deliveries of a queue."""

    queue: Final = "http"
    prevalidated: Final = False
    poll_updates: Final = False
    prefetch: Final = MAX_OPEN
    backlog: Final = False

    def __init__(self) -> None:
        self.delivered = 0
        self._open: dict[int, asyncio.Future[None]] = {}

    @property
    def tags(self) -> PendingVotes:
        """Itself: every vote is answered on its own, in any order."""
        return self

    @property
    def outstanding(self) -> int:
        """Votes without an answer."""
        return len(self._open)

    def skip_to(self, tag: int) -> None:
        """Note a vote whose number does not follow the last one."""
        self.delivered = tag

    def expect(self) -> tuple[int, asyncio.Future[None]]:
        """The number of one more vote, and a future that is done when the log has it."""
        number = self.delivered + 1
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._open[number] = answer
        return number, answer

    def confirm(self, tags: Iterable[int]) -> None:
        """Answer votes that the log has."""
        for tag in tags:
            answer = self._open.pop(tag, None)
            if answer is not None and not answer.done():
                answer.set_result(None)

    def reject(self, tag: int) -> None:
        """Answer a malformed vote: the log has it too, and validation rejects it."""
        self.confirm((tag,))

    def acknowledge(self) -> None:
        """Do nothing: :meth:`confirm` has answered."""


class VoteLog(VoteSink):
    """Writes to the input log. Enter it to work; it waits for services that do not answer.

    Args:
        config: of the intake.
        confirm_timeout_s: longest wait of a vote for the confirm.
        redis: client, for the roll.
        retry: waits while Kafka or the roll does not answer.
    """

    def __init__(
        self, config: IntakeConfig, redis: Redis, retry: Retry, *, confirm_timeout_s: float
    ) -> None:
        super().__init__()
        self._deployment = config.deployment
        self._confirm_timeout_s = confirm_timeout_s
        self._retry = retry
        # A bridge's metrics are not exposed here: their names would occur twice.
        self._intake = Intake(config, redis, retry, BridgeMetrics(CollectorRegistry()))
        self._pause_controller = PauseController(self)
        self._pending = PendingVotes()
        self._reading = False
        self._paused = False

    @property
    def fault(self) -> str | None:
        """Why no vote can be taken now; None if one can."""
        if unavailable := self._retry.outages.unavailable():
            return f"{' and '.join(sorted(unavailable))} does not answer"
        if not self._reading:
            return "starting"
        if self._paused:
            return "a reset is in progress"
        if not self._intake.gate.is_open:
            return "the workers are behind"
        if self._pending.outstanding >= MAX_OPEN:
            return "Kafka confirms too slowly"
        return None

    async def publish(self, body: bytes, message_id: str) -> None:
        """Write one vote; returns once all in-sync replicas of Kafka have it.

        Raises:
            ServiceUnavailable: it was not taken.
            Unconfirmed: Kafka may have it, or get it later, or never.
        """
        if (fault := self.fault) is not None:
            raise ServiceUnavailable(fault[0].upper() + fault[1:], todo=AGAIN)
        number, answer = self._pending.expect()
        delivery = (number, False, message_id.encode(), body)
        self._intake.ingress.receive(self._pending, [delivery])
        await asyncio.wait([answer], timeout=self._confirm_timeout_s)
        if not answer.done():
            raise Unconfirmed("Kafka did not confirm the vote", todo=COUNTS_ONCE)

    async def _run(self) -> None:
        kafka = self._deployment.kafka
        genesis = await self._retry(
            Service.KAFKA,
            lambda: admin.ensure_topics(kafka),
        )
        notices = ControlReader(
            kafka.servers,
            log_id=genesis[0].log_id,
            on_notice=self._on_notice,
            retry=self._retry,
        )
        try:
            async with asyncio.TaskGroup() as group:
                for work in (
                    self._intake.input_log.run(),
                    self._intake.gate.run(),
                    notices.run(),
                    self._intake.ingress.run(),
                ):
                    group.create_task(work)
                # Notices from before this process started apply to its first vote.
                await notices.caught_up()
                self._reading = True
                log.info("votes are written to the log directly")
        except ExceptionGroup as errors:
            raise first_error(errors, process=self._deployment.name) from errors

    async def _on_notice(self, notice: Notice) -> None:
        match notice:
            case RollLoaded():
                self._intake.table_roll.loaded()
            case IntakePaused():
                await self._pause_controller.pause(notice)
            case IntakeResumed():
                await self._pause_controller.resume(notice)

    # Called by the pause controller.

    async def pause(self) -> None:
        """Take no more votes."""
        self._paused = True

    async def resume(self, epoch: int) -> None:
        """Write the votes taken before the pause, then take votes of this epoch."""
        await self._intake.ingress.resume(epoch)
        self._paused = False
