"""SQL of an adoption. Everything is staged in one schema of Scrutin's database."""

from __future__ import annotations

from typing import Final

from streams.adopt.dialects import COUNTED, DUPLICATE, PENDING, REFUSED

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
    status text, at timestamptz, citizen text, metadata jsonb, extra jsonb
);
CREATE TABLE duplicates (
    n bigint GENERATED ALWAYS AS IDENTITY, hash text, contest text, choice text, at timestamptz,
    citizen text, attempts integer, extra jsonb
);
CREATE TABLE totals (law text, choice text, votes bigint);
CREATE TABLE voted (hash text);
CREATE TABLE counters (hash text, attempts bigint);
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

SORT: Final = f"""
ALTER TABLE audit ADD COLUMN voter text, ADD COLUMN outcome text;
UPDATE audit SET
    voter = CASE kind WHEN 0 THEN hash ELSE contest || E'\\x01' || hash END,
    outcome = CASE
        WHEN hash IS NULL OR contest IS NULL OR octet_length(hash) NOT BETWEEN 1 AND 128
            OR octet_length(contest) > 255 OR octet_length(choice) > 255 THEN 'unusable'
        WHEN coalesce(status, 'counted') IN ({_list(COUNTED)}) THEN 'counted'
        WHEN status IN ({_list(DUPLICATE)}) THEN 'duplicate'
        WHEN status IN ({_list(REFUSED)}) THEN 'refused'
        WHEN status IN ({_list(PENDING)}) THEN 'pending'
        ELSE 'unknown' END;

-- Redeliveries and stages of one submission left rows with the same time and choice.
CREATE TABLE counted AS
SELECT *, (row_number() OVER (PARTITION BY voter ORDER BY at, n) - 1)::integer AS number
FROM (
    SELECT DISTINCT ON (voter, at, choice) * FROM audit WHERE outcome = 'counted'
    ORDER BY voter, at, choice, n
) AS once;

CREATE TABLE voters AS
SELECT voter, hash, kind, contest, choice, at, citizen, n AS source_row FROM counted
WHERE number = 0;

INSERT INTO voters (voter, hash, kind, contest, choice, at, source_row)
SELECT v.hash, v.hash, k.kind, CASE k.kind WHEN 0 THEN '' ELSE 'election:' END, '', now(), 0
FROM (
    SELECT DISTINCT hash FROM voted WHERE octet_length(hash) BETWEEN 1 AND 128
) AS v
CROSS JOIN (SELECT coalesce(min(kind), 0) AS kind FROM audit) AS k
WHERE NOT EXISTS (SELECT 1 FROM counted AS c WHERE c.hash = v.hash);
CREATE INDEX ON voters (hash);
ANALYZE voters;

-- Both tables may hold the same attempts: the one with more is taken.
CREATE TABLE attempts AS
SELECT voter, hash, kind, contest, choice, at, citizen, metadata, extra, n, 'vote_audit' AS origin
FROM audit WHERE outcome = 'duplicate'
UNION ALL
SELECT coalesce(v.voter, d.hash), d.hash, coalesce(v.kind, 0), coalesce(v.contest, d.contest, ''),
       coalesce(d.choice, v.choice, ''), d.at, coalesce(d.citizen, v.citizen), NULL, d.extra, d.n,
       'duplicate_attempts'
FROM duplicates AS d
LEFT JOIN voters AS v
    ON v.hash = d.hash AND (v.kind = 0 OR v.contest = coalesce(d.contest, v.contest))
WHERE d.attempts IS NULL AND octet_length(d.hash) BETWEEN 1 AND 128;

CREATE TABLE taken AS
SELECT a.* FROM attempts AS a JOIN (
    SELECT DISTINCT ON (voter) voter, origin FROM (
        SELECT voter, origin, count(*) AS rows FROM attempts GROUP BY voter, origin
    ) AS c ORDER BY voter, rows DESC, origin DESC
) AS best USING (voter, origin);
"""

PLAN: Final = """
INSERT INTO items
    (hash, kind, contest, choice, number, at, citizen, metadata, extra, origin, source_row)
SELECT hash, kind, contest, coalesce(choice, ''), number, at, citizen, metadata,
       coalesce(extra, '{}') || jsonb_strip_nulls(jsonb_build_object('status', status)),
       'vote_audit', n
FROM counted WHERE number = 0 ORDER BY at, n;

INSERT INTO items (hash, kind, contest, choice, number, at, origin, source_row)
SELECT hash, kind, contest, '', 0, at, 'voted_hashes', 0 FROM voters WHERE source_row = 0
ORDER BY hash;

CREATE TABLE surplus AS
SELECT voter, max(number) AS number FROM counted WHERE number > 0 GROUP BY voter;

INSERT INTO items
    (hash, kind, contest, choice, number, at, citizen, metadata, extra, origin, source_row)
SELECT hash, kind, contest, coalesce(choice, ''), number, at, citizen, metadata,
       coalesce(extra, '{}'), 'vote_audit', n
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
JOIN (
    SELECT hash, max(attempts) AS attempts, max(at) AS at,
           (array_agg(origin ORDER BY attempts DESC))[1] AS origin
    FROM (
        SELECT hash, attempts, NULL::timestamptz AS at, 'duplicate_count' AS origin FROM counters
        UNION ALL
        SELECT hash, attempts, at, 'duplicate_attempts' FROM duplicates WHERE attempts IS NOT NULL
    ) AS either GROUP BY hash
) AS c ON c.hash = v.hash
LEFT JOIN (SELECT voter, max(number) AS number FROM numbered GROUP BY voter) AS n USING (voter)
LEFT JOIN surplus AS s USING (voter)
WHERE c.attempts > coalesce(n.number, s.number, 0)
ORDER BY v.hash;

INSERT INTO items
    (hash, kind, contest, choice, number, at, citizen, metadata, extra, origin, source_row)
SELECT hash, kind, contest, coalesce(choice, ''), -1, at, citizen, metadata,
       coalesce(extra, '{}') || jsonb_build_object('status', status), 'vote_audit', n
FROM audit WHERE outcome = 'refused' ORDER BY at, n;
"""

BY_CHOICE: Final = """
SELECT contest, choice, sum(in_totals)::bigint AS in_totals, sum(in_audit)::bigint AS in_audit,
       bool_or(law) AS law
FROM (
    SELECT law AS contest, choice, votes AS in_totals, 0 AS in_audit, true AS law FROM totals
    UNION ALL
    SELECT contest, choice, 0, 1, kind = 0 FROM counted WHERE number = 0
) AS either
GROUP BY contest, choice ORDER BY contest, choice
"""

FACTS: Final = """
SELECT
    (SELECT count(*) FROM audit) AS audit_rows,
    (SELECT count(*) FROM counted WHERE number = 0) AS votes,
    (SELECT count(*) FROM items) AS items,
    (SELECT count(*) FROM duplicates) AS duplicate_rows,
    (SELECT count(*) FROM voted) AS voted_hashes,
    (SELECT count(*) FROM counters) AS counters,
    (SELECT count(*) FROM audit WHERE outcome = 'counted')
        - (SELECT count(*) FROM counted) AS doubled_rows,
    (SELECT count(*) FROM counted WHERE number > 0) AS second_votes,
    (SELECT count(*) FROM voters WHERE source_row = 0) AS voted_without_vote,
    (SELECT count(DISTINCT c.hash) FROM counted AS c
        WHERE NOT EXISTS (SELECT 1 FROM voted AS v WHERE v.hash = c.hash)) AS votes_not_in_redis,
    (SELECT count(*) FROM audit WHERE outcome = 'pending') AS pending,
    (SELECT count(*) FROM audit WHERE outcome = 'unknown') AS unknown_status,
    (SELECT count(*) FROM audit WHERE outcome = 'unusable') AS unusable,
    (SELECT count(*) FROM counted WHERE number = 0 AND (choice IS NULL OR choice = ''
        OR kind = 0 AND choice NOT IN ('oui', 'non'))) AS uncountable,
    (SELECT count(*) FROM counters AS c WHERE c.attempts <> coalesce(
        (SELECT max(d.attempts) FROM duplicates AS d WHERE d.hash = c.hash),
        (SELECT count(*) FROM taken AS t WHERE t.hash = c.hash))) AS counters_differ,
    (SELECT count(*) FROM (SELECT hash FROM counters EXCEPT SELECT hash FROM voters) AS n)
        AS counters_without_vote
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
