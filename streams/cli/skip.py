"""`scrutin skip`: let the count skip a record that cannot be decoded."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from schemas.skip import Skip
from streams.adapters.kafka.reader import LogReader
from streams.adapters.kafka.writer import writing
from streams.cli.show import JsonOption, console, iso, moment, run, write_json
from streams.cli.values import MAX_NUMBER
from streams.control.skips import UNDECODABLE_RECORD, decide_skip
from streams.core.topics import VALIDATED_TOPIC, VALIDATION_TOPIC, WINDOWS_TOPIC, changelog_topic
from streams.errors import ScrutinError
from streams.settings.load import load_settings
from streams.settings.model import Settings


def command(
    topic: Annotated[str, typer.Argument(help="As named by the worker that stopped.")],
    partition: Annotated[int, typer.Argument(min=0, max=MAX_NUMBER)],
    offset: Annotated[int, typer.Argument(min=0, max=2**63 - 1)],
    *,
    reason: Annotated[
        str, typer.Option(help="Why, for later readers of the log.", show_default=False)
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the decision without writing it.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Let the count skip a record of `votes.validation` that cannot be decoded.

    A worker that reads one ends with exit code 30, so that no loss goes unnoticed. The decision is
    written to the same partition, where every reader of the log finds it, now and in later replays.
    In the count the record becomes one malformed message with the reason `undecodable_record`: a
    row in `rejected_votes` with its digest and a mask of its first 4 KiB, and a review. The record
    itself stays in the log. Start the workers again afterwards.

    Other topics are derived from this log: for a broken record there use `scrutin rebuild`.

    Examples:

        scrutin skip votes.validation 3 18204 --dry-run

        scrutin skip votes.validation 3 18204 --reason "test message of a backup job"
    """
    settings = load_settings()
    _check_topic(settings, topic)
    decided = run(_decide(settings, partition, offset, reason, write=not dry_run))
    if as_json:
        write_json({**_facts(partition, decided), "written": not dry_run})
        return
    verb = "would be skipped" if dry_run else "is skipped"
    console().print(
        f"Offset {offset} of partition {partition}, {decided.length:,} bytes, {verb}"
        f" as one malformed message ({UNDECODABLE_RECORD}), decided {moment(decided.decided_ms)}."
    )


def _check_topic(settings: Settings, topic: str) -> None:
    rebuilt = {
        changelog_topic(settings.app_id): "voted",
        VALIDATED_TOPIC: "validated",
        WINDOWS_TOPIC: "postgres",
    }
    if topic == VALIDATION_TOPIC:
        return
    if topic in rebuilt:
        raise ScrutinError(
            "This topic is derived from the input log; skipping a record of it would lose votes",
            where={"topic": topic},
            todo=f"Stop the workers and run `scrutin rebuild {rebuilt[topic]}`",
        )
    raise typer.BadParameter(f"{topic} is not a topic of Scrutin", param_hint="TOPIC")


async def _decide(
    settings: Settings, partition: int, offset: int, reason: str, *, write: bool
) -> Skip:
    if partition >= settings.partitions:
        raise typer.BadParameter(
            f"there are {settings.partitions} partitions, from 0", param_hint="PARTITION"
        )
    reader = LogReader(settings.kafka.servers)
    async with writing(settings.kafka, settings.retry) as writer:
        return await decide_skip(reader, writer, partition, offset, reason, write=write)


def _facts(partition: int, skip: Skip) -> dict[str, Any]:
    return {
        "topic": VALIDATION_TOPIC,
        "partition": partition,
        "offset": skip.offset,
        "bytes": skip.length,
        "sha256": skip.sha256.hex(),
        "decided_at": iso(skip.decided_ms),
        "reason": skip.reason,
    }
