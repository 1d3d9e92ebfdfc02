"""SQL statements of the sink, in the order in which a flush runs them."""

from __future__ import annotations

from typing import Final

READ_OFFSETS: Final = "SELECT partition, log_id, source_offset, validated_offset FROM sink_offsets"

LAST_COUNTED: Final = """
SELECT vote_hash, source_offset, source_index FROM vote_audit
WHERE source_partition = $1 ORDER BY id DESC LIMIT 1
"""
"""Rows of a partition are inserted in the order of its log, so the index on `id` finds the last."""

LAST_OF_NEWEST: Final = """
SELECT vote_hash, source_offset, source_index FROM (
    SELECT vote_hash, source_partition, source_offset, source_index FROM vote_audit
    ORDER BY id DESC LIMIT $2
) AS newest
WHERE source_partition = $1 LIMIT 1
"""
"""The same among some of the newest votes. Where few votes are of a partition, the planner has all
read for the other one, which is right only if the last one is far back."""

HAS_FENCE: Final = "SELECT to_regclass('sink_offsets') IS NOT NULL"

HAS_OFFSETS: Final = "SELECT EXISTS (SELECT 1 FROM sink_offsets)"

WAS_RESET: Final = "SELECT coalesce(max(epoch), 0) > 0 FROM sink_offsets"

REWIND_VALIDATED: Final = "UPDATE sink_offsets SET validated_offset = -1, updated_at = now()"
"""Before votes.validated is rebuilt: read it from its beginning."""

ALIGN_VALIDATED: Final = (
    "UPDATE sink_offsets SET validated_offset = source_offset, updated_at = now()"
)
"""After the rebuild, which writes one record for every input record."""

LOCK_FENCE: Final = """
SELECT partition, log_id, source_offset, validated_offset, epoch, rehearsal,
    tree_size, tree_peaks, tree_secret, coalesce((
        SELECT p.start_offset FROM proof_starts AS p WHERE p.partition = s.partition
    ), 0) AS tree_start, v.*
FROM sink_offsets AS s CROSS JOIN stretch_state() AS v
WHERE partition = ANY($1::int[]) ORDER BY partition FOR UPDATE OF s
"""

END_FROZEN: Final = """
SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity AS a
WHERE a.datname = current_database() AND a.usename = current_user AND a.pid <> pg_backend_pid()
    AND a.application_name LIKE 'scrutin-worker %'
    AND a.state = 'active' AND a.wait_event = 'ClientRead'
    AND a.query_start < clock_timestamp() - $1::interval
    AND EXISTS (
        SELECT FROM pg_locks AS l
        WHERE l.pid = a.pid AND l.granted AND l.relation = to_regclass('sink_offsets')
    )
"""
"""Sessions of workers that hold a fence and have sent nothing for a while in the middle of a COPY.
No timeout of PostgreSQL ends these: while it waits for rows it obeys only a termination."""

LOCK_EPOCH: Final = "SELECT pg_advisory_xact_lock(1546088789)"
"""For opening an epoch and for creating fence rows; any key that no other program uses."""

LOCK_ALL_FENCES: Final = "SELECT partition FROM sink_offsets ORDER BY partition FOR UPDATE"
"""Waits for every other flush, and blocks the next, until an epoch is open."""

MARK_REHEARSAL: Final = "UPDATE sink_offsets SET rehearsal = true WHERE partition = ANY($1::int[])"

OPEN_EPOCH: Final = "UPDATE sink_offsets SET epoch = $1"

EMPTY_RESULTS: Final = """
TRUNCATE vote_results, contest_results, vote_windows, counted_votes, vote_filters, rejected_votes,
    duplicate_attempts, election_counts, election_rounds, election_round_votes
"""

FORGET_STRETCHES: Final = "SELECT forget_stretches(max(number)) FROM vote_stretches"
"""Of a table without votes, the open stretch is left."""

HAS_TEXT: Final = "SELECT to_regclass('vote_audit_text') IS NOT NULL"
"""Whether rows of an earlier version are still to be moved to `counted_votes`."""

EMPTY_TEXT: Final = "TRUNCATE vote_audit_text"

MOVE_TEXT: Final = """
WITH moved AS (
    DELETE FROM vote_audit_text
    WHERE id IN (SELECT id FROM vote_audit_text ORDER BY id LIMIT $1)
    RETURNING *, coalesce(law_id = contest AND voter_hash = vote_hash, false) AS law,
        vote_hash ~ '^[0-9a-f]{64}$' AS vote_hex, voter_hash ~ '^[0-9a-f]{64}$' AS voter_hex
)
INSERT INTO counted_votes (id, "timestamp", processed_timestamp, created_at, source_offset,
    source_index, source_partition, law, vote_key, vote_text, voter_key, voter_text, law_id,
    contest, choice, candidate_id, citizen_id, metadata, weight, stretch)
SELECT id, "timestamp", processed_timestamp, created_at, source_offset, source_index,
    source_partition, law,
    CASE WHEN vote_hex THEN decode(vote_hash, 'hex') END, CASE WHEN NOT vote_hex THEN vote_hash END,
    CASE WHEN NOT law AND voter_hex THEN decode(voter_hash, 'hex') END,
    CASE WHEN NOT law AND NOT voter_hex THEN voter_hash END,
    CASE WHEN NOT law THEN law_id END, contest, choice, candidate_id, citizen_id, metadata,
    nullif(weight, 1), (SELECT open_stretch())
FROM moved ORDER BY id
"""

LOCK_TEXT: Final = "LOCK TABLE vote_audit, counted_votes IN ACCESS EXCLUSIVE MODE"
"""Of a view, the tables behind it are locked too."""

HAS_VOTES_IN_TEXT: Final = "SELECT EXISTS (SELECT FROM vote_audit_text)"

DROP_TEXT: Final = """
SELECT define_vote_audit(false);
DROP TRIGGER refuse_votes_in_text ON counted_votes;
DROP TABLE vote_audit_text;
"""

NEW_FENCE: Final = """
INSERT INTO sink_offsets (partition, log_id, source_offset, validated_offset, epoch)
SELECT partition, log_id, -1, -1, (SELECT coalesce(max(epoch), 0) FROM sink_offsets)
FROM unnest($1::int[], $2::bytea[]) AS new (partition, log_id)
ORDER BY partition
ON CONFLICT DO NOTHING
"""

COUNTED_IN_TEXT: Final = "SELECT vote_hash FROM vote_audit_text WHERE vote_hash = ANY($1::text[])"

TAKE_BACK: Final = "SELECT contest, choice, taken_in, weight FROM take_back_votes($1::text[])"
"""Votes that later ones replace become rows of `rejected_votes`."""

KNOWN_REJECTIONS: Final = """
SELECT identity, status FROM rejected_votes WHERE identity = ANY($1::bytea[])
"""

UPSERT_DUPLICATES: Final = """
INSERT INTO duplicate_attempts AS d (vote_hash, voter_hash, citizen_id, law_id, contest, choice,
    attempt_timestamp, first_attempt, last_attempt, attempt_count, reason)
SELECT n.vote_hash, n.voter_hash, n.citizen_id, CASE WHEN n.kind = 0 THEN n.contest END, n.contest,
    n.choice, n.at, coalesce((
        SELECT a."timestamp" FROM vote_audit AS a WHERE a.vote_hash = n.vote_hash LIMIT 1
    ), n.at), n.at, n.attempt + 1, n.reason
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::int[], $6::text[],
            $7::timestamptz[], $8::int[], $9::text[])
    AS n (vote_hash, voter_hash, citizen_id, contest, kind, choice, at, attempt, reason)
ORDER BY n.vote_hash
ON CONFLICT (vote_hash) DO UPDATE SET
    voter_hash = excluded.voter_hash,
    citizen_id = excluded.citizen_id,
    law_id = excluded.law_id,
    contest = excluded.contest,
    choice = excluded.choice,
    attempt_timestamp = excluded.attempt_timestamp,
    last_attempt = greatest(d.last_attempt, excluded.last_attempt),
    attempt_count = excluded.attempt_count,
    reason = excluded.reason
WHERE excluded.attempt_count >= d.attempt_count
"""
"""A row is the latest attempt whole: a hash may come with one law and then with another."""

ADD_AND_MOVE: Final = """
WITH laws AS (
    INSERT INTO vote_results AS r (law_id, oui_count, non_count)
    SELECT law_id, oui, non
    FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS n (law_id, oui, non)
    ORDER BY law_id
    ON CONFLICT (law_id) DO UPDATE SET
        oui_count = r.oui_count + excluded.oui_count,
        non_count = r.non_count + excluded.non_count,
        updated_at = now()
), windows AS (
    INSERT INTO vote_windows AS w (contest, choice, window_start, votes)
    SELECT contest, choice, window_start, votes
    FROM unnest($4::text[], $5::text[], $6::timestamptz[], $7::bigint[])
        AS n (contest, choice, window_start, votes)
    ORDER BY contest, choice, window_start
    ON CONFLICT (contest, choice, window_start) DO UPDATE SET
        votes = w.votes + excluded.votes, updated_xid = pg_current_xact_id()
), fences AS (
    UPDATE sink_offsets AS s SET
        source_offset = m.source_offset,
        validated_offset = m.validated_offset,
        tree_size = m.tree_size,
        tree_peaks = m.tree_peaks,
        tree_secret = m.tree_secret,
        updated_at = now()
    FROM unnest($8::int[], $9::bigint[], $10::bigint[], $14::bigint[], $15::bytea[], $16::bytea[])
        AS m (partition, source_offset, validated_offset, tree_size, tree_peaks, tree_secret)
    WHERE s.partition = m.partition
), leaves AS (
    INSERT INTO proof_leaves (partition, first_leaf, last_offset, records, hashes)
    SELECT * FROM unnest($17::int[], $18::bigint[], $19::bigint[], $20::bytea[], $21::bytea[])
), nodes AS (
    INSERT INTO proof_nodes (partition, level, number, hash)
    SELECT * FROM unnest($22::int[], $23::smallint[], $24::bigint[], $25::bytea[])
)
INSERT INTO contest_results AS r (contest_id, choice, votes)
SELECT contest_id, choice, votes
FROM unnest($11::text[], $12::text[], $13::bigint[]) AS n (contest_id, choice, votes)
ORDER BY contest_id, choice
ON CONFLICT (contest_id, choice) DO UPDATE SET
    votes = r.votes + excluded.votes, updated_at = now()
RETURNING contest_id, choice, votes, EXISTS (
    SELECT 1 FROM hidden_contests AS h WHERE h.contest_id = r.contest_id
) AS hidden, EXISTS (
    SELECT 1 FROM contests AS c
    WHERE c.contest_id = r.contest_id AND (c.conduct ->> 'revote')::boolean
) AS may_fall
"""
"""One statement, because each round trip needs a context switch in two processes: on a busy machine
four round trips took longer than their work. Every flush has the same plan, so all lock the tables'
rows in the same order."""

LOCK_WINDOW_CURSOR: Final = """
SELECT emitted_xid::text AS emitted_xid FROM window_cursor FOR UPDATE SKIP LOCKED
"""

SETTLED_XID: Final = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text"
"""Every transaction below this id has ended, so its rows are visible or never will be."""

CHANGED_WINDOWS: Final = """
SELECT contest, choice, window_start, votes FROM vote_windows
WHERE updated_xid >= $1::text::xid8 AND updated_xid < $2::text::xid8
ORDER BY updated_xid
"""

UNSETTLED_WINDOWS: Final = """
SELECT EXISTS (SELECT 1 FROM vote_windows WHERE updated_xid >= $1::text::xid8)
"""

MOVE_WINDOW_CURSOR: Final = "UPDATE window_cursor SET emitted_xid = $1::text::xid8"

REWIND_WINDOWS: Final = "UPDATE window_cursor SET emitted_xid = '0'"
"""After votes.windows was rebuilt: write all windows again."""

READ_TOTALS: Final = "SELECT law_id, oui_count, non_count FROM vote_results ORDER BY law_id"

POLL_TEXTS: Final = """
SELECT p.title, array_agg(o.number ORDER BY o.number) AS numbers,
    array_agg(o.text ORDER BY o.number) AS options
FROM polls AS p JOIN poll_options AS o ON o.poll_id = p.id
WHERE p.id = $1 GROUP BY p.id
"""
"""Title and options of a poll."""
