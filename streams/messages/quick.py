"""Reads a vote as it usually comes, in a fraction of the time of :mod:`streams.messages.incoming`.

The answer is the same, or None: this module never decides that a body is malformed. Tests compare
both on generated bodies.
"""

from __future__ import annotations

from typing import Final

from streams.core.keys import ELECTION_PREFIX
from streams.core.polls import POLL_PREFIX
from streams.messages.fields import CHOICES, MAX_HASH_BYTES, MAX_ID_BYTES, NotAVote
from streams.messages.incoming import ParsedVote, read_poll_vote
from streams.messages.json_fields import metadata_as_it_is, read_each_once
from streams.messages.ranked_ballots import read_ranked
from streams.messages.timestamps import parse_epoch, parse_iso

_RESERVED: Final = (ELECTION_PREFIX, POLL_PREFIX)
_ID_CHARACTERS: Final = MAX_ID_BYTES // 4
"""A character takes up to four bytes."""


# Not split up: it runs for every vote.
def read_quickly(  # noqa: PLR0911, PLR0912, PLR0915
    body: bytes, max_metadata_bytes: int, poll_key: bytes
) -> ParsedVote | None:
    """Parse a vote whose aliases agree and whose fields have their usual types.

    Returns:
        None for every other body, well-formed or not.
    """
    fields = read_each_once(body)
    if fields is None:
        return None
    take = fields.pop
    vote_hash = take("vote_hash", None)
    if "voter_hash" in fields:
        alias = take("voter_hash")
        if vote_hash is None:
            vote_hash = alias
        elif alias != vote_hash:
            return None
    if "hash" in fields:
        alias = take("hash")
        if vote_hash is None:
            vote_hash = alias
        elif alias != vote_hash:
            return None
    if type(vote_hash) is not str or not 0 < len(vote_hash) <= MAX_HASH_BYTES:
        return None
    choice = take("choice", None)
    if "vote" in fields:
        alias = take("vote")
        if choice is None:
            choice = alias
        elif alias != choice:
            return None
    contest = take("law_id", None)
    candidate: str | None = None
    if contest is not None:
        if type(choice) is not str or take("candidate_id", None) is not None:
            return None
        choice = CHOICES.get(choice)
        contest = _id(contest)
        if choice is None or not contest or contest.startswith(_RESERVED):
            return None
    else:
        candidate = take("candidate_id", None)
        if candidate is not None:
            candidate = _id(candidate)
            if not candidate:
                return None
        if "poll_id" in fields:
            return read_poll_vote(body, poll_key) if candidate is None else None
        if choice is not None:
            return None
        choice = ""
        if "ranked_choices" in fields:
            try:
                candidate = read_ranked(fields, candidate)
            except NotAVote:
                return None
        if candidate is None:
            return None
        contest = take("election_id", None)
        contest = "" if contest is None else _id(contest)
        if contest is None:
            return None
    time = take("timestamp", None)
    if "vote_timestamp" in fields:
        alias = take("vote_timestamp")
        if time is None:
            time = alias
        elif alias != time or type(alias) is not type(time):
            return None
    micros: int | None = None
    if time is not None:
        if type(time) is str:
            micros = parse_iso(time)
        elif isinstance(time, int | float) and type(time) is not bool:
            micros = parse_epoch(time)
        if micros is None:
            return None
    citizen = take("citizen_id", None)
    if citizen is not None:
        citizen = _id(citizen)
        if citizen is None:
            return None
    if not vote_hash.isascii():
        return None
    metadata: str | None = None
    if fields:
        if "nas" in fields and type(take("nas")) is not str:
            return None
        if "code" in fields and type(take("code")) is not str:
            return None
        # Usually this is the only one that is null.
        if fields.get("metadata", fields) is None:
            del fields["metadata"]
        if fields:
            metadata = metadata_as_it_is(fields, max_metadata_bytes)
            if metadata is None:
                return None
            if "null" in metadata and None in fields.values():
                fields = {name: value for name, value in fields.items() if value is not None}
                metadata = metadata_as_it_is(fields, max_metadata_bytes)
                if metadata is None:
                    return None
            if metadata == "{}":
                metadata = None
    return ParsedVote(vote_hash, contest, candidate, choice, micros, citizen, metadata)


def _id(value: object) -> str | None:
    text = str(value) if type(value) is int else value
    return text if type(text) is str and len(text) <= _ID_CHARACTERS else None
