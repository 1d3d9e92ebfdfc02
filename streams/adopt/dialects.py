"""Recognise the tables of the replaced services, whatever their columns are called; pure.

Deployments name the same facts differently. A table is recognised by the facts in its columns, not
by a list of known schemas, and one query maps it to Scrutin's columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from schemas.control import ContestKind
from streams.core.keys import ELECTION_PREFIX
from streams.core.polls import POLL_PREFIX
from streams.errors import ScrutinError

Columns = Mapping[str, str]
"""Column -> its type as in PostgreSQL's `information_schema`."""

AUDIT: Final = "vote_audit"
DUPLICATES: Final = "duplicate_attempts"
RESULTS: Final = "vote_results"
ELECTION_VOTES: Final = "election_votes"
"""Candidate votes that the deployed API writes by itself, beside the audit."""
ELECTION_RESULTS: Final = "election_results"
ELECTIONS: Final = "elections"
LAWS: Final = "laws"
VOTES: Final = (AUDIT, ELECTION_VOTES)
"""Tables with one row a vote."""
POLLS: Final = "polls_poll"
POLL_OPTIONS: Final = "polls_option"
POLL_LOG: Final = "polls_votelog"
"""The votes that the poll service has counted."""
VOTE_LOG: Final = "votes_votelog"
"""The votes that the vote service has accepted, mostly in another database."""
POLL_COLUMNS: Final[Mapping[str, frozenset[str]]] = {
    POLLS: frozenset(
        {"id", "title", "description", "creator_name", "created_at", "end_time", "is_active"}
    ),
    POLL_OPTIONS: frozenset({"id", "poll_id", "text", "vote_count"}),
    POLL_LOG: frozenset({"poll_id_id", "option_id_id", "voter_name", "created_at"}),
    VOTE_LOG: frozenset({"poll_id", "option_id", "voter_name", "created_at"}),
}
"""Tables of the poll services and the columns that are read."""
KNOWN: Final = (*VOTES, DUPLICATES, RESULTS, ELECTION_RESULTS, ELECTIONS, LAWS, *POLL_COLUMNS)

TOTALS_OF: Final = {
    (AUDIT, ContestKind.LAW): RESULTS,
    (ELECTION_VOTES, ContestKind.ELECTION): ELECTION_RESULTS,
}
"""Table of votes and kind of contest -> the old system's own totals of them."""

_HASHES: Final = ("vote_hash", "voter_hash", "hash")
_CHOICES: Final = ("choice", "vote")
_TIMES: Final = ("timestamp", "vote_timestamp", "attempt_timestamp", "voted_at", "submitted_at")
_PROCESSED: Final = ("processed_timestamp", "processed_at", "created_at")
_FIRST: Final = ("first_attempt", "first_attempt_at")
_LAST: Final = ("last_attempt", "last_attempt_at")
_UPDATED: Final = "updated_at"
_SECRETS: Final = ("nas", "code")
_COUNTS: Final = ("vote_count", "votes")
_MAPPED: Final = (
    *_HASHES,
    *_CHOICES,
    *_TIMES,
    "law_id",
    "candidate_id",
    "election_id",
    "citizen_id",
)

COUNTED: Final = ("accepted", "valid", "validated", "aggregated", "counted", "processed", "success")
"""Statuses of an audit row whose vote the old system counted; a row without status counts too."""
REFUSED: Final = ("invalid", "rejected", "malformed", "error", "failed")
DUPLICATE: Final = ("duplicate",)
PENDING: Final = ("pending",)
"""Not decided yet: the message is still in a queue, or lost."""


@dataclass(frozen=True)
class Dialect:
    """How to read an old system's tables.

    Attributes:
        votes: table -> query for its votes: hash, kind, contest, choice, status, at, citizen,
            metadata, extra, unranked (its ranking is not valid), origin (the table).
        duplicates: query for the duplicate rows: hash, kind, contest, stated (whether the row names
            its election), choice, at, citizen, attempts (NULL where a row is one attempt), extra;
            None without such a table.
        totals: table -> query for its totals: kind, contest, choice, votes.
        changed: table of totals -> query for the time of its last change, where it has one.
        elections: query for the contests of the old system's elections; None without their table.
        laws: whether the system has votes on laws.
        candidates: whether it has votes for candidates.
        polls: whether it has polls (:mod:`streams.adopt.polls`).
        tables: those that are read row by row.
    """

    votes: Mapping[str, str]
    duplicates: str | None
    totals: Mapping[str, str]
    changed: Mapping[str, str]
    elections: str | None
    laws: bool
    candidates: bool
    polls: bool
    tables: tuple[str, ...]


def dialect(schema: str, tables: Mapping[str, Columns], default_election: str = "") -> Dialect:
    """Determine the dialect of the tables found.

    Args:
        schema: that holds them.
        tables: name -> columns, for those of :data:`KNOWN` that exist.
        default_election: election of candidate votes that name none.

    Raises:
        ScrutinError: there is no table of votes, or one lacks the voter, contest or choice.
    """
    if not any(table in tables for table in (*VOTES, POLLS)):
        raise ScrutinError(
            f"There is no table {AUDIT} or {ELECTION_VOTES}, and no {POLLS}, to adopt votes from",
            where={"schema": schema},
            todo="Name the database and schema of the old system with --from-database and"
            " --from-schema",
        )
    votes = {table: tables[table] for table in VOTES if table in tables}
    for table, found in votes.items():
        _check(schema, table, found)
    polls = _poll_tables(schema, tables)
    duplicates = tables.get(DUPLICATES)
    if duplicates is not None and not _has(duplicates, _HASHES):
        duplicates = None
    totals = {}
    if {"law_id", "oui_count", "non_count"} <= tables.get(RESULTS, {}).keys():
        totals[RESULTS] = _results(schema)
    results = tables.get(ELECTION_RESULTS, {})
    if {"election_id", "candidate_id"} <= results.keys() and _has(results, _COUNTS):
        totals[ELECTION_RESULTS] = _election_results(schema, results)
    if polls:
        totals[POLL_OPTIONS] = _poll_totals(schema)
    rows = [*votes.values(), *([duplicates] if duplicates is not None else [])]
    return Dialect(
        votes={table: _votes(schema, table, votes[table], default_election) for table in votes},
        duplicates=None
        if duplicates is None
        else _duplicates(schema, duplicates, default_election),
        totals=totals,
        changed={
            table: f"SELECT max({_moment(tables[table], _UPDATED)}) {from_table(schema, table)}"
            for table in totals
            if _UPDATED in tables[table]
        },
        elections=f"SELECT '{ELECTION_PREFIX}' || id::text AS contest"
        f" {from_table(schema, ELECTIONS)}"
        if "id" in tables.get(ELECTIONS, {})
        else None,
        laws=LAWS in tables or RESULTS in totals or any("law_id" in each for each in rows),
        candidates=any("candidate_id" in each for each in rows),
        polls=bool(polls),
        tables=(
            *votes,
            *([] if duplicates is None else [DUPLICATES]),
            *(table for table in polls if table not in totals),
            *totals,
        ),
    )


def _check(schema: str, table: str, columns: Columns) -> None:
    candidates = ("candidate_id", "ranked_choices")
    missing = [
        what
        for what, there in {
            "who voted (vote_hash or voter_hash)": _has(columns, _HASHES),
            "in what (law_id, candidate_id or election_id)": _has(
                columns, ("law_id", "election_id", *candidates)
            ),
            "for what (choice, vote or candidate_id)": _has(columns, (*_CHOICES, *candidates)),
        }.items()
        if not there
    ]
    if missing:
        raise ScrutinError(
            f"The columns of {table} do not show {' or '.join(missing)}",
            where={"schema": schema, "table": table},
            todo="Only a system with a documented schema can be adopted; see docs/adopting.md",
        )


def _poll_tables(schema: str, tables: Mapping[str, Columns]) -> list[str]:
    """The tables of the poll services; empty if there are none."""
    if POLLS not in tables:
        return []
    found = [table for table in POLL_COLUMNS if table in tables or table != VOTE_LOG]
    for table in found:
        if missing := POLL_COLUMNS[table] - tables.get(table, {}).keys():
            raise ScrutinError(
                f"{table} has no {', '.join(sorted(missing))}",
                where={"schema": schema, "table": table},
                todo="Only polls with the deployed tables can be adopted; see docs/adopting.md",
            )
    return found


def _has(columns: Columns, names: tuple[str, ...]) -> bool:
    return any(name in columns for name in names)


def _text(columns: Columns, *names: str) -> str:
    found = [f"{_quoted(name)}::text" for name in names if name in columns]
    return f"coalesce({', '.join(found)})" if found else "NULL::text"


def _moment(columns: Columns, *names: str) -> str:
    """A time; one without offset is UTC, as the replaced services wrote it."""
    found = [
        f"{_quoted(name)} AT TIME ZONE 'UTC'"
        if columns[name] == "timestamp without time zone"
        else _quoted(name)
        for name in names
        if columns.get(name, "").startswith("timestamp")
    ]
    return f"coalesce({', '.join(found)}, now())::timestamptz" if found else "now()::timestamptz"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def from_table(schema: str, table: str) -> str:
    """The FROM clause of a table, as `t`."""
    return f"FROM {_quoted(schema)}.{_quoted(table)} AS t"


def _hash(columns: Columns) -> str:
    text = _text(columns, *_HASHES)
    return f"CASE WHEN {text} ~ '^[0-9A-Fa-f]{{64}}$' THEN lower({text}) ELSE {text} END"


def _vote(columns: Columns, default_election: str) -> tuple[str, str, str]:
    """Kind, contest and choice. A row with a law id is a vote on a law."""
    law, candidate = _text(columns, "law_id"), _text(columns, "candidate_id")
    stated = _text(columns, "election_id")
    election = f"'{ELECTION_PREFIX}' || coalesce({stated}, '{default_election}')"
    choice = _text(columns, *_CHOICES)
    word = f"CASE WHEN lower({choice}) IN ('oui', 'non') THEN lower({choice}) ELSE {choice} END"
    is_candidate = f"coalesce({candidate}, {stated}) IS NOT NULL"
    if "ranked_choices" in columns:
        is_candidate = f"({is_candidate} OR r.given > 0)"
        candidate = f"CASE WHEN {_ranking_counts(columns)} THEN r.ranking ELSE {candidate} END"
    return (
        f"CASE WHEN {law} IS NOT NULL THEN 0 WHEN {is_candidate} THEN 1 END",
        f"CASE WHEN {law} IS NOT NULL THEN {law} WHEN {is_candidate} THEN {election} END",
        f"CASE WHEN {law} IS NOT NULL THEN {word} ELSE {candidate} END",
    )


def _ranked(columns: Columns) -> str:
    """Whether a row has a ranking that is meant to count."""
    method = f"lower(coalesce({_text(columns, 'voting_method')}, ''))"
    return f"(r.given > 0 AND {method} NOT IN ('single_choice', 'single'))"


def _ranking_counts(columns: Columns) -> str:
    """As for messages: no candidate twice, and `candidate_id` is the first."""
    candidate = _text(columns, "candidate_id")
    first = "split_part(r.ranking, '>', 1)"
    return (
        f"({_ranked(columns)} AND r.ranking IS NOT NULL AND coalesce({candidate}, {first})"
        f" = {first})"
    )


def _ranking(columns: Columns) -> str:
    """Joins a row's ranking as `r`: ids in their order, as the choice of a vote holds them."""
    kind = columns.get("ranked_choices")
    if kind is None:
        return ""
    value = 't."ranked_choices"'
    if kind in {"json", "jsonb"}:
        value = f"{value}::jsonb"
    elif kind == "ARRAY":
        value = f"to_jsonb({value})"
    else:
        bare = f"regexp_replace({value}::text, '[\\[\\]{{}}\"\\s]', '', 'g')"
        value = f"to_jsonb(string_to_array(nullif({bare}, ''), ','))"
    array = f"CASE jsonb_typeof({value}) WHEN 'array' THEN {value} END"
    return _RANKING.replace("%array", array)


_RANKING: Final = """
CROSS JOIN LATERAL (
    SELECT count(*) AS given,
           CASE WHEN count(*) = count(DISTINCT c) AND bool_and(c <> '' AND strpos(c, '>') = 0)
                THEN string_agg(c, '>' ORDER BY rank NULLS LAST, i) END AS ranking
    FROM (
        SELECT coalesce(v ->> 'candidate_id', v #>> '{}') AS c, i,
               CASE WHEN v ->> 'rank' ~ '^[0-9]{1,9}$' THEN (v ->> 'rank')::int END AS rank
        FROM jsonb_array_elements(%array) WITH ORDINALITY AS e (v, i)
    ) AS listed
) AS r"""


def _extra(*more: str) -> str:
    """The row's other columns, without a voter's secrets."""
    left_out = ", ".join(f"'{name}'" for name in (*_MAPPED, "metadata", *more, *_SECRETS))
    return f"jsonb_strip_nulls(to_jsonb(t) - ARRAY[{left_out}])"


def _votes(schema: str, table: str, columns: Columns, default_election: str) -> str:
    kind, contest, choice = _vote(columns, default_election)
    metadata = "NULL::jsonb"
    if columns.get("metadata") in {"json", "jsonb"}:
        metadata = '"metadata"::jsonb'
    unranked = "false"
    if "ranked_choices" in columns:
        unranked = f"({_ranked(columns)} AND NOT {_ranking_counts(columns)})"
    return (
        f"SELECT {_hash(columns)} AS hash, ({kind})::int AS kind, ({contest})::text AS contest,"
        f" ({choice})::text AS choice, lower({_text(columns, 'status')}) AS status,"
        f" {_moment(columns, *_TIMES, *_PROCESSED)} AS at,"
        f" {_text(columns, 'citizen_id')} AS citizen, {metadata} AS metadata,"
        f" {_extra('status')} AS extra, {unranked} AS unranked, '{table}'::text AS origin"
        f" {from_table(schema, table)}{_ranking(columns)}"
    )


def _duplicates(schema: str, columns: Columns, default_election: str) -> str:
    kind, contest, choice = _vote(columns, default_election)
    attempts = 'greatest("attempt_count" - 1, 0)' if "attempt_count" in columns else "NULL"
    return (
        f"SELECT {_hash(columns)} AS hash, ({kind})::int AS kind, ({contest})::text AS contest,"
        f" {_text(columns, 'election_id')} IS NOT NULL AS stated, ({choice})::text AS choice,"
        f" {_moment(columns, *_LAST, *_TIMES, *_FIRST, *_PROCESSED)} AS at,"
        f" {_text(columns, 'citizen_id')} AS citizen, ({attempts})::int AS attempts,"
        f" {_extra()} AS extra {from_table(schema, DUPLICATES)}{_ranking(columns)}"
    )


def _results(schema: str) -> str:
    table = from_table(schema, RESULTS)
    return (
        "SELECT 0 AS kind, law_id::text AS contest, 'oui'::text AS choice,"
        f" oui_count::bigint AS votes {table}"
        f" UNION ALL SELECT 0, law_id::text, 'non'::text, non_count::bigint {table}"
    )


def _election_results(schema: str, columns: Columns) -> str:
    votes = next(name for name in _COUNTS if name in columns)
    return (
        f"SELECT 1 AS kind, '{ELECTION_PREFIX}' || election_id::text AS contest,"
        f" candidate_id::text AS choice, coalesce({votes}, 0)::bigint AS votes"
        f" {from_table(schema, ELECTION_RESULTS)}"
    )


def _poll_totals(schema: str) -> str:
    return (
        f"SELECT 1 AS kind, '{POLL_PREFIX}' || poll_id::text AS contest, id::text AS choice,"
        f" vote_count::bigint AS votes {from_table(schema, POLL_OPTIONS)}"
    )
