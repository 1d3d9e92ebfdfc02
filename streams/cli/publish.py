"""`scrutin publish`: a reproducible election on the real queue, with its expected outcome."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop

from streams.adapters.redis.roll import load_roll
from streams.cli.roll import log_roll
from streams.cli.show import JsonOption, console, counting, quiet_drivers, run, write_json
from streams.cli.values import MAX_NUMBER, finite
from streams.errors import ExitCode
from streams.load.election import ELECTIONS, VALIDATION, LoadPlan, SyntheticElection
from streams.load.expected import Expected
from streams.load.play import play
from streams.runtime.logs import configure_logging
from streams.settings.build import deployment_config
from streams.settings.load import load_settings


class WorkShare:
    """A share of the votes, given as `1%` or `0.01`."""

    def __init__(self, value: float) -> None:
        self.value = value


def _share(text: str) -> WorkShare:
    number = text.removesuffix("%")
    try:
        value = float(number) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a share; write 1% or 0.01") from None
    if not 0 <= value <= 1:
        raise typer.BadParameter(f"{text!r} is not between 0 and 100%")
    return WorkShare(value)


def _option(text: str) -> Any:
    return typer.Option(parser=_share, metavar="SHARE", help=text)


def command(
    *,
    votes: Annotated[
        int,
        typer.Option(
            min=0, max=MAX_NUMBER, help="Votes to be counted; all other messages are extra."
        ),
    ] = (50_000),
    laws: Annotated[int, typer.Option(min=1, max=999, help="Laws to vote on.")] = 5,
    voters: Annotated[
        int,
        typer.Option(
            min=0, max=MAX_NUMBER, help="Citizens on the roll; 0 for a quarter more than needed."
        ),
    ] = 0,
    seed: Annotated[
        int, typer.Option(min=0, max=MAX_NUMBER, help="Different seeds make different voters.")
    ] = 1,
    rate: Annotated[
        float,
        typer.Option(
            callback=finite,
            min=0,
            help="Messages a second, at fixed times; 0: as fast as possible.",
        ),
    ] = 0,
    queue: Annotated[
        str, typer.Option(help="votes.validation, or votes.aggregation (no check of the roll).")
    ] = VALIDATION,
    duplicates: Annotated[WorkShare, _option("Voters who vote again.")] = "1%",  # type: ignore[assignment]
    repeats: Annotated[WorkShare, _option("Messages sent twice under one message_id.")] = "0.2%",  # type: ignore[assignment]
    unknown: Annotated[WorkShare, _option("Votes of people who are not on the roll.")] = "0.5%",  # type: ignore[assignment]
    invalid_choice: Annotated[WorkShare, _option("Choices that no law has.")] = "0.2%",  # type: ignore[assignment]
    malformed: Annotated[WorkShare, _option("Malformed messages.")] = "0.2%",  # type: ignore[assignment]
    candidates: Annotated[WorkShare, _option("Votes for candidates, among the votes.")] = "0%",  # type: ignore[assignment]
    conflicting: Annotated[
        bool, typer.Option("--conflicting", help="Repeated votes may choose differently.")
    ] = False,
    mixture: Annotated[
        bool,
        typer.Option(
            "--mixture", help="A third each plain, with metadata and with an unknown field."
        ),
    ] = False,
    ahead: Annotated[
        bool,
        typer.Option(
            "--ahead",
            help="Make all messages before the first is due, with --rate: 0.5 kB of memory each.",
        ),
    ] = False,
    expected: Annotated[Path, typer.Option(help="File for the expected outcome.")] = Path(
        "expected.json"
    ),
    roll: Annotated[
        bool, typer.Option("--load-roll/--no-load-roll", help="Fill the roll first.")
    ] = True,
    only_roll: Annotated[
        bool, typer.Option("--only-roll", help="Fill the roll and publish nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Publish a seeded, reproducible election and write its expected outcome.

    The same options make the same votes. Messages use every form of deployed senders in turn.
    `scrutin verify FILE` compares the expected outcome with the count.

    Examples:

        scrutin publish --votes 200000

        scrutin publish --votes 10000 --rate 2000 --duplicates 5% --seed 7

        scrutin publish --queue votes.aggregation --expected out/expected.json
    """
    if ahead and not rate:
        raise typer.BadParameter("needs --rate", param_hint="--ahead")
    settings = load_settings()
    configure_logging("WARNING", settings.log_format)
    quiet_drivers()
    plan = LoadPlan(
        votes=votes,
        laws=laws,
        citizens=voters,
        seed=seed,
        duplicates=duplicates.value,
        repeats=repeats.value,
        unknown=unknown.value,
        bad_choice=invalid_choice.value,
        malformed=malformed.value,
        candidates=candidates.value,
        conflicting=conflicting,
        mixture=mixture,
        queue=queue,
        max_body_bytes=settings.max_body_bytes,
    )
    election = SyntheticElection(plan)
    if roll or only_roll:
        if settings.roll == "table":
            source = log_roll.RollSource("election", election.roll(), plan.roll_size)
            size = run(log_roll.load(settings, source, ["", *ELECTIONS]))["read"]
        else:
            with counting("loading the roll", plan.roll_size) as advance:
                size = asyncio.run(load_roll(settings.redis, election.roll(), advance))
        if not as_json:
            console().print(f"{size:,} hashes on the roll")
    if only_roll:
        return
    with counting(f"publishing to {plan.queue}", plan.messages) as advance:
        outcome = uvloop.run(
            play(
                deployment_config(settings),
                election,
                expected=expected,
                rate=rate or None,
                ahead=ahead,
                advance=advance,
                stop_on_interrupt=True,
            )
        )
    if as_json:
        write_json(_summary(outcome, expected))
    else:
        _say(outcome, expected)
    if outcome.messages < plan.messages:
        sys.exit(ExitCode.INTERRUPTED)


def _summary(outcome: Expected, expected: Path) -> dict[str, object]:
    return {
        "expected": str(expected),
        "queue": outcome.queue,
        "messages": outcome.messages,
        "seconds": outcome.seconds,
        "rate": round(outcome.messages / outcome.seconds) if outcome.seconds else None,
        "counted": outcome.counted,
        "rejected": outcome.rejected,
        "unconfirmed": outcome.unconfirmed,
    }


def _say(outcome: Expected, expected: Path) -> None:
    out = console()
    rate = outcome.messages / outcome.seconds if outcome.seconds else 0
    out.print(f"{outcome.messages:,} messages confirmed in {outcome.seconds:.1f} s ({rate:,.0f}/s)")
    kinds = [f"{sum(reasons.values()):,} {kind}" for kind, reasons in outcome.rejected.items()]
    out.print("; ".join([f"{outcome.counted:,} to be counted", *kinds]))
    if outcome.unconfirmed:
        out.print(f"{outcome.unconfirmed:,} never confirmed: the expected outcome is uncertain")
    out.print(f"Expected outcome in {expected}; compare with: scrutin verify {expected}")
