"""SQL of an adoption. Everything is staged in one schema of Scrutin's database."""

from __future__ import annotations

from typing import Final

from streams.adopt.dialects import COUNTED, DUPLICATE, PENDING, REFUSED
from streams.core.polls import POLL_PREFIX

SCHEMA: Final = "scrutin_adoption"
REPLACED: Final = "scrutin_replaced"
"""Schema for the old system's tables whose names Scrutin needs."""
UNDONE: Final = "scrutin_undone"
"""Schema for Scrutin's tables when an adoption is undone."""


def _list(words: tuple[str, ...]) -> str:
    return ", ".join(f"'{word}'" for word in words)


CREATE: Final = f"""
CREATE SCHEMA {SCHEMA};
SET LOCAL search_path TO {SCHEMA}, pg_catalog;

CREATE TABLE audit (
    n bigint GENERATED ALWAYS AS IDENTITY, hash text, kind integer, contest text, choice text,
    status text, at timestamptz, citizen text, metadata jsonb, extra jsonb, unranked boolean,
    origin text
);
CREATE TABLE duplicates (
    n bigint GENERATED ALWAYS AS IDENTITY, hash text, kind integer, contest text, stated boolean,
    choice text, at timestamptz, citizen text, attempts integer, extra jsonb
);
CREATE TABLE totals (kind integer, contest text, choice text, votes bigint);
CREATE TABLE voted (hash text);
-- Contests that a vote of which only the voter is known can have been in.
CREATE TABLE possible (kind integer, contest text);
CREATE TABLE counters (hash text, attempts bigint);
-- Polls, their options and their votes; the names of voters go with the end of the staging.
CREATE TABLE poll_cards (
    id bigint PRIMARY KEY, title text, description text, creator_name text, created_at timestamptz,
    ends_at timestamptz, active boolean
);
CREATE TABLE poll_choices (poll bigint, number bigint, text text, PRIMARY KEY (poll, number));
CREATE TABLE poll_votes (
    n bigint GENERATED ALWAYS AS IDENTITY, origin text, poll bigint, option bigint, name text,
    at timestamptz
);
CREATE TABLE poll_voters (poll bigint, name text, hash text, alike boolean);
CREATE TABLE items (
    n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, hash text NOT NULL, kind integer NOT NULL,
    contest text NOT NULL, choice text NOT NULL, number integer NOT NULL, at timestamptz NOT NULL,
    citizen text, metadata jsonb, extra jsonb, origin text NOT NULL, source_row bigint NOT NULL
);
-- The progress; done and items count rows of items.
CREATE TABLE adoption (
    adoption bytea NOT NULL, source text NOT NULL, items bigint NOT NULL, done bigint NOT NULL,
    moved text[] NOT NULL, findings jsonb NOT NULL, started_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);
"""

_IS_POLL: Final = f"starts_with(contest, '{POLL_PREFIX}')"

_VOTER: Final = "CASE {kind} WHEN 0 THEN {hash} ELSE {contest} || E'\\x01' || {hash} END"


def _voter(kind: str, contest: str, hash_: str) -> str:
    return _VOTER.format(kind=kind, contest=contest, hash=hash_)


SORT: Final = f"""
ALTER TABLE audit ADD COLUMN voter text, ADD COLUMN outcome text;
UPDATE audit SET
    voter = {_voter("kind", "contest", "hash")},
    outcome = CASE
        WHEN hash IS NULL OR contest IS NULL OR octet_length(hash) NOT BETWEEN 1 AND 128
            OR octet_length(contest) > 255
            OR octet_length(choice) > CASE kind WHEN 0 THEN 255 ELSE 1024 END THEN 'unusable'
        WHEN coalesce(status, 'counted') IN ({_list(COUNTED)}) THEN 'counted'
        WHEN status IN ({_list(DUPLICATE)}) THEN 'duplicate'
        WHEN status IN ({_list(REFUSED)}) THEN 'refused'
        WHEN status IN ({_list(PENDING)}) THEN 'pending'
        ELSE 'unknown' END;
INSERT INTO possible SELECT DISTINCT 1, contest FROM audit
WHERE kind = 1 AND outcome = 'counted' AND NOT {_IS_POLL};

-- Redeliveries and stages of one submission left rows with the same time and choice.
CREATE TABLE counted AS
SELECT *, (row_number() OVER (PARTITION BY voter ORDER BY at, n) - 1)::integer AS number
FROM (
    SELECT DISTINCT ON (voter, at, choice) * FROM audit WHERE outcome = 'counted'
    ORDER BY voter, at, choice, n
) AS once;

CREATE TABLE voters AS
SELECT voter, hash, kind, contest, choice, at, citizen, n AS source_row, origin FROM counted
WHERE number = 0;

-- A voter known only by the mark counts as having voted in each contest the vote may have been for.
INSERT INTO voters (voter, hash, kind, contest, choice, at, source_row, origin)
SELECT {_voter("p.kind", "p.contest", "v.hash")}, v.hash, p.kind, p.contest, '', now(), 0,
       'voted_hashes'
FROM (
    SELECT hash FROM voted WHERE octet_length(hash) BETWEEN 1 AND 128
    UNION
    SELECT hash FROM audit WHERE outcome = 'unusable' AND octet_length(hash) BETWEEN 1 AND 128
        AND coalesce(status, 'counted') IN ({_list(COUNTED)})
) AS v
CROSS JOIN (SELECT DISTINCT kind, contest FROM possible) AS p
WHERE NOT EXISTS (SELECT 1 FROM counted AS c WHERE c.hash = v.hash);
CREATE INDEX ON voters (hash);
CREATE INDEX ON counted (hash);
ANALYZE voters;

ALTER TABLE duplicates ADD COLUMN usable boolean;
UPDATE duplicates SET usable = coalesce(octet_length(hash) BETWEEN 1 AND 128, false)
    AND coalesce(octet_length(contest), 0) <= 255
    AND coalesce(octet_length(choice), 0) <= CASE kind WHEN 1 THEN 1024 ELSE 255 END;

-- Each duplicate row belongs to one voter: of its contest; if it names none, of any.
CREATE TABLE matched AS
SELECT coalesce(v.voter, {_voter("coalesce(d.kind, 0)", "d.contest", "d.hash")}) AS voter, d.hash,
       coalesce(v.kind, d.kind, 0) AS kind, coalesce(v.contest, d.contest, '') AS contest,
       coalesce(d.choice, v.choice, '') AS choice, d.at, coalesce(d.citizen, v.citizen) AS citizen,
       d.attempts, d.extra, d.n
FROM duplicates AS d
LEFT JOIN LATERAL (
    SELECT * FROM voters AS v
    WHERE v.hash = d.hash AND (d.kind IS NULL OR v.kind = d.kind
        AND (d.kind = 0 OR v.contest = d.contest OR NOT d.stated))
    ORDER BY (v.contest = d.contest) IS TRUE DESC, v.source_row = 0, v.kind, v.contest LIMIT 1
) AS v ON true
WHERE d.usable;

-- Both tables may hold the same attempts: the one with more is taken.
CREATE TABLE attempts AS
SELECT voter, hash, kind, contest, choice, at, citizen, metadata, extra, n, origin
FROM audit WHERE outcome = 'duplicate'
UNION ALL
SELECT voter, hash, kind, contest, choice, at, citizen, NULL, extra, n, 'duplicate_attempts'
FROM matched WHERE attempts IS NULL;

CREATE TABLE taken AS
SELECT a.* FROM attempts AS a JOIN (
    SELECT DISTINCT ON (voter) voter, origin FROM (
        SELECT voter, origin, count(*) AS rows FROM attempts GROUP BY voter, origin
    ) AS c ORDER BY voter, rows DESC, origin DESC
) AS best USING (voter, origin);
CREATE INDEX ON taken (voter);

-- Who tried again has voted, even if nothing is left of the vote.
INSERT INTO voters (voter, hash, kind, contest, choice, at, citizen, source_row, origin)
SELECT DISTINCT ON (voter) voter, hash, kind, contest, '', at, citizen, 0, 'duplicate_attempts'
FROM (
    SELECT voter, hash, kind, contest, at, citizen FROM attempts
    UNION ALL
    SELECT voter, hash, kind, contest, at, citizen FROM matched
) AS a
WHERE NOT EXISTS (SELECT 1 FROM voters AS v WHERE v.hash = a.hash AND v.voter = a.voter)
ORDER BY voter, at;

-- Attempts known only as a count. A counter of Redis names no contest: it goes to one.
CREATE TABLE numbers AS
SELECT voter, max(attempts) AS attempts, max(at) AS at,
       (array_agg(origin ORDER BY attempts DESC))[1] AS origin
FROM (
    SELECT v.voter, c.attempts, NULL::timestamptz AS at, 'duplicate_count' AS origin
    FROM counters AS c
    CROSS JOIN LATERAL (
        SELECT voter FROM voters AS v WHERE v.hash = c.hash
        ORDER BY v.source_row = 0, v.kind, v.contest LIMIT 1
    ) AS v
    UNION ALL
    SELECT voter, attempts, at, 'duplicate_attempts' FROM matched WHERE attempts IS NOT NULL
) AS either GROUP BY voter;
"""

PLAN: Final = """
INSERT INTO items
    (hash, kind, contest, choice, number, at, citizen, metadata, extra, origin, source_row)
SELECT hash, kind, contest, coalesce(choice, ''), number, at, citizen, metadata,
       coalesce(extra, '{}') || jsonb_strip_nulls(jsonb_build_object('status', status)),
       origin, n
FROM counted WHERE number = 0 ORDER BY at, n;

INSERT INTO items (hash, kind, contest, choice, number, at, origin, source_row)
SELECT hash, kind, contest, '', 0, at, origin, 0 FROM voters WHERE source_row = 0
ORDER BY hash, kind, contest;

CREATE TABLE surplus AS
SELECT voter, max(number) AS number FROM counted WHERE number > 0 GROUP BY voter;

INSERT INTO items
    (hash, kind, contest, choice, number, at, citizen, metadata, extra, origin, source_row)
SELECT hash, kind, contest, coalesce(choice, ''), number, at, citizen, metadata,
       coalesce(extra, '{}'), origin, n
FROM counted WHERE number > 0 ORDER BY at, n;

CREATE TABLE numbered AS
SELECT t.*, coalesce(s.number, 0)
    + row_number() OVER (PARTITION BY t.voter ORDER BY t.at, t.n) AS number
FROM taken AS t LEFT JOIN surplus AS s USING (voter);

INSERT INTO items
    (hash, kind, contest, choice, number, at, citizen, metadata, extra, origin, source_row)
SELECT hash, kind, contest, coalesce(choice, ''), number::integer, at, citizen, metadata,
       coalesce(extra, '{}'), origin, n
FROM numbered ORDER BY number, at, n;

-- Attempts known only as a count: one item stands for all of them without a row.
INSERT INTO items (hash, kind, contest, choice, number, at, citizen, extra, origin, source_row)
SELECT v.hash, v.kind, v.contest, v.choice, least(c.attempts, 2000000000)::integer,
       coalesce(c.at, v.at), v.citizen,
       jsonb_build_object('attempts', c.attempts - coalesce(n.number, s.number, 0)),
       c.origin, 0
FROM voters AS v
JOIN numbers AS c USING (voter)
LEFT JOIN (SELECT voter, max(number) AS number FROM numbered GROUP BY voter) AS n USING (voter)
LEFT JOIN surplus AS s USING (voter)
WHERE c.attempts > coalesce(n.number, s.number, 0)
ORDER BY v.hash;

INSERT INTO items
    (hash, kind, contest, choice, number, at, citizen, metadata, extra, origin, source_row)
SELECT hash, kind, contest, coalesce(choice, ''), -1, at, citizen, metadata,
       coalesce(extra, '{}') || jsonb_build_object('status', status), origin, n
FROM audit WHERE outcome = 'refused' ORDER BY at, n;
"""

BY_CHOICE: Final = f"""
SELECT contest, choice, sum(in_totals)::bigint AS in_totals, sum(in_audit)::bigint AS in_audit,
       kind = 0 AS law, EXISTS (
           SELECT 1 FROM totals AS t
           WHERE t.kind = either.kind AND starts_with(t.contest, 'poll:') = {_IS_POLL}
       ) AS compared
FROM (
    SELECT kind, contest, choice, votes AS in_totals, 0 AS in_audit FROM totals
    UNION ALL
    SELECT kind, contest, CASE kind WHEN 0 THEN choice ELSE split_part(choice, '>', 1) END, 0, 1
    FROM counted WHERE number = 0 AND coalesce(choice, '') <> ''
) AS either
GROUP BY kind, contest, choice ORDER BY contest, choice
"""
"""A ranking is shown for its first candidate."""

_COUNTABLE: Final = "(coalesce(choice, '') <> '' AND (kind = 1 OR choice IN ('oui', 'non')))"

FACTS: Final = f"""
SELECT
    (SELECT count(*) FROM audit) AS vote_rows,
    (SELECT count(*) FROM counted WHERE number = 0) AS votes,
    (SELECT count(*) FROM items) AS items,
    (SELECT count(*) FROM duplicates) AS duplicate_rows,
    (SELECT count(*) FROM voted) AS voted_hashes,
    (SELECT count(*) FROM counters) AS counters,
    (SELECT count(*) FROM audit WHERE outcome = 'counted')
        - (SELECT count(*) FROM counted) AS doubled_rows,
    (SELECT count(*) FROM counted WHERE number > 0) AS second_votes,
    (SELECT count(DISTINCT hash) FROM voters WHERE source_row = 0 AND origin = 'voted_hashes')
        AS voted_without_vote,
    (SELECT count(*) FROM voters WHERE source_row = 0 AND origin <> 'voted_hashes')
        AS attempts_without_vote,
    (SELECT count(DISTINCT c.hash) FROM counted AS c
        WHERE NOT {_IS_POLL}
            AND NOT EXISTS (SELECT 1 FROM voted AS v WHERE v.hash = c.hash)) AS votes_not_in_redis,
    (SELECT count(*) FROM audit WHERE outcome = 'pending') AS pending,
    (SELECT count(*) FROM audit WHERE outcome = 'unknown') AS unknown_status,
    (SELECT count(*) FROM audit WHERE outcome = 'unusable') AS unusable,
    (SELECT count(*) FROM duplicates WHERE NOT usable) AS unusable_attempts,
    (SELECT count(*) FROM counted WHERE number = 0 AND NOT {_COUNTABLE}) AS uncountable,
    (SELECT count(*) FROM counted WHERE number = 0 AND unranked) AS rankings_not_taken,
    (SELECT count(*) FROM counted WHERE number = 0 AND kind = 1 AND contest = 'election:'
        AND EXISTS (SELECT 1 FROM possible WHERE contest <> 'election:' AND kind = 1))
        AS election_not_named,
    (SELECT count(*) FROM counters AS c WHERE c.attempts <> coalesce(
        (SELECT max(d.attempts) FROM duplicates AS d WHERE d.hash = c.hash),
        (SELECT count(*) FROM taken AS t WHERE t.hash = c.hash))) AS counters_differ,
    (SELECT count(*) FROM (SELECT hash FROM counters EXCEPT SELECT hash FROM voters) AS n)
        AS counters_without_vote,
    (SELECT count(*) FROM poll_cards) AS polls,
    (SELECT count(*) FROM poll_voters WHERE alike) AS names_alike,
    (SELECT count(*) FROM counted AS c JOIN poll_cards AS p ON c.contest = 'poll:' || p.id
        WHERE c.number = 0 AND c.at > p.ends_at) AS votes_after_end
"""

VOTE_ROWS: Final = f"""
SELECT a.origin AS source, CASE
    WHEN a.outcome <> 'counted' THEN CASE a.outcome
        WHEN 'unknown' THEN 'unknown_status'
        WHEN 'duplicate' THEN CASE WHEN EXISTS (
            SELECT 1 FROM taken AS t WHERE t.voter = a.voter AND t.origin = a.origin
        ) THEN 'attempts' ELSE 'attempts_elsewhere' END
        ELSE a.outcome END
    WHEN c.n IS NULL THEN 'doubled_rows'
    WHEN c.number > 0 THEN 'second_votes'
    WHEN {_COUNTABLE.replace("choice", "c.choice").replace("kind", "c.kind")} THEN 'counted'
    ELSE 'uncountable' END AS outcome, count(*) AS rows
FROM audit AS a LEFT JOIN counted AS c ON c.n = a.n
GROUP BY 1, 2
"""
DUPLICATE_ROWS: Final = """
SELECT 'duplicate_attempts' AS source, CASE
    WHEN NOT d.usable THEN 'unusable'
    WHEN d.attempts IS NOT NULL THEN 'attempt_counts'
    WHEN t.n IS NOT NULL THEN 'attempts'
    ELSE 'attempts_elsewhere' END AS outcome, count(*) AS rows
FROM duplicates AS d LEFT JOIN taken AS t ON t.n = d.n AND t.origin = 'duplicate_attempts'
GROUP BY 1, 2
"""
REDIS_KEYS: Final = """
SELECT 'voted_hashes' AS source, CASE
    WHEN octet_length(v.hash) NOT BETWEEN 1 AND 128 THEN 'unusable'
    WHEN EXISTS (SELECT 1 FROM counted AS c WHERE c.hash = v.hash) THEN 'voters_with_vote'
    ELSE 'voted_without_vote' END AS outcome, count(*) AS rows
FROM (SELECT DISTINCT hash FROM voted) AS v GROUP BY 1, 2
UNION ALL
SELECT 'duplicate_count', CASE
    WHEN EXISTS (SELECT 1 FROM voters AS v WHERE v.hash = c.hash) THEN 'attempt_counts'
    ELSE 'counters_without_vote' END, count(*)
FROM (SELECT DISTINCT hash FROM counters) AS c GROUP BY 1, 2
"""

INSERT_ADOPTION: Final = f"""
INSERT INTO {SCHEMA}.adoption (adoption, source, items, done, moved, findings)
SELECT $1, $2, (SELECT count(*) FROM {SCHEMA}.items), 0, $3, $4
"""
READ_ADOPTION: Final = f"SELECT * FROM {SCHEMA}.adoption"
READ_ITEMS: Final = f"SELECT * FROM {SCHEMA}.items WHERE n > $1 ORDER BY n LIMIT $2"
SET_PROGRESS: Final = f"UPDATE {SCHEMA}.adoption SET done = $1, finished_at = $2"

_STORED_HASH: Final = """CASE i.kind WHEN 0 THEN i.hash ELSE encode(sha256(
    'contest'::bytea || '\\x00'::bytea || convert_to(i.contest, 'UTF8')
    || '\\x00'::bytea || convert_to(i.hash, 'UTF8')), 'hex') END"""
# Same as `streams.core.keys.stored_hash`.

UNCOUNTED: Final = f"""
SELECT count(*) FROM {SCHEMA}.items AS i
WHERE i.number = 0 AND i.choice <> '' AND (i.kind = 1 OR i.choice IN ('oui', 'non'))
    AND NOT EXISTS (
        SELECT 1 FROM public.vote_audit AS a
        WHERE a.vote_hash = {_STORED_HASH} AND a.contest = i.contest AND a.choice = i.choice
            AND a."timestamp" = i.at)
"""
"""Adopted votes that are not, or not yet, counted unchanged."""

UNRECORDED: Final = f"""
SELECT count(*) FROM (
    SELECT {_STORED_HASH} AS vote_hash, max(i.number) AS number FROM {SCHEMA}.items AS i
    WHERE i.number > 0 GROUP BY 1
) AS i
WHERE NOT EXISTS (
    SELECT 1 FROM public.duplicate_attempts AS d
    WHERE d.vote_hash = i.vote_hash AND d.attempt_count > i.number)
"""
"""Voters with adopted attempts that are not, or not yet, in the table of duplicates."""
