"""Messages with committed totals for live subscribers: signatures, and how they merge. Pure.

Anyone who may publish in Redis may publish here. So a number is shown only if a worker has signed
it with `SCRUTIN_SECRET`; any other message makes a gateway read the contests that it names.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from schemas.votes import VoteBatch
from streams.core.polls import POLL_PREFIX, derived_key
from streams.core.ranking import SEPARATOR
from streams.core.records import VerdictEvent
from streams.core.rows import split

CHANNEL: Final = "scrutin:totals"


MAX_NOTICES: Final = 50
"""Per message; people see them on a page."""


Totals = dict[str, dict[str, int]]
"""Contest -> choice -> votes."""


class Notice(msgspec.Struct, frozen=True):
    """A vote in a poll by name, where names are public."""

    contest: str
    choice: str
    voter_name: str


class TotalsMessage(msgspec.Struct, omit_defaults=True):
    """A published message, as JSON."""

    contests: Totals
    """Only contests that changed; each number is a committed total."""
    notices: list[Notice] = []
    """At most :data:`MAX_NOTICES` of the votes."""
    at_ms: int = 0
    """When it was signed, Unix milliseconds."""


MAX_AGE_MS: Final = 30_000
"""A signed message that is older, or from the future by as much, may be one that is repeated."""

_PURPOSE: Final = b"scrutin live totals/1"
_SIGNATURE: Final = b',"signature":"'
_END: Final = b'"}'
_decoder: Final = msgspec.json.Decoder(TotalsMessage)


def totals_key(secret: str) -> bytes:
    """Key that signs live totals; empty without a secret."""
    return derived_key(secret, _PURPOSE)


def write_message(message: TotalsMessage, key: bytes) -> bytes:
    """Encode a message; with a key, its last field is a signature of all the others."""
    body = msgspec.json.encode(message)
    if not key:
        return body
    return body[:-1] + _SIGNATURE + hmac.digest(key, body, "sha256").hex().encode() + _END


def read_message(data: bytes) -> TotalsMessage:
    """Decode a message; an empty one if it is not Scrutin's."""
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return TotalsMessage({})


def is_genuine(data: bytes, message: TotalsMessage, key: bytes, now_ms: int) -> bool:
    """Whether a worker has signed a message lately; False if the key is empty."""
    if not key or abs(now_ms - message.at_ms) > MAX_AGE_MS:
        return False
    body, _, signature = data.rpartition(_SIGNATURE)
    expected = hmac.digest(key, body + b"}", "sha256").hex().encode() + _END
    return hmac.compare_digest(expected, signature)


def notices(events: Iterable[VerdictEvent]) -> list[Notice]:
    """Counted votes of polls by name, no more than :data:`MAX_NOTICES`."""
    found: list[Notice] = []
    for event in events:
        if not isinstance(event.record, VoteBatch):
            continue
        for _, vote in split(event.verdicts, event.record)[0]:
            if vote.metadata is not None and vote.contest.startswith(POLL_PREFIX):
                name = msgspec.json.decode(vote.metadata).get("voter_name")
                found.append(Notice(vote.contest, vote.choice, str(name)))
                if len(found) >= MAX_NOTICES:
                    return found
    return found


def merge(into: Totals, totals: Mapping[tuple[str, str], int]) -> None:
    """Keep the higher of two totals. Rankings are left out: their subscribers ask the database.

    A contest whose totals may fall is named without totals, so that subscribers ask at once.
    """
    for (contest, choice), votes in totals.items():
        if SEPARATOR in choice:
            continue
        choices = into.setdefault(contest, {})
        if not choice:
            continue
        choices[choice] = max(votes, choices.get(choice, 0))
