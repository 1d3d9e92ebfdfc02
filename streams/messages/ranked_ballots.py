"""Ranked ballots as messages hold them, and the text of their choice. Pure."""

from __future__ import annotations

import re
from typing import Any, Final

from streams.core import ranking
from streams.messages.fields import MAX_ID_BYTES, MalformedReason, NotAVote, id_of

_RANK: Final = re.compile(r"[0-9]{1,4}", re.ASCII)
_NUMBERS: Final = frozenset({int})
_IDS: Final = _NUMBERS | {str}
_EACH: Final = f"{ranking.SEPARATOR}%d"
RANKED_METHODS: Final = frozenset({"ranked_choice", "ranked", "instant_runoff"})
"""Values of `voting_method` with which `ranked_choices` is the ballot."""


def read_ranked(fields: dict[str, Any], candidate: str | None) -> str | None:
    """The marks of a ranked ballot, otherwise its candidate.

    Deployed clients send `ranked_choices` with every vote, empty or not; `voting_method` says
    whether it applies. If it does, an empty list without a candidate is a blank ballot.
    """
    method = fields.get("voting_method")
    ranks = fields.get("ranked_choices")
    stated = isinstance(method, str) and method in RANKED_METHODS
    if not stated and method is not None:
        return candidate
    if not ranks:
        named = stated or fields.get("election_id") is not None
        if ranks != [] or candidate is not None or not named:
            return candidate
    if not isinstance(ranks, list):
        raise NotAVote(MalformedReason.WRONG_TYPE)
    del fields["ranked_choices"]
    choice = _one_each(ranks)
    if choice is None:
        try:
            choice = ranking.to_text(_as_marked(ranks))
        except ValueError:
            raise NotAVote(MalformedReason.BAD_RANKING) from None
    if candidate is not None:
        first = ranking.marked_at(ranking.first_choice(choice))
        if candidate not in {*first, choice}:
            raise NotAVote(MalformedReason.CONFLICTING_FIELDS)
    return choice


def _one_each(ranks: list[Any]) -> str | None:
    """The choice of a ballot with one short id at each rank; None for every other."""
    types = set(map(type, ranks))
    if types == _NUMBERS:
        text = (_EACH * len(ranks) % tuple(ranks))[1:]
        return text if len(text) <= MAX_ID_BYTES else None
    if not types <= _IDS or "" in ranks:
        return None
    text = ranking.SEPARATOR.join(map(str, ranks))
    if len(text) > MAX_ID_BYTES or not text.isascii() or "\0" in text:
        return None
    if ranking.TOGETHER in text or text.count(ranking.SEPARATOR) != len(ranks) - 1:
        return None
    return text


def _as_marked(ranks: list[Any]) -> list[list[str]]:
    """Candidates at each rank, most preferred first.

    A list has an id for each rank, several in a list of their own, or null for a rank without a
    mark; or it has objects with `candidate_id` and `rank` in any order. Ranks begin with 1, or with
    0 if one of them is 0.
    """
    if dict not in map(type, ranks):
        return [_marked(each) for each in ranks]
    placed: dict[int, list[str]] = {}
    for each in ranks:
        if not isinstance(each, dict):
            raise NotAVote(MalformedReason.WRONG_TYPE)
        placed.setdefault(_rank(each.get("rank")), []).extend(_marked(each.get("candidate_id")))
    return [placed.get(rank, []) for rank in range(min(1, *placed), max(placed) + 1)]


def _marked(candidates: Any) -> list[str]:
    if candidates is None:
        return []
    return [id_of(each) for each in (candidates if isinstance(candidates, list) else [candidates])]


def _rank(value: Any) -> int:
    """A rank, which may be sent as text."""
    if isinstance(value, str) and _RANK.fullmatch(value):
        value = int(value)
    if type(value) is not int:
        raise NotAVote(MalformedReason.WRONG_TYPE)
    if not 0 <= value <= ranking.MAX_RANKING_BYTES:
        raise NotAVote(MalformedReason.BAD_RANKING)
    return value
