"""Ballots of a file as votes of an election. Pure.

A vote's identity comes from the file's digest, the line, and the copy within the line. So a file
that is sent again, or from the middle on, changes nothing: each of its ballots counts once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from schemas.control import ContestMethod
from streams.core import ranking
from streams.core.ranking import Ranking
from streams.elections.definitions import METHODS, CandidateDefinition, ElectionDefinition
from streams.elections.files.items import FileBallot, FileLayout, FileRefused, NoBallot

_MAX_SHOWN: Final = 20


@dataclass(frozen=True)
class Source:
    """The file from which ballots come."""

    name: str
    sha256: str


@dataclass(frozen=True)
class FileVote:
    """One vote, ready for the queue."""

    message_id: str
    body: bytes


@dataclass(frozen=True)
class Names:
    """Which candidate a label of a file means."""

    known: dict[str, str]
    """Label -> candidate id."""
    passed_over: frozenset[str]
    """Labels of candidates who withdrew and do not stand."""
    by_name: dict[str, str]
    """Names and ids of candidates -> candidate id, where a file has no list of names."""

    def ranks(self, ballot: FileBallot) -> list[list[str]]:
        """Candidate ids marked at each rank.

        A rank with marks of withdrawn candidates only is no gap: it is left out.

        Raises:
            NoBallot: a label is not known, or the ballot is too long.
        """
        found: list[list[str]] = []
        for marked in ballot.marks:
            kept = [self._id(label) for label in marked if label not in self.passed_over]
            if kept or not marked:
                found.append(kept)
        try:
            ranking.to_text(found)
        except ValueError as fault:
            raise NoBallot(f"the ballot is {fault}") from fault
        return found

    def ranking(self, ballot: FileBallot) -> Ranking:
        """The same as the count reads it."""
        return ranking.from_text(ranking.to_text(self.ranks(ballot)))

    def _id(self, label: str) -> str:
        if label == ranking.OVERVOTE:
            return label
        found = self.known.get(label) or self.by_name.get(_plain(label))
        if found is None:
            raise NoBallot(f"there is no candidate {label[:40]!r}")
        return found


def match(
    layout: FileLayout,
    standing: Sequence[CandidateDefinition],
    given: Mapping[str, str] | None = None,
) -> Names:
    """Find the candidates that a file names: by their names, or by their ids.

    Args:
        layout: of the file.
        standing: candidates of the election.
        given: names of the file -> candidate ids, for names that are written otherwise.

    Raises:
        FileRefused: a name belongs to nobody or to several candidates.
    """
    ids = {str(candidate.id) for candidate in standing}
    by_name: dict[str, str] = {}
    twice: set[str] = set()
    for candidate in standing:
        name = _plain(candidate.name)
        if by_name.setdefault(name, str(candidate.id)) != str(candidate.id):
            twice.add(name)
    for name in twice:
        del by_name[name]
    by_name |= {each: each for each in ids}
    for name, each in (given or {}).items():
        if each not in ids:
            raise FileRefused(f"There is no candidate {each} for {name!r}")
        by_name[_plain(name)] = each
    known = {
        label: found
        for label, name in layout.names.items()
        if (found := by_name.get(_plain(name))) is not None
    }
    missing = [n for label, n in layout.names.items() if label not in {*known, *layout.withdrawn}]
    if missing:
        raise FileRefused(
            f"No candidate is called {', '.join(map(repr, missing[:_MAX_SHOWN]))}",
            where={"names": len(missing)},
            todo="Write --candidate 'NAME=ID' for each",
        )
    if len(set(known.values())) < len(known):
        raise FileRefused("Two names of the file mean the same candidate")
    gone = frozenset(label for label in layout.withdrawn if label not in known)
    return Names(known, gone, by_name if layout.open_names else {})


def votes_of(
    ballot: FileBallot,
    names: Names,
    election: ElectionDefinition,
    source: Source,
    region: int | None = None,
) -> Iterator[FileVote]:
    """The votes of a line.

    Raises:
        NoBallot: it does not fit the election.
    """
    ranks = names.ranks(ballot)
    fields: dict[str, Any] = {"election_id": election.id}
    if METHODS[election.method] == ContestMethod.SINGLE:
        if len(ranks) != 1 or len(ranks[0]) != 1:
            raise NoBallot("not exactly one candidate, in an election by single choice")
        fields["candidate_id"] = ranks[0][0]
    else:
        fields |= {
            "voting_method": "ranked_choice",
            "ranked_choices": [_rank(marked) for marked in ranks],
        }
    if region is not None:
        fields["region_id"] = region
    for copy in range(1, ballot.number + 1):
        identity = f"{source.sha256}/{ballot.row}/{copy}"
        body = {
            "voter_hash": hashlib.sha256(f"ballot file {identity}".encode()).hexdigest(),
            **fields,
            "source": {"file": source.name, "sha256": source.sha256, "row": ballot.row},
        }
        yield FileVote(f"ballot-file-{identity}", msgspec.json.encode(body))


def _rank(marked: list[str]) -> str | list[str] | None:
    if len(marked) == 1:
        return marked[0]
    return marked or None


def _plain(name: str) -> str:
    return " ".join(name.casefold().split())
