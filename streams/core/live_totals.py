"""Committed totals as they are published to watchers: messages and how they merge. Pure."""

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
"""In one message; they are for people to see."""


Totals = dict[str, dict[str, int]]
"""Contest -> choice -> votes."""


class Notice(msgspec.Struct, frozen=True):
    """A vote in a poll whose voters go by name, which is public there."""

    contest: str
    choice: str
    voter_name: str


class TotalsMessage(msgspec.Struct, omit_defaults=True):
    """What is published, as JSON."""

    contests: Totals
    """Only what has changed; each number is a committed total."""
    notices: list[Notice] = []
    """Some of the votes."""


_decoder: Final = msgspec.json.Decoder(TotalsMessage)


def read_message(data: bytes) -> TotalsMessage:
    """A message; an empty one if it is none of ours."""
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
    """Keep the higher of two totals; rankings are left out, their watchers ask the database."""
    for (contest, choice), votes in totals.items():
        if SEPARATOR in choice:
            continue
        choices = into.setdefault(contest, {})
        choices[choice] = max(votes, choices.get(choice, 0))
