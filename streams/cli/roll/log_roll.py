"""`scrutin roll` for the roll in the log."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

from streams.adapters.kafka.view import LogView
from streams.cli.issuing import issuing, passed
from streams.cli.show import counting
from streams.control.roll_loader import Load, RollCommand, announce_roll, pack, vote_kind
from streams.control.trail import note_action
from streams.core.keys import partition_of, voter_key
from streams.core.rules import Rules
from streams.core.topics import changelog_topic
from streams.inspect.export import Format, open_writer
from streams.inspect.roll import restore_rolls
from streams.settings.model import Settings

_PATIENCE_S: Final = 120.0
"""Longest wait for the workers after a load."""
_CHANGE_PATIENCE_S: Final = 30.0
"""Longest wait after a change of a few voters."""
_ROWS: Final = 10_000


@dataclass(frozen=True)
class RollSource:
    """A source of roll entries."""

    name: str
    hashes: Iterable[str]
    total: int
    """Approximate number of entries, for the progress bar."""
    digest: bytes = b""
    """Digest of all entries; empty: an interrupted load cannot be resumed."""
    weights: Mapping[str, int] = field(default_factory=dict)
    """Of hashes whose votes do not count once."""


async def load(settings: Settings, source: RollSource, contests: Sequence[str]) -> dict[str, Any]:
    """Load a roll into the log and wait until every partition has it.

    Raises:
        ServiceUnavailable: a service does not answer; repeated, the load resumes.
    """
    digest = hashlib.blake2b(digest_size=16)
    digest.update(source.digest or secrets.token_bytes(16))
    for contest in contests:
        digest.update(b"\0" + contest.encode())
    read = 0
    async with issuing(settings) as issuer:
        task = Load(
            connection=issuer.connection,
            writer=issuer.writer,
            partitions=issuer.partitions,
            log_id=issuer.log_id,
            source=digest.digest(),
            name=source.name,
        )
        await note_action(issuer.connection, issuer.actor, "roll load", ", ".join(contests))
        done = await task.begin()
        with counting("loading the roll", source.total) as show:

            def advance(count: int) -> None:
                nonlocal read
                read += count
                show(count)

            command = await task.run(source.hashes, contests, done, advance, source.weights)
        await passed(issuer.connection, command.command_id, issuer.partitions, _PATIENCE_S)
    return {"roll": "log", "read": read, "resumed_at": done, "contests": list(contests)}


async def change(
    settings: Settings, entries: list[str], contests: Sequence[str], *, add: bool
) -> dict[str, int]:
    """Add or withdraw voters, and wait until it takes effect.

    Raises:
        ServiceUnavailable: a service does not answer, or no worker applied it in time.
    """
    packed = pack(entries, contests, settings.partitions)
    async with issuing(settings) as issuer:
        action = "roll add" if add else "roll withdraw"
        await note_action(issuer.connection, issuer.actor, action, ", ".join(contests))
        command = RollCommand(issuer.writer)
        await (command.add(packed) if add else command.withdraw(packed))
        await command.end(packed)
        if add:
            await announce_roll(issuer.writer, issuer.log_id)
        await passed(issuer.connection, command.command_id, len(packed), _CHANGE_PATIENCE_S)
    return {"added" if add else "withdrawn": len(entries)}


async def stats(settings: Settings) -> dict[str, Any]:
    """Entries by partition."""
    rules = await _restore(settings)
    sizes = {partition: len(found.roll) for partition, found in sorted(rules.items())}
    weighed = [weight for found in rules.values() for weight in found.weights.values()]
    entries = sum(sizes.values())
    return {
        "roll": "log",
        "entries": entries,
        "weight": entries - len(weighed) + sum(weighed),
        "partitions": sizes,
    }


async def check(settings: Settings, entry: str, contests: Sequence[str]) -> dict[str, bool]:
    """Whether a voter is on the roll, by contest; `laws` if none is named."""
    keys = {
        contest or "laws": voter_key(entry, contest, vote_kind(contest))
        for contest in contests or [""]
    }
    places = {name: partition_of(key, settings.partitions) for name, key in keys.items()}
    rules = await _restore(settings, set(places.values()))
    return {name: keys[name] in rules[place].roll for name, place in places.items()}


async def export(settings: Settings, output: Path | None, form: Format) -> int:
    """Write all voter keys; returns their number."""
    rules = await _restore(settings)
    count = 0
    with open_writer(output, form, {"hash": str}) as writer:
        for found in rules.values():
            keys = iter(found.roll)
            while rows := [{"hash": key.hex()} for key in islice(keys, _ROWS)]:
                writer.write(rows)
                count += len(rows)
    return count


async def _restore(settings: Settings, partitions: set[int] | None = None) -> dict[int, Rules]:
    topic = changelog_topic(settings.app_id)
    async with LogView(settings.kafka.servers) as view:
        spans = await view.spans(topic)
        wanted = {p: s for p, s in spans.items() if partitions is None or p in partitions}
        total = sum(span.end - span.begin for span in wanted.values())
        with counting("changelog", total) as advance:
            return await restore_rolls(view, topic, wanted, advance)


async def write_hashes(output: Path | None, form: Format, hashes: AsyncIterable[str]) -> int:
    """Write hashes as they arrive; returns their number."""
    count = 0
    rows: list[dict[str, str | int | None]] = []
    with open_writer(output, form, {"hash": str}) as writer:
        async for entry in hashes:
            rows.append({"hash": entry})
            count += 1
            if len(rows) >= _ROWS:
                writer.write(rows)
                rows = []
        writer.write(rows)
    return count
