"""Recognise the tables of the replaced services, whatever their columns are called; pure.

Deployments name the same facts differently. A table is recognised by the facts in its columns, not
by a list of known schemas, and one query maps it to Scrutin's columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from streams.core.keys import ELECTION_PREFIX
from streams.errors import ScrutinError

Columns = Mapping[str, str]
"""Column -> its type as in PostgreSQL's `information_schema`."""

AUDIT: Final = "vote_audit"
DUPLICATES: Final = "duplicate_attempts"
RESULTS: Final = "vote_results"

_HASHES: Final = ("vote_hash", "voter_hash", "hash")
_CHOICES: Final = ("choice", "vote")
_TIMES: Final = ("timestamp", "vote_timestamp", "attempt_timestamp", "submitted_at")
_PROCESSED: Final = ("processed_timestamp", "processed_at", "created_at")
_FIRST: Final = ("first_attempt", "first_attempt_at")
_LAST: Final = ("last_attempt", "last_attempt_at")
_SECRETS: Final = ("nas", "code")
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
        audit: query for the audit rows: hash, kind, contest, choice, status, at, citizen, metadata,
            extra.
        duplicates: query for the duplicate rows: hash, contest, choice, at, citizen, attempts (NULL
            where a row is one attempt), extra; None without such a table.
        results: query for the totals: law, choice, votes; None without such a table.
    """

    audit: str
    duplicates: str | None
    results: str | None


def dialect(schema: str, tables: Mapping[str, Columns], default_election: str = "") -> Dialect:
    """Determine the dialect of the tables found.

    Args:
        schema: that holds them.
        tables: name -> columns, for those of the three known names that exist.
        default_election: election of candidate votes that name none.

    Raises:
        ScrutinError: there is no audit table, or it lacks the voter, contest or choice.
    """
    audit = tables.get(AUDIT)
    if audit is None:
        raise ScrutinError(
            f"There is no table {AUDIT} to adopt votes from",
            where={"schema": schema},
            todo="Name the database and schema of the old system with --from-database and"
            " --from-schema",
        )
    missing = [
        what
        for what, there in {
            "who voted (vote_hash or voter_hash)": _has(audit, _HASHES),
            "in what (law_id or candidate_id)": _has(audit, ("law_id", "candidate_id")),
            "for what (choice, vote or candidate_id)": _has(audit, (*_CHOICES, "candidate_id")),
        }.items()
        if not there
    ]
    if missing:
        raise ScrutinError(
            f"The columns of {AUDIT} do not show {' or '.join(missing)}",
            where={"schema": schema, "table": AUDIT},
            todo="Only a system with a documented schema can be adopted; see docs/adopting.md",
        )
    duplicates, results = tables.get(DUPLICATES), tables.get(RESULTS)
    return Dialect(
        audit=_audit(schema, audit, default_election),
        duplicates=None
        if duplicates is None or not _has(duplicates, _HASHES)
        else _duplicates(schema, duplicates, default_election),
        results=None
        if results is None or not {"law_id", "oui_count", "non_count"} <= results.keys()
        else _results(schema),
    )


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


def _from(schema: str, table: str) -> str:
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
    return (
        f"CASE WHEN {law} IS NOT NULL THEN 0 WHEN {candidate} IS NOT NULL THEN 1 END",
        f"CASE WHEN {law} IS NOT NULL THEN {law} WHEN {candidate} IS NOT NULL THEN {election} END",
        f"CASE WHEN {law} IS NOT NULL THEN {word} ELSE {candidate} END",
    )


def _extra(*more: str) -> str:
    """The row's other columns, without a voter's secrets."""
    left_out = ", ".join(f"'{name}'" for name in (*_MAPPED, "metadata", *more, *_SECRETS))
    return f"jsonb_strip_nulls(to_jsonb(t) - ARRAY[{left_out}])"


def _audit(schema: str, columns: Columns, default_election: str) -> str:
    kind, contest, choice = _vote(columns, default_election)
    metadata = "NULL::jsonb"
    if columns.get("metadata") in {"json", "jsonb"}:
        metadata = '"metadata"::jsonb'
    return (
        f"SELECT {_hash(columns)} AS hash, ({kind})::int AS kind, ({contest})::text AS contest,"
        f" ({choice})::text AS choice, lower({_text(columns, 'status')}) AS status,"
        f" {_moment(columns, *_TIMES, *_PROCESSED)} AS at,"
        f" {_text(columns, 'citizen_id')} AS citizen, {metadata} AS metadata,"
        f" {_extra('status')} AS extra {_from(schema, AUDIT)}"
    )


def _duplicates(schema: str, columns: Columns, default_election: str) -> str:
    _, contest, choice = _vote(columns, default_election)
    attempts = 'greatest("attempt_count" - 1, 0)' if "attempt_count" in columns else "NULL"
    return (
        f"SELECT {_hash(columns)} AS hash, ({contest})::text AS contest,"
        f" ({choice})::text AS choice,"
        f" {_moment(columns, *_LAST, *_TIMES, *_FIRST, *_PROCESSED)} AS at,"
        f" {_text(columns, 'citizen_id')} AS citizen, ({attempts})::int AS attempts,"
        f" {_extra()} AS extra {_from(schema, DUPLICATES)}"
    )


def _results(schema: str) -> str:
    table = _from(schema, RESULTS)
    return (
        f"SELECT law_id::text AS law, 'oui'::text AS choice, oui_count::bigint AS votes {table}"
        f" UNION ALL SELECT law_id::text, 'non'::text, non_count::bigint {table}"
    )
