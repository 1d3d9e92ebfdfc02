"""`scrutin demo`: the whole chain on real services, from one command."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
import uvloop

from streams.cli.demo.screen import Screen
from streams.cli.show import counting
from streams.cli.values import MAX_NUMBER
from streams.errors import ExitCode
from streams.load.demo import Demo, DemoReport
from streams.load.election import VALIDATION, LoadPlan
from streams.runtime.logs import configure_logging
from streams.settings.build import deployment_config
from streams.settings.load import load_settings


def command(
    *,
    votes: Annotated[
        int, typer.Option(min=1, max=MAX_NUMBER, help="Votes to be counted.")
    ] = 50_000,
    workers: Annotated[int, typer.Option(min=1, max=8, help="Workers to run.")] = 1,
    ingress: Annotated[
        str, typer.Option(help="votes.validation, or votes.aggregation (no check of the roll).")
    ] = VALIDATION,
    seed: Annotated[
        int, typer.Option(min=0, max=MAX_NUMBER, help="Different seeds make different votes.")
    ] = 1,
    tls: Annotated[
        bool, typer.Option("--tls", help="Use TLS and passwords for all services.")
    ] = False,
    given_services: Annotated[
        bool,
        typer.Option(
            "--given-services",
            help="Use empty services whose addresses are in the environment.",
        ),
    ] = False,
    hold: Annotated[
        bool, typer.Option("--hold", help="Keep everything running until Ctrl-C.")
    ] = False,
) -> None:
    """Start RabbitMQ, Kafka, Redis and PostgreSQL, count an election, prove the count, clean up.

    Votes pass the whole chain: queue, bridge, Kafka, agents, database, mirror and review queue.
    Some are duplicates, unknown voters, malformed messages and repeated deliveries. At the end
    every line is compared with the expected outcome: exit code 0 if all is equal, 3 if not.

    Everything lives in the folder `demo` of SCRUTIN_STACK_DIR (`.stack`), on free ports of this
    machine; a run leaves only logs and the expected outcome there. Services whose addresses are
    in the environment are used only with `--given-services`: topics, tables and queues stay in
    them, keys in Redis do not.

    Examples:

        scrutin demo

        scrutin demo --votes 200000 --workers 2

        scrutin demo --tls

        scrutin demo --ingress votes.aggregation --hold
    """
    settings = load_settings()
    configure_logging("ERROR", settings.log_format)
    plan = LoadPlan(
        votes=votes,
        seed=seed,
        duplicates=0.02,
        unknown=0.005,
        bad_choice=0.002,
        malformed=0.002,
        repeats=0.005,
        candidates=0.04,
        queue=ingress,
        max_body_bytes=settings.max_body_bytes,
    )
    screen = Screen()
    show = Demo(
        settings.stack_dir / "demo",
        plan,
        workers=workers,
        tls=tls,
        given=given_services,
        say=screen.say,
        configure=lambda env: deployment_config(load_settings(env)),
    )
    sys.exit(uvloop.run(_run(show, screen, hold=hold)))


async def _run(show: Demo, screen: Screen, *, hold: bool) -> ExitCode:
    leave = _Leave()
    with leave.signals():
        try:
            outcome = await _play(show, screen, leave if hold else None)
        except asyncio.CancelledError:
            screen.say("demo", "interrupted; all processes and services have ended")
            return ExitCode.INTERRUPTED
    screen.verdict(outcome, show.logs)
    if not hold:
        screen.invite()
    return ExitCode.OK if outcome.good else ExitCode.DIFFERENT


class _Leave:
    """SIGINT and SIGTERM: cancel the demo, or end `--hold` gracefully."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self._holding = False
        self._task = asyncio.current_task()

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Handle the signals during the block."""
        loop = asyncio.get_running_loop()
        for sig in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(sig, self._on_signal)
        try:
            yield
        finally:
            for sig in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(sig)

    async def asked(self) -> None:
        """Wait for a signal."""
        self._holding = True
        await self._asked.wait()
        self._holding = False

    def _on_signal(self) -> None:
        if self._holding:
            self._asked.set()
        elif self._task is not None:
            self._task.cancel()


async def _play(show: Demo, screen: Screen, hold: _Leave | None) -> DemoReport:
    screen.step("Services")
    async with show.services():
        screen.step("Processes")
        with counting("loading the roll", show.plan.roll_size) as advance:
            size = await show.load_roll(advance)
        screen.say("roll", f"{size:,} hashes in valid_hashes")
        async with show.processes():
            for program in show.programs:
                screen.say(program.name, f"ready, pid {program.pid}, port {program.port}")
            screen.addresses(show.addresses())
            screen.step(f"Votes on {show.plan.queue}")
            with screen.bars(show.plan) as (published, counted, look):
                outcome = await show.count(published=published, counted=counted, look=look)
            screen.throughput(outcome)
            screen.results(outcome.report, outcome.expected)
            screen.proof(outcome.report)
            if hold is not None:
                screen.step(f"Running until Ctrl-C: {show.page}")
                await hold.asked()
            screen.step("End")
            outcome.exit_codes = await show.end_processes()
            for name, code in outcome.exit_codes.items():
                screen.say(name, f"SIGTERM, exit code {code}")
    return outcome
