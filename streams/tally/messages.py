"""Converts messages of older deployments' queues to commands. Pure.

Their backends put a task for every chunk into the queues. Here a message is a command for its
election; the jobs decide which chunks exist and what comes next. So many messages for one election
have the same effect as one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from schemas.tally import Combine, Create, Decrypt, Mode, TallyEvent
from streams.core.nesting import too_deep
from streams.tally.refusals import RefusalCheck, Refused, plain_name, require

TALLY: Final = "tally.creation.queue"
PARTIAL: Final = "partial.decryption.queue"
COMPENSATED: Final = "compensated.decryption.queue"
COMBINE: Final = "combine.decryption.queue"

QUEUES: Final = {
    TALLY: TALLY,
    PARTIAL: PARTIAL,
    COMPENSATED: COMPENSATED,
    COMBINE: COMBINE,
    "tally.queue": TALLY,
    "decryption.queue": PARTIAL,
    "combine.queue": COMBINE,
}
"""Accepted queue name -> documented name."""

_SECRET: Final = re.compile(
    r"private.?key|polynomial|secret|credential|passphrase|password|coordinate",
    re.IGNORECASE,
)


def command_of(queue: str, body: bytes, *, all_guardians: bool = False) -> TallyEvent | None:
    """The command in a message; None if the jobs do the requested work without a command.

    Args:
        queue: documented name.
        body: JSON with `electionId`; for a tally optionally `mode` and `chunkSize`, for a
            guardian's decryption `guardianId` or `guardianSequenceOrder`.
        all_guardians: a decryption may name no guardian; the command then names none either.

    Raises:
        Refused: `secret`, if it holds a plain-text secret; `format`. Neither quotes the message.
    """
    require(
        not too_deep(body),
        RefusalCheck.FORMAT,
        "a message is nested too deeply",
        queue=queue,
    )
    try:
        message = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(
            RefusalCheck.FORMAT, "a message is not JSON", where={"queue": queue}
        ) from error
    require(
        isinstance(message, dict),
        RefusalCheck.FORMAT,
        "a message is not a JSON object",
        queue=queue,
    )
    for name, value in _fields(message):
        require(
            not _SECRET.search(name) or value in (None, "", [], {}),
            RefusalCheck.SECRET,
            "a message holds a guardian's secret in plain text and was not forwarded",
            queue=queue,
            field=name[:40],
        )
    election_id = _id(queue, message, "electionId", "election_id")
    match queue:
        case "tally.creation.queue":
            return _create(queue, election_id, message)
        case "partial.decryption.queue":
            names = ("guardianId", "guardian_id", "guardianSequenceOrder")
            if all_guardians and all(message.get(name) is None for name in names):
                return Decrypt(election_id, "")
            return Decrypt(election_id, _id(queue, message, *names))
        case "combine.decryption.queue":
            return Combine(election_id)
    return None


def _create(queue: str, election_id: str, message: dict[str, Any]) -> Create:
    mode = message.get("mode", Mode.SINGLE)
    size = message.get("chunkSize", 50)
    require(
        isinstance(mode, str)
        and mode in set(Mode)
        and isinstance(size, int)
        and 1 <= size <= 1_000_000,
        RefusalCheck.FORMAT,
        "a message has an invalid mode or chunk size",
        queue=queue,
    )
    # The database supplies guardians and quorum.
    return Create(election_id, [], 0, Mode(mode), size)


def _id(queue: str, message: dict[str, Any], *names: str) -> str:
    for name in names:
        value = message.get(name)
        if isinstance(value, bool):
            continue
        if isinstance(value, int | str) and plain_name(str(value)):
            return str(value)
    raise Refused(RefusalCheck.FORMAT, f"a message has no {names[0]}", where={"queue": queue})


def _fields(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name, inner
            yield from _fields(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _fields(inner)
