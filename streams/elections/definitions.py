"""Parses tables of parties, regions, elections and candidates. Pure.

Each column has several accepted names; those of the deployed tables come first. Other columns are
ignored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, tzinfo
from typing import Any, Final

from msgspec.structs import replace

from schemas.control import Conduct, Contest, ContestMethod, ContestRoll, RankedRules
from streams.core.contests import draft
from streams.core.dates import parse_begin, parse_end
from streams.core.file_rows import place_of
from streams.core.keys import ELECTION_PREFIX
from streams.core.seats import TRANSFERABLE
from streams.core.texts import is_plain
from streams.elections.rules import read_rules
from streams.errors import ScrutinError

TABLES: Final = {
    "political_parties": "parties",
    "parties": "parties",
    "regions": "regions",
    "elections": "elections",
    "candidates": "candidates",
}
"""Name of a table or file -> kind of its rows."""

METHODS: Final = {
    "single_choice": ContestMethod.SINGLE,
    "single": ContestMethod.SINGLE,
    "ranked_choice": ContestMethod.RANKED,
    "ranked": ContestMethod.RANKED,
    "instant_runoff": ContestMethod.RANKED,
}
"""Values of `voting_method` -> method of the contest."""

_STARTS: Final = ("start_datetime", "starts_at", "start_time", "start_date", "start")
_ENDS: Final = ("end_datetime", "ends_at", "end_time", "end_date", "end")

Row = Mapping[str, Any]


class ElectionsRefused(ScrutinError):
    """A definition of elections is invalid."""


@dataclass(frozen=True)
class PartyDefinition:
    """A party."""

    id: int
    code: str
    name: str
    color: str | None = None


@dataclass(frozen=True)
class Region:
    """A region with one seat."""

    id: int
    code: str
    name: str
    description: str | None = None


@dataclass(frozen=True)
class CandidateDefinition:
    """A candidate of an election."""

    id: int
    election_id: int
    region_id: int | None
    """None: a candidate in all regions."""
    party_id: int | None
    first_name: str
    last_name: str
    bio: str | None = None
    photo_url: str | None = None

    @property
    def name(self) -> str:
        """First and last name."""
        return f"{self.first_name} {self.last_name}".strip()


@dataclass(frozen=True)
class ElectionDefinition:
    """An election; its contest id is `election:` followed by its id."""

    id: int
    code: str
    name: str
    type: str | None = None
    date: date | None = None
    status: str | None = None
    method: str = "single_choice"
    """A key of :data:`METHODS`."""
    description: str | None = None
    starts_ms: int | None = None
    """Unix time in milliseconds."""
    ends_ms: int | None = None
    roll: str = ContestRoll.DEFAULT
    rules: RankedRules | None = None
    """Of a ranked election; None: :data:`streams.elections.rounds.DEFAULT_RULES`, for an
    election that was announced before there were rules."""
    conduct: Conduct = field(default_factory=Conduct)
    """How it is held, with the facts that became known."""

    @property
    def contest(self) -> str:
        """Contest id, as votes name it."""
        return f"{ELECTION_PREFIX}{self.id}"


@dataclass(frozen=True)
class Definitions:
    """Parties, regions, elections and candidates, each by id."""

    parties: dict[int, PartyDefinition] = field(default_factory=dict)
    regions: dict[int, Region] = field(default_factory=dict)
    elections: dict[int, ElectionDefinition] = field(default_factory=dict)
    candidates: dict[int, CandidateDefinition] = field(default_factory=dict)

    def standing(self, election_id: int) -> list[CandidateDefinition]:
        """Candidates of an election in ballot order, which is by id."""
        found = [c for c in self.candidates.values() if c.election_id == election_id]
        return sorted(found, key=lambda candidate: candidate.id)


def read(
    tables: Mapping[str, Sequence[Row]], known: Definitions | None = None, zone: tzinfo = UTC
) -> Definitions:
    """Parse tables.

    Args:
        tables: rows by a key of :data:`TABLES`.
        known: existing definitions that rows may refer to.
        zone: of times without an offset.

    Returns:
        The definitions in the tables, without those in `known`.

    Raises:
        ElectionsRefused: a row is invalid; the error names table and row.
    """
    known = known or Definitions()
    by_name: dict[str, list[Row]] = {}
    for name, rows in tables.items():
        if name not in TABLES:
            raise ElectionsRefused(
                f"There is no election table {name!r}",
                todo=f"Use {', '.join(sorted(TABLES))}",
            )
        by_name.setdefault(TABLES[name], []).extend(rows)
    parties = _by_id("parties", by_name, _party)
    regions = _by_id("regions", by_name, _region)
    elections = _by_id("elections", by_name, lambda row: _election(row, zone))
    codes = {
        "election": _codes({**known.elections, **elections}),
        "region": _codes({**known.regions, **regions}),
        "party": _codes({**known.parties, **parties}),
    }
    candidates = _by_id("candidates", by_name, lambda row: _candidate(row, codes))
    return Definitions(parties, regions, elections, candidates)


def merged(known: Definitions, new: Definitions) -> Definitions:
    """The definitions after an update.

    All candidates of an election are replaced together.

    Raises:
        ElectionsRefused: a reference is unknown, or candidates with and without region are mixed.
    """
    replaced = {candidate.election_id for candidate in new.candidates.values()}
    kept = {c.id: c for c in known.candidates.values() if c.election_id not in replaced}
    if moved := sorted(kept.keys() & new.candidates.keys()):
        raise ElectionsRefused(
            f"Candidate {moved[0]} is already a candidate in another election",
            todo="Use each candidate id in one election only",
        )
    result = Definitions(
        {**known.parties, **new.parties},
        {**known.regions, **new.regions},
        {**known.elections, **new.elections},
        {**kept, **new.candidates},
    )
    for candidate in new.candidates.values():
        for what, wanted, there in (
            ("election", candidate.election_id, result.elections),
            ("region", candidate.region_id, result.regions),
            ("party", candidate.party_id, result.parties),
        ):
            if wanted is not None and wanted not in there:
                raise ElectionsRefused(
                    f"Candidate {candidate.id} refers to {what} {wanted}, which does not exist",
                    todo=f"Add the {what}, or correct the candidate",
                )
    for election_id in replaced:
        regional = {c.region_id is not None for c in result.standing(election_id)}
        if len(regional) > 1:
            raise ElectionsRefused(
                f"Some candidates of election {election_id} have a region and some have none",
                todo="Give all of them a region, or none of them, to elect one seat in all regions",
            )
    return result


def contest_of(definitions: Definitions, election: ElectionDefinition) -> Contest | None:
    """The draft contest of an election; None if it has no candidates yet.

    Raises:
        ContestRefused: the contest would close before it opens.
    """
    standing = definitions.standing(election.id)
    if not standing:
        return None
    regional = standing[0].region_id is not None
    conduct = election.conduct
    if conduct.seats is not None and conduct.seats.method not in TRANSFERABLE:
        # Lists decide who is elected, so they are part of the contest as candidates are.
        seats = replace(conduct.seats, lists=lists_of(standing))
        conduct = replace(conduct, seats=seats)
    return draft(
        election.contest,
        title=election.name,
        choices=[str(candidate.id) for candidate in standing],
        roll=election.roll,
        opens_ms=election.starts_ms,
        closes_ms=election.ends_ms,
        method=METHODS[election.method],
        regions=[str(candidate.region_id) for candidate in standing] if regional else None,
        rules=election.rules,
        conduct=conduct,
    )


def lists_of(standing: Iterable[CandidateDefinition]) -> dict[str, str]:
    """Candidate -> party, of those who have one."""
    return {str(one.id): str(one.party_id) for one in standing if one.party_id is not None}


def _by_id(table: str, tables: Mapping[str, list[Row]], make: Any) -> dict[int, Any]:
    found: dict[int, Any] = {}
    for number, row in enumerate(tables.get(table, []), 1):
        if not any(str(value).strip() for value in row.values() if value is not None):
            # A spreadsheet writes rows that were emptied.
            continue
        try:
            one = make(row)
            if found.setdefault(one.id, one) != one:
                raise ValueError(f"id {one.id} occurs twice with different content")
        except (ValueError, TypeError, OverflowError) as error:
            place, where = place_of(row, table, number)
            raise ElectionsRefused(
                f"{place} is invalid: {error}",
                where=where,
                todo="docs/elections.md lists the columns",
            ) from error
    return found


def _codes(named: Mapping[int, Any]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for one in named.values():
        found.setdefault(one.code, []).append(one.id)
    return found


def _get(row: Row, *names: str) -> Any:
    for name in names:
        value = row.get(name)
        if value is not None and value != "":
            return value
    return None


def _text(row: Row, *names: str) -> str | None:
    value = _get(row, *names)
    if value is None:
        return None
    text = str(value)
    if not is_plain(text, joiners=True, lines=True):
        raise ValueError(f"{names[0]} contains control characters or characters without width")
    return text


def _needed(row: Row, *names: str) -> str:
    text = _text(row, *names)
    if text is None:
        raise ValueError(f"{names[0]} is missing")
    return text


def _number(value: Any, name: str) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError(f"{name} is not a whole number")
    number = int(value)
    if not 0 < number < 2**63:
        raise ValueError(f"{name} is out of range")
    return number


def _id(row: Row, *names: str) -> int:
    value = _get(row, *names)
    if value is None:
        raise ValueError(f"{names[0]} is missing")
    return _number(value, names[0])


def _party(row: Row) -> PartyDefinition:
    code = _needed(row, "party_code", "code", "party_name", "name")
    name = _text(row, "party_name", "name") or code
    return PartyDefinition(
        _id(row, "id", "party_id"), code, name, _text(row, "party_color", "color")
    )


def _region(row: Row) -> Region:
    code = _needed(row, "region_code", "code", "region_name", "name")
    name = _text(row, "region_name", "name") or code
    return Region(_id(row, "id", "region_id"), code, name, _text(row, "description"))


def _election(row: Row, zone: tzinfo) -> ElectionDefinition:
    number = _id(row, "id", "election_id")
    method = (_text(row, "voting_method", "method") or "single_choice").lower()
    if method not in METHODS:
        raise ValueError(f"there is no voting_method {method!r}; use {', '.join(METHODS)}")
    on = _get(row, "election_date", "date")
    ranked = METHODS[method] == ContestMethod.RANKED
    rules, conduct = read_rules(_get(row, "rules"), ranked=ranked)
    return ElectionDefinition(
        id=number,
        code=_text(row, "election_code", "code") or str(number),
        name=_needed(row, "election_name", "name", "title", "election_code", "code"),
        type=_text(row, "election_type", "type"),
        date=None if on is None else _day(on),
        status=_text(row, "status"),
        method=method,
        description=_text(row, "description"),
        starts_ms=parse_begin(_get(row, *_STARTS), zone),
        ends_ms=parse_end(_get(row, *_ENDS), zone),
        roll=_text(row, "roll") or ContestRoll.DEFAULT,
        rules=rules,
        conduct=conduct,
    )


def _candidate(row: Row, codes: Mapping[str, Mapping[str, list[int]]]) -> CandidateDefinition:
    def named(what: str) -> int | None:
        value = _get(row, f"{what}_id")
        if value is not None:
            return _number(value, f"{what}_id")
        code = _text(row, f"{what}_code")
        if code is not None and code not in codes[what]:
            raise ValueError(f"there is no {what}_code {code!r}")
        if code is None:
            return None
        first, *others = codes[what][code]
        if others:
            also = " and ".join(map(str, (first, *others)))
            raise ValueError(f"{what}_code {code!r} belongs to {also}: name the {what}_id")
        return first

    election = named("election")
    if election is None:
        if [len(ids) for ids in codes["election"].values()] != [1]:
            raise ValueError("election_id is missing")
        [[election, *_]] = codes["election"].values()
    first, last = _text(row, "first_name"), _text(row, "last_name", "name", "candidate_name")
    if first is None and last is None:
        raise ValueError("last_name is missing")
    return CandidateDefinition(
        id=_id(row, "id", "candidate_id"),
        election_id=election,
        region_id=named("region"),
        party_id=named("party"),
        first_name=first or "",
        last_name=last or "",
        bio=_text(row, "bio", "biography"),
        photo_url=_text(row, "photo_url", "photo"),
    )


def _day(value: Any) -> date:
    """The day of a date, or of a time where it was written."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        return value.date()
    if not isinstance(value, date):
        raise TypeError(f"{value!r} is not a date")
    return value


def ids(definitions: Iterable[CandidateDefinition]) -> list[str]:
    """Candidate ids, as votes name them."""
    return [str(candidate.id) for candidate in definitions]
