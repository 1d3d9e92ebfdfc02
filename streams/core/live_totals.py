"""Messages with committed totals for live subscribers, and how they merge. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from schemas.votes import VoteBatch
from streams.core.polls import POLL_PREFIX
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


_decoder: Final = msgspec.json.Decoder(TotalsMessage)


def read_message(data: bytes) -> TotalsMessage:
    """Decode a message; an empty one if it is not Scrutin's."""
    try:
        return _decoder.decode(data)
    except msgspec.DecodeError:
        return TotalsMessage({})


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
    """Keep the higher of two totals. Rankings are left out: their subscribers ask the database."""
    for (contest, choice), votes in totals.items():
        if SEPARATOR in choice:
            continue
        choices = into.setdefault(contest, {})
        choices[choice] = max(votes, choices.get(choice, 0))
