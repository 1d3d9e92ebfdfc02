"""Databases and Redis as the replaced services leave them during an election, for each schema.

The tables are those of the documents and of the deployments; the votes are generated, with faults
of the old systems among them when asked for.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
from redis.asyncio import Redis

START = datetime(2026, 11, 20, 8, tzinfo=UTC)

AGGREGATION = """
CREATE TABLE vote_results (
    law_id varchar(50) PRIMARY KEY, oui_count bigint DEFAULT 0, non_count bigint DEFAULT 0,
    updated_at timestamp DEFAULT now());
CREATE TABLE vote_audit (
    id bigserial PRIMARY KEY, vote_hash varchar(64) NOT NULL UNIQUE,
    citizen_id varchar(100) NOT NULL, law_id varchar(50) NOT NULL, choice varchar(10) NOT NULL,
    timestamp timestamp DEFAULT now(),
    ip_address inet, user_agent text, metadata jsonb);
CREATE INDEX idx_vote_audit_timestamp ON vote_audit (timestamp DESC);
CREATE TABLE duplicate_attempts (
    id bigserial PRIMARY KEY, vote_hash varchar(64) NOT NULL REFERENCES vote_audit (vote_hash),
    citizen_id varchar(100) NOT NULL, law_id varchar(50) NOT NULL, choice varchar(10) NOT NULL,
    attempt_timestamp timestamp DEFAULT now(), reason text, ip_address inet);
CREATE VIEW vote_statistics AS
    SELECT law_id, oui_count, non_count, oui_count + non_count AS total_votes FROM vote_results;
"""
"""Seed: the aggregation service."""

VALIDATION = """
CREATE TABLE vote_audit (
    id serial PRIMARY KEY, voter_hash varchar(64) NOT NULL, candidate_id integer NOT NULL,
    status varchar(20) NOT NULL, vote_timestamp timestamp NOT NULL,
    processed_timestamp timestamp NOT NULL, metadata jsonb,
    created_at timestamp DEFAULT current_timestamp);
CREATE INDEX idx_vote_audit_voter_hash ON vote_audit (voter_hash);
CREATE INDEX idx_vote_audit_status ON vote_audit (status);
CREATE INDEX idx_vote_audit_timestamp ON vote_audit (vote_timestamp);
"""
"""Seed: the validation worker."""

VOTING = """
CREATE TABLE vote_results (
    id serial PRIMARY KEY, law_id varchar(50) NOT NULL UNIQUE, oui_count integer NOT NULL DEFAULT 0,
    non_count integer NOT NULL DEFAULT 0, total_votes integer NOT NULL DEFAULT 0,
    created_at timestamptz DEFAULT now(), updated_at timestamptz DEFAULT now());
CREATE TABLE vote_audit (
    id bigserial PRIMARY KEY, vote_hash varchar(64) NOT NULL, law_id varchar(50) NOT NULL,
    vote varchar(10) NOT NULL, status varchar(20) NOT NULL, timestamp timestamptz NOT NULL,
    processed_at timestamptz DEFAULT now(), error_message text, metadata jsonb);
CREATE INDEX idx_vote_audit_hash ON vote_audit (vote_hash);
CREATE TABLE duplicate_attempts (
    id bigserial PRIMARY KEY, vote_hash varchar(64) NOT NULL, law_id varchar(50) NOT NULL,
    attempt_count integer NOT NULL DEFAULT 1, first_attempt_at timestamptz NOT NULL,
    last_attempt_at timestamptz NOT NULL, ip_addresses jsonb, user_agents jsonb,
    UNIQUE (vote_hash, law_id));
CREATE VIEW vote_summary AS SELECT law_id, total_votes FROM vote_results;
"""
"""Reference: the deployed voting services."""

OLD_ELECTIONS = (
    "CREATE TABLE political_parties (id serial PRIMARY KEY, party_code varchar(10) UNIQUE,"
    " party_name varchar(100), party_color varchar(7))",
    "CREATE TABLE regions (id serial PRIMARY KEY, region_code varchar(10), region_name text)",
    "CREATE TABLE elections (id serial PRIMARY KEY, election_code varchar(50), election_name text,"
    " start_datetime timestamp, end_datetime timestamp, voting_method varchar(20))",
    "CREATE TABLE candidates (id serial PRIMARY KEY, election_id int REFERENCES elections,"
    " region_id int REFERENCES regions, party_id int REFERENCES political_parties,"
    " first_name text, last_name text)",
    "CREATE TABLE election_results (id serial PRIMARY KEY, election_id int REFERENCES elections,"
    " region_id int REFERENCES regions, candidate_id int REFERENCES candidates,"
    " vote_count int DEFAULT 0, percentage numeric(5,2), updated_at timestamp DEFAULT now())",
    "CREATE TABLE election_votes (id bigserial PRIMARY KEY, vote_hash varchar(64) NOT NULL,"
    " election_id int REFERENCES elections, region_id int REFERENCES regions,"
    " candidate_id int REFERENCES candidates, voting_method varchar(20), ranked_choices jsonb,"
    " vote_timestamp timestamp DEFAULT now(), UNIQUE (vote_hash, election_id))",
    "INSERT INTO political_parties (party_code, party_name) VALUES ('A', 'Alpha')",
    "INSERT INTO regions (region_code, region_name) VALUES ('N', 'North'), ('S', 'South')",
    "INSERT INTO elections (election_code, election_name, start_datetime, end_datetime,"
    " voting_method) VALUES ('E', 'Assembly', '2027-01-01 08:00', '2027-01-01 20:00',"
    " 'ranked_choice')",
    "INSERT INTO candidates (election_id, region_id, party_id, first_name, last_name)"
    " VALUES (1, 1, 1, 'A', 'B'), (1, 2, NULL, 'C', 'D')",
)
"""Reference: the elections of the deployed API."""

SCHEMAS = {"aggregation": AGGREGATION, "validation": VALIDATION, "voting": VOTING}


@dataclass
class OldElection:
    """What an old system has counted."""

    dialect: str
    votes: list[tuple[str, str, str, datetime]] = field(default_factory=list)
    """Counted votes: hash, law or candidate, choice, time."""
    attempts: dict[str, int] = field(default_factory=dict)
    """Hash -> duplicate attempts after the counted vote."""
    refused: list[tuple[str, str, datetime]] = field(default_factory=list)
    """Invalid votes in the audit: hash, law or candidate, time."""

    @property
    def contest(self) -> dict[str, str]:
        return {}

    def totals(self) -> Counter[tuple[str, str]]:
        """Counted votes by contest and choice, as Scrutin names them."""
        law = self.dialect != "validation"
        return Counter(
            (where if law else "election:", choice if law else where)
            for _, where, choice, _ in self.votes
        )


def election(dialect: str, votes: int, seed: int = 7) -> OldElection:
    """Generate an election: one vote in 50 was tried again, one in 100 invalid."""
    rng = random.Random(f"{dialect}{seed}")
    made = OldElection(dialect)
    for n in range(votes):
        voter = hashlib.sha256(f"{seed} {dialect} {n}".encode()).hexdigest()
        where = f"law-{n % 3:03}" if dialect != "validation" else str(1 + n % 4)
        choice = rng.choice(["oui", "oui", "non"])
        at = START + timedelta(milliseconds=37 * n)
        made.votes.append((voter, where, choice, at))
        if n % 50 == 0:
            made.attempts[voter] = 1 + n // 50 % 12
        if n % 100 == 0 and dialect != "aggregation":
            stranger = hashlib.sha256(f"stranger {seed} {n}".encode()).hexdigest()
            made.refused.append((stranger, where, at))
    return made


async def fill(db: asyncpg.Connection, redis: Redis, old: OldElection) -> None:
    """Make the tables and keys."""
    await db.execute(SCHEMAS[old.dialect])
    await {"aggregation": _aggregation, "validation": _validation, "voting": _voting}[old.dialect](
        db, old
    )
    hashes = [voter for voter, *_ in old.votes]
    for start in range(0, len(hashes), 5000):
        await redis.sadd("voted_hashes", *hashes[start : start + 5000])
        await redis.sadd("valid_hashes", *hashes[start : start + 5000])
    pipe: Any = redis.pipeline(transaction=False)
    for voter, attempts in old.attempts.items():
        pipe.set(f"duplicate_count:{voter}", attempts)
    await pipe.execute()


def _naive(at: datetime) -> datetime:
    return at.replace(tzinfo=None)


def _again(old: OldElection) -> Iterator[tuple[str, str, str, datetime]]:
    """Duplicate attempts, a minute apart."""
    for voter, where, choice, at in old.votes:
        for n in range(old.attempts.get(voter, 0)):
            yield voter, where, choice, at + timedelta(minutes=n + 1)


async def _results(db: asyncpg.Connection, old: OldElection, *, total: bool) -> None:
    for law in sorted({where for _, where, _, _ in old.votes}):
        oui, non = (old.totals()[law, choice] for choice in ("oui", "non"))
        await db.execute(
            "INSERT INTO vote_results (law_id, oui_count, non_count) VALUES ($1, $2, $3)",
            law,
            oui,
            non,
        )
    if total:
        await db.execute("UPDATE vote_results SET total_votes = oui_count + non_count")


async def _aggregation(db: asyncpg.Connection, old: OldElection) -> None:
    await _results(db, old, total=False)
    await db.copy_records_to_table(
        "vote_audit",
        columns=["vote_hash", "citizen_id", "law_id", "choice", "timestamp", "user_agent"],
        records=[
            (voter, f"citizen {n}", law, choice, _naive(at), "browser")
            for n, (voter, law, choice, at) in enumerate(old.votes)
        ],
    )
    await db.copy_records_to_table(
        "duplicate_attempts",
        columns=["vote_hash", "citizen_id", "law_id", "choice", "attempt_timestamp", "reason"],
        records=[
            (voter, "citizen", law, choice, _naive(at), "again")
            for voter, law, choice, at in _again(old)
        ],
    )


async def _validation(db: asyncpg.Connection, old: OldElection) -> None:
    rows = [
        *((voter, int(where), "valid", _naive(at)) for voter, where, _, at in old.votes),
        *((voter, int(where), "duplicate", _naive(at)) for voter, where, _, at in _again(old)),
        *((voter, int(where), "invalid", _naive(at)) for voter, where, at in old.refused),
    ]
    await db.copy_records_to_table(
        "vote_audit",
        columns=["voter_hash", "candidate_id", "status", "vote_timestamp", "processed_timestamp"],
        records=[(*row, row[3]) for row in rows],
    )


async def _voting(db: asyncpg.Connection, old: OldElection) -> None:
    await _results(db, old, total=True)
    columns = ["vote_hash", "law_id", "vote", "status", "timestamp", "error_message"]
    await db.copy_records_to_table(
        "vote_audit",
        columns=columns,
        records=[
            *((voter, law, choice, "aggregated", at, None) for voter, law, choice, at in old.votes),
            *((voter, law, "oui", "invalid", at, "not valid") for voter, law, at in old.refused),
        ],
    )
    first = {voter: (law, at) for voter, law, _, at in old.votes}
    await db.copy_records_to_table(
        "duplicate_attempts",
        columns=["vote_hash", "law_id", "attempt_count", "first_attempt_at", "last_attempt_at"],
        records=[
            (voter, first[voter][0], n + 1, first[voter][1], first[voter][1] + timedelta(minutes=n))
            for voter, n in old.attempts.items()
        ],
    )


async def fill_elections(db: asyncpg.Connection, redis: Redis, voters: int) -> OldElection:
    """Candidate votes as the deployed API writes them, with its totals; after :func:`fill`.

    Every third one is a ranking, and half of those are in an array of objects.
    """
    for statement in OLD_ELECTIONS:
        await db.execute(statement)
    made = OldElection("elections")
    rows = []
    for n in range(voters):
        voter = hashlib.sha256(f"elector {n}".encode()).hexdigest()
        at = START + timedelta(milliseconds=53 * n)
        first, second = (1, 2) if n % 2 else (2, 1)
        listed: list[Any] | None = None
        if n % 3 == 0:
            listed = [first, second]
        if n % 6 == 0:
            listed = [{"candidate_id": second, "rank": 2}, {"candidate_id": first, "rank": 1}]
        choice = f"{first}>{second}" if listed else str(first)
        made.votes.append((voter, "election:1", choice, at))
        method = "ranked_choice" if listed else "single_choice"
        rows.append((voter, 1, first, first, method, json.dumps(listed), _naive(at)))
    await db.copy_records_to_table(
        "election_votes",
        columns=[
            *("vote_hash", "election_id", "region_id", "candidate_id", "voting_method"),
            *("ranked_choices", "vote_timestamp"),
        ],
        records=rows,
    )
    await db.execute(
        "INSERT INTO election_results (election_id, region_id, candidate_id, vote_count)"
        " SELECT election_id, region_id, candidate_id, count(*) FROM election_votes"
        " GROUP BY 1, 2, 3"
    )
    await redis.sadd("voted_hashes", *(voter for voter, *_ in made.votes))
    return made
