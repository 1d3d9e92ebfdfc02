"""Votes straight into the input log, each answered when Kafka has it: a bridge within the gateway.

For `SCRUTIN_CONFIRM=kafka`. RabbitMQ is not on the way then; all that a bridge does to a vote is
done here, by the bridge's own parts.
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
from streams.gateway.vote_sink import AGAIN, MAX_OPEN, Unconfirmed, VoteSink
from streams.intake.assembly import Intake, first_error
from streams.intake.control_reader import ControlReader
from streams.intake.pause import PauseController
from streams.runtime.metrics import BridgeMetrics
from streams.runtime.outages import Retry, Service
from streams.settings.model import Settings

log = structlog.get_logger(__name__)


class Desk:
    """Votes handed in and not yet in the log; to the ingress it is what delivers them."""

    queue: Final = "http"
    prevalidated: Final = False
    poll_updates: Final = False
    prefetch: Final = MAX_OPEN
    backlog: Final = False

    def __init__(self) -> None:
        self.delivered = 0
        self._open: dict[int, asyncio.Future[None]] = {}

    @property
    def tags(self) -> Desk:
        """Itself: every vote is answered for itself, in whatever order."""
        return self

    @property
    def outstanding(self) -> int:
        """Votes without an answer."""
        return len(self._open)

    def expect(self) -> tuple[int, asyncio.Future[None]]:
        """A number for one more vote, and a future that is done when the log has it."""
        number = self.delivered + 1
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._open[number] = answer
        return number, answer

    def confirm(self, tags: Iterable[int]) -> None:
        """The log has these."""
        for tag in tags:
            answer = self._open.pop(tag, None)
            if answer is not None and not answer.done():
                answer.set_result(None)

    def reject(self, tag: int) -> None:
        """The log has it too; what it is is decided there."""
        self.confirm((tag,))

    def acknowledge(self) -> None:
        """Nobody waits for more than :meth:`confirm`."""


class VoteLog(VoteSink):
    """The input log, to write to. Enter it to work; what is away is waited for.

    Args:
        settings: all of them.
        redis: client, for the roll.
        retry: waits while Kafka or the roll does not answer.
    """

    def __init__(self, settings: Settings, redis: Redis, retry: Retry) -> None:
        super().__init__()
        self._settings = settings
        self._retry = retry
        # What a bridge counts is not exposed here: the names would stand there twice.
        self._intake = Intake(settings, redis, retry, BridgeMetrics(CollectorRegistry()))
        self._standstill = PauseController(self)
        self._desk = Desk()
        self._reading = False
        self._paused = False

    @property
    def fault(self) -> str | None:
        """Why no vote can be taken now; None if one can."""
        if unavailable := self._retry.outages.unavailable():
            return f"{' and '.join(sorted(unavailable))} is away"
        if not self._reading:
            return "starting"
        if self._paused:
            return "a reset is going on"
        if not self._intake.gate.is_open:
            return "the workers are behind"
        if self._desk.outstanding >= MAX_OPEN:
            return "Kafka is behind with its confirms"
        return None

    async def publish(self, body: bytes, message_id: str) -> None:
        """Write one vote; returns once Kafka has it on all in-sync replicas.

        Raises:
            ServiceUnavailable: it was not taken.
            Unconfirmed: Kafka may have it, or not, or get it yet.
        """
        if (fault := self.fault) is not None:
            raise ServiceUnavailable(fault[0].upper() + fault[1:], todo=AGAIN)
        number, answer = self._desk.expect()
        self._intake.ingress.receive(self._desk, number, False, message_id.encode(), body)
        await asyncio.wait([answer], timeout=self._settings.confirm_timeout_s)
        if not answer.done():
            raise Unconfirmed(
                "Kafka did not confirm the vote",
                todo="Send it again; it counts once, however often it is sent",
            )

    async def _run(self) -> None:
        settings = self._settings
        genesis = await self._retry(
            Service.KAFKA,
            lambda: admin.ensure_topics(
                list(settings.kafka_bootstrap_servers),
                app_id=settings.app_id,
                partitions=settings.partitions,
                replication_factor=settings.replication_factor,
            ),
        )
        notices = ControlReader(
            settings.kafka_bootstrap_servers,
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
                # What was said before this process began holds for its first vote.
                await notices.caught_up()
                self._reading = True
                log.info("votes go to the log itself")
        except ExceptionGroup as errors:
            raise first_error(errors, process=settings.worker_id) from errors

    async def _on_notice(self, notice: Notice) -> None:
        match notice:
            case RollLoaded():
                self._intake.table_roll.loaded()
            case IntakePaused():
                await self._standstill.pause(notice)
            case IntakeResumed():
                await self._standstill.resume(notice)

    # What the standstill calls.

    async def pause(self) -> None:
        """Take no more votes."""
        self._paused = True

    async def resume(self, epoch: int) -> None:
        """Write what was taken in, then take votes of this epoch."""
        await self._intake.ingress.resume(epoch)
        self._paused = False
