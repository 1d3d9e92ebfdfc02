"""SQL of the encrypted tally."""

from __future__ import annotations

from typing import Final

PUT_ELECTION: Final = """
INSERT INTO tally_elections (election_id, manifest, context, guardians) VALUES ($1, $2, $3, $4)
ON CONFLICT (election_id) DO NOTHING RETURNING election_id
"""
GET_ELECTION: Final = """
SELECT election_id, manifest, context, guardians FROM tally_elections WHERE election_id = $1
"""
PUT_BACKUP: Final = """
INSERT INTO guardian_backups (election_id, owner_id, designated_id, backup)
VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING
"""
GET_BACKUP: Final = """
SELECT backup FROM guardian_backups
WHERE election_id = $1 AND owner_id = $2 AND designated_id = $3
"""
# Not `excluded.sealed`: that requires the privilege to read the column.
PUT_SEALED: Final = """
INSERT INTO sealed_secrets (election_id, guardian_id, sealed) VALUES ($1, $2, $3)
ON CONFLICT (election_id, guardian_id) DO UPDATE SET sealed = $3
"""
HAS_SEALED: Final = "SELECT true FROM sealed_secrets WHERE election_id = $1 AND guardian_id = $2"
GET_SEALED: Final = "SELECT sealed FROM sealed_secrets WHERE election_id = $1 AND guardian_id = $2"

PUT_BALLOTS: Final = """
INSERT INTO encrypted_ballots (election_id, ballot_id, state, ciphertexts, ballot, by_vote)
SELECT $1, *, $6::boolean FROM unnest($2::text[], $3::smallint[], $4::bytea[], $5::text[])
ON CONFLICT DO NOTHING RETURNING sha256(ciphertexts)
"""
KNOWN_CONTENTS: Final = """
SELECT sha256(ciphertexts) FROM encrypted_ballots
WHERE election_id = $1 AND sha256(ciphertexts) = ANY($2::bytea[])
"""
IS_PLANNED: Final = """
SELECT ballots_head IS NOT NULL
    OR EXISTS (SELECT FROM submitted_ballots s WHERE s.election_id = e.election_id)
FROM tally_elections e WHERE election_id = $1
"""
GET_HEAD: Final = "SELECT ballots_head FROM tally_elections WHERE election_id = $1"
PUT_HEAD: Final = "UPDATE tally_elections SET ballots_head = $2 WHERE election_id = $1"
CONTENTS: Final = """
SELECT state, sha256(ciphertexts) FROM encrypted_ballots WHERE election_id = $1 ORDER BY id
"""
CAST_BALLOTS: Final = """
SELECT ciphertexts FROM encrypted_ballots WHERE election_id = $1 AND state = 1
"""
CHUNK_PLACES: Final = """
SELECT s.chunk_number, array_agg(b.place ORDER BY b.place)
FROM (SELECT id, row_number() OVER (ORDER BY id) - 1 AS place
      FROM encrypted_ballots WHERE election_id = $1) b
JOIN submitted_ballots s ON s.ballot = b.id
GROUP BY s.chunk_number
"""
SPOILED_NAMED: Final = """
SELECT ballot FROM encrypted_ballots
WHERE election_id = $1 AND state = 2 AND ballot_id = ANY($2::text[]) ORDER BY id
"""
COUNT_BALLOTS: Final = """
SELECT count(*) FROM encrypted_ballots WHERE election_id = $1 AND state = $2
"""
# `->>` returns an object as text, and a string without its quotes.
UNCOLLECTED: Final = """
SELECT v.vote_hash, coalesce(v.metadata ->> 'encrypted_ballot', '')
FROM vote_audit v LEFT JOIN ballot_votes b USING (vote_hash)
WHERE v.contest = $1 AND v.choice = 'encrypted' AND b.vote_hash IS NULL
ORDER BY v.id LIMIT $2
"""
COUNT_UNCOLLECTED: Final = """
SELECT count(*) FROM vote_audit v LEFT JOIN ballot_votes b USING (vote_hash)
WHERE v.contest = $1 AND v.choice = 'encrypted' AND b.vote_hash IS NULL
"""
COLLECTED: Final = "SELECT vote_hash FROM ballot_votes WHERE vote_hash = ANY($1::text[])"
PUT_COLLECTED: Final = """
INSERT INTO ballot_votes (vote_hash, election_id, ballot_id, refused)
SELECT vote_hash, $1, ballot_id, refused
FROM unnest($2::text[], $3::text[], $4::text[]) AS given (vote_hash, ballot_id, refused)
ON CONFLICT (vote_hash) DO NOTHING
"""
LOCK_ELECTION: Final = "SELECT pg_advisory_xact_lock(hashtextextended('tally ' || $1, 0))"
CAST_IDS: Final = """
SELECT id FROM encrypted_ballots WHERE election_id = $1 AND state = 1 AND id > $2
ORDER BY id LIMIT $3
"""
COUNT_CHUNKS: Final = """
SELECT coalesce(max(chunk_number) + 1, 0) FROM submitted_ballots WHERE election_id = $1
"""
CHUNK_BALLOTS: Final = """
SELECT b.ciphertexts FROM submitted_ballots s JOIN encrypted_ballots b ON b.id = s.ballot
WHERE s.election_id = $1 AND s.chunk_number = $2
"""
SPOILED_BALLOTS: Final = """
SELECT ballot_id, ballot FROM encrypted_ballots WHERE election_id = $1 AND state = 2 ORDER BY id
"""
BALLOTS: Final = """
SELECT ballot_id, state, ballot FROM encrypted_ballots WHERE election_id = $1 ORDER BY id
"""

PUT_CENTER: Final = """
INSERT INTO election_center (election_id, kind, chunk_number, unit, ballots, encrypted_tally)
VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING
"""
HAS_CENTER: Final = """
SELECT true FROM election_center WHERE election_id = $1 AND kind = $2 AND chunk_number = $3
"""
CHUNK_TALLIES: Final = """
SELECT encrypted_tally, ballots FROM election_center
WHERE election_id = $1 AND kind = 'chunk' ORDER BY chunk_number
"""
NUMBER_CHUNKS: Final = """
UPDATE election_center SET unit = chunk_number
WHERE election_id = $1 AND kind = 'chunk' AND unit IS NULL
"""
COUNT_CENTERS: Final = """
SELECT count(*) FROM election_center WHERE election_id = $1 AND unit IS NOT NULL
"""
GET_CENTER: Final = """
SELECT election_center_id, kind, chunk_number, ballots, encrypted_tally, election_result
FROM election_center WHERE election_id = $1 AND unit = $2
"""
PUT_RESULT: Final = """
UPDATE election_center SET election_result = $2
WHERE election_center_id = $1 AND election_result IS NULL
"""
CENTERS: Final = """
SELECT unit, kind, chunk_number, ballots, encrypted_tally, election_result
FROM election_center WHERE election_id = $1 ORDER BY kind, chunk_number
"""

PUT_SHARE: Final = """
INSERT INTO decryptions (election_center_id, guardian_id, guardian_decryption_key, tally_share)
VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING
"""
HAS_SHARE: Final = """
SELECT true FROM decryptions WHERE election_center_id = $1 AND guardian_id = $2
"""
SHARES: Final = """
SELECT guardian_id, tally_share FROM decryptions
WHERE election_center_id = $1 AND guardian_id = ANY($2::text[]) ORDER BY guardian_id
"""
PUT_COMPENSATED: Final = """
INSERT INTO compensated_decryptions
    (election_center_id, compensating_guardian_id, missing_guardian_id, compensated_tally_share)
VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING
"""
HAS_COMPENSATED: Final = """
SELECT true FROM compensated_decryptions
WHERE election_center_id = $1 AND compensating_guardian_id = $2 AND missing_guardian_id = $3
"""
COMPENSATED: Final = """
SELECT compensated_tally_share FROM compensated_decryptions
WHERE election_center_id = $1 AND compensating_guardian_id = ANY($2::text[])
  AND missing_guardian_id <> ALL($2::text[])
ORDER BY compensating_guardian_id, missing_guardian_id
"""
COUNT_SHARES: Final = """
SELECT count(*) FROM decryptions d JOIN election_center c USING (election_center_id)
WHERE c.election_id = $1 AND d.guardian_id = $2
"""
COUNT_COMPENSATED: Final = """
SELECT count(*) FROM compensated_decryptions d JOIN election_center c USING (election_center_id)
WHERE c.election_id = $1 AND d.compensating_guardian_id = $2 AND d.missing_guardian_id = $3
"""
PUT_PUBLISHED: Final = """
INSERT INTO election_results (election_id, result) VALUES ($1, $2)
ON CONFLICT (election_id) DO NOTHING
"""
GET_PUBLISHED: Final = "SELECT result FROM election_results WHERE election_id = $1"

PUT_JOB: Final = """
INSERT INTO election_jobs AS j
    (job_id, election_id, operation_type, guardian_id, missing_guardian_id, status, total_chunks,
     processed_chunks, failed_chunks, created_by, started_at, completed_at, error_message,
     metadata, version)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
ON CONFLICT (job_id) DO UPDATE SET
    status = excluded.status, total_chunks = excluded.total_chunks,
    processed_chunks = excluded.processed_chunks, failed_chunks = excluded.failed_chunks,
    completed_at = coalesce(j.completed_at, excluded.completed_at),
    error_message = excluded.error_message, metadata = excluded.metadata,
    version = excluded.version
WHERE j.version < excluded.version
"""
JOBS: Final = """
SELECT job_id, election_id, operation_type, guardian_id, missing_guardian_id, status, total_chunks,
       processed_chunks, failed_chunks, created_by, started_at, completed_at, error_message,
       metadata
FROM election_jobs
"""
JOBS_OF_ELECTION: Final = JOBS + " WHERE election_id = $1 ORDER BY started_at, operation_type"
JOB: Final = JOBS + " WHERE job_id = $1"
ACTIVE_JOBS: Final = JOBS + " WHERE status IN ('QUEUED', 'IN_PROGRESS') ORDER BY started_at"

ELECTIONS: Final = """
SELECT e.election_id, e.created_at,
       CASE WHEN r.election_id IS NOT NULL THEN 'published'
            ELSE coalesce(t.status, 'not_started') END AS status
FROM tally_elections e
LEFT JOIN election_results r USING (election_id)
LEFT JOIN tally_creation_status t USING (election_id)
ORDER BY e.created_at DESC, e.election_id LIMIT 200
"""
TALLY_STATUS: Final = "SELECT * FROM tally_creation_status WHERE election_id = $1"
DECRYPTION_STATUS: Final = """
SELECT * FROM decryption_status WHERE election_id = $1 ORDER BY guardian_id
"""
COMBINE_STATUS: Final = "SELECT * FROM combine_status WHERE election_id = $1"

# The product of a chunk or of a unit; the phases `plan` and `publish` have none.
_OF_CHUNK: Final = """(SELECT election_center_id FROM election_center
     WHERE election_id = $1 AND kind = 'chunk' AND chunk_number = $3 AND $2 = 'tally')"""
_OF_UNIT: Final = """(SELECT election_center_id FROM election_center
     WHERE election_id = $1 AND unit = $3 AND $2 <> 'publish')"""
LOG_TALLY: Final = f"""
INSERT INTO tally_worker_log (election_id, phase, chunk_number, attempt, worker, start_time,
    end_time, status, error_message, election_center_id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9,
    {_OF_CHUNK})
"""  # noqa: S608 - built from constants
LOG_COMBINE: Final = f"""
INSERT INTO combine_worker_log (election_id, phase, chunk_number, attempt, worker, start_time,
    end_time, status, error_message, election_center_id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9,
    {_OF_UNIT})
"""  # noqa: S608 - built from constants
LOG_DECRYPTION: Final = f"""
INSERT INTO decryption_worker_log (election_id, phase, chunk_number, attempt, worker, start_time,
    end_time, status, error_message, guardian_id, decrypting_guardian_id, decryption_type,
    election_center_id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12,
    {_OF_UNIT})
"""  # noqa: S608 - built from constants
