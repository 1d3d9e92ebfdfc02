"""Messages of the replaced poll services: one for each vote by name. Pure.

`{"voter_name": "Ann", "poll_id": 7, "option_id": 2, "delta": 1}` on the exchange `poll_updates`.
Incoming messages are votes; write permission on the exchange is their only proof. Outgoing ones
tell an external poll service what was counted.
"""

from __future__ import annotations

import json
from typing import Final

import msgspec

from schemas.verdicts import VerdictBatch
from schemas.votes import VoteBatch
from streams.core.polls import MAX_NAME_CHARACTERS, POLL_PREFIX, is_number, name_hash
from streams.messages.incoming import MalformedReason, NotAVote, ParsedVote, id_of, parse, text_of
from streams.messages.outgoing import Publication, accepted, message_id_of

EXCHANGE: Final = "poll_updates"
ROUTING_KEY: Final = "poll.vote_update"

_NEEDED: Final = {
    "voter_name": MalformedReason.MISSING_HASH,
    "poll_id": MalformedReason.MISSING_CONTEST,
    "option_id": MalformedReason.MISSING_CHOICE,
}

_encode: Final = msgspec.json.Encoder().encode


class PollUpdate(msgspec.Struct, frozen=True):
    """One more vote in a poll."""

    voter_name: str
    """Empty in a poll without voter names."""
    poll_id: int
    option_id: int
    delta: int = 1


def poll_updates(verdicts: VerdictBatch, record: VoteBatch) -> list[Publication]:
    """One message for every accepted vote in a poll.

    Args:
        verdicts: as read.
        record: its input record, decoded.
    """
    found = []
    for vote in accepted(verdicts, record):
        poll = vote.contest.removeprefix(POLL_PREFIX)
        # A contest announced by hand under the poll prefix has no page and no number.
        if poll == vote.contest or not is_number(poll) or not is_number(vote.choice):
            continue
        kept = {} if vote.metadata is None else msgspec.json.decode(vote.metadata)
        update = PollUpdate(str(kept.get("voter_name", "")), int(poll), int(vote.choice))
        found.append(Publication(message_id_of(vote.identity, "counted", 0), _encode(update)))
    return found


def read_update(body: bytes, poll_key: bytes) -> ParsedVote:
    """Parse a message into the vote that the gateway would create for that name.

    Args:
        body: of bounded length.
        poll_key: key of the voters' hashes.

    Raises:
        NotAVote: it is malformed.
    """
    fields = parse(body)
    for needed, missing in _NEEDED.items():
        if needed not in fields:
            raise NotAVote(missing)
    delta = fields.get("delta", 1)
    if type(delta) is not int or delta != 1:
        raise NotAVote(MalformedReason.BAD_DELTA)
    name = text_of(fields["voter_name"]).strip()
    if not 1 <= len(name) <= MAX_NAME_CHARACTERS:
        raise NotAVote(MalformedReason.BAD_HASH)
    contest = POLL_PREFIX + _number("poll_id", fields)
    return ParsedVote(
        name_hash(poll_key, contest, name),
        contest,
        _number("option_id", fields),
        "",
        None,
        None,
        json.dumps({"voter_name": name}, ensure_ascii=False),
        poll=True,
        # In a poll restricted to the roll, a vote by name is refused: no name is on the roll.
        ask_roll=True,
    )


def _number(name: str, fields: dict[str, object]) -> str:
    text = id_of(fields[name])
    if not is_number(text):
        raise NotAVote(MalformedReason.WRONG_TYPE)
    return str(int(text))
