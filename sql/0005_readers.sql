-- For readers of the tables that Scrutin replaces. Where the dialects of the replaced services agree,
-- readers use the tables themselves. Names that only one dialect has are views beside them. Where two
-- dialects give one name different columns, each has a schema for the reader's search_path.

ALTER TABLE vote_results ADD COLUMN id bigint GENERATED ALWAYS AS IDENTITY;
ALTER TABLE duplicate_attempts ADD COLUMN id bigint GENERATED ALWAYS AS IDENTITY;

CREATE VIEW vote_summary AS
SELECT law_id,
       oui_count,
       non_count,
       total_votes,
       CASE WHEN total_votes > 0 THEN round(100.0 * oui_count / total_votes, 2) ELSE 0 END
           AS oui_percentage,
       CASE WHEN total_votes > 0 THEN round(100.0 * non_count / total_votes, 2) ELSE 0 END
           AS non_percentage,
       updated_at AS last_vote_at
FROM vote_results
ORDER BY total_votes DESC;

CREATE VIEW duplicate_summary AS
SELECT law_id,
       count(*) AS duplicate_count,
       count(DISTINCT citizen_id) AS unique_citizens,
       min(vote_timestamp) AS first_attempt,
       max(vote_timestamp) AS last_attempt
FROM rejected_votes
WHERE status = 'duplicate' AND law_id IS NOT NULL
GROUP BY law_id
ORDER BY duplicate_count DESC;

CREATE VIEW recent_audit_entries AS
(
    SELECT id, vote_hash, law_id, choice AS vote, 'aggregated'::varchar(20) AS status, "timestamp",
           processed_timestamp AS processed_at, NULL::text AS error_message
    FROM vote_audit ORDER BY id DESC LIMIT 1000
)
UNION ALL
(
    SELECT -id, vote_hash, law_id, choice,
           CASE status WHEN 'malformed' THEN 'invalid' ELSE status END, "timestamp",
           processed_timestamp, reason
    FROM rejected_votes ORDER BY id DESC LIMIT 1000
)
ORDER BY processed_at DESC
LIMIT 1000;

CREATE VIEW top_duplicate_attempts AS
SELECT vote_hash,
       law_id,
       attempt_count,
       first_attempt AS first_attempt_at,
       last_attempt AS last_attempt_at,
       last_attempt - first_attempt AS duration
FROM duplicate_attempts
WHERE attempt_count > 1
ORDER BY attempt_count DESC
LIMIT 100;

-- Schema names are unique in a database: tables that a rebuild makes beside those in use get none.
DO $$
BEGIN
    IF current_schema() <> 'public' THEN
        RETURN;
    END IF;

    -- The voting services: one audit row a message under the names vote and processed_at, one duplicate
    -- row a vote.
    CREATE SCHEMA IF NOT EXISTS reader_voting;

    CREATE OR REPLACE VIEW reader_voting.vote_results AS
    SELECT id, law_id, oui_count, non_count, total_votes, created_at, updated_at FROM vote_results;

    CREATE OR REPLACE VIEW reader_voting.vote_audit AS
    SELECT id,
           vote_hash,
           law_id,
           choice AS vote,
           'aggregated'::varchar(20) AS status,
           "timestamp",
           processed_timestamp AS processed_at,
           NULL::text AS error_message,
           metadata
    FROM vote_audit
    UNION ALL
    SELECT -id,
           vote_hash,
           law_id,
           choice,
           CASE status WHEN 'malformed' THEN 'invalid' ELSE status END,
           "timestamp",
           processed_timestamp,
           reason,
           metadata
    FROM rejected_votes;

    CREATE OR REPLACE VIEW reader_voting.duplicate_attempts AS
    SELECT d.id,
           d.vote_hash,
           d.law_id,
           d.attempt_count,
           d.first_attempt,
           d.last_attempt,
           d.first_attempt AS first_attempt_at,
           d.last_attempt AS last_attempt_at,
           r.ip_addresses,
           r.user_agents
    FROM duplicate_attempts AS d
    CROSS JOIN LATERAL (
        SELECT jsonb_agg(metadata -> 'ip_address') FILTER (WHERE metadata ? 'ip_address')
                   AS ip_addresses,
               jsonb_agg(metadata -> 'user_agent') FILTER (WHERE metadata ? 'user_agent')
                   AS user_agents
        FROM rejected_votes
        WHERE voter_hash = d.voter_hash AND contest = d.contest AND status = 'duplicate'
    ) AS r;

    CREATE OR REPLACE VIEW reader_voting.vote_summary AS SELECT * FROM vote_summary;
    CREATE OR REPLACE VIEW reader_voting.vote_statistics AS SELECT * FROM vote_statistics;

    -- The aggregation service: counted votes with the time in UTC without offset, one duplicate row an
    -- attempt.
    CREATE SCHEMA IF NOT EXISTS reader_aggregation;

    CREATE OR REPLACE VIEW reader_aggregation.vote_results AS
    SELECT law_id, oui_count, non_count, updated_at AT TIME ZONE 'UTC' AS updated_at FROM vote_results;

    CREATE OR REPLACE VIEW reader_aggregation.vote_audit AS
    SELECT id,
           vote_hash,
           citizen_id,
           law_id,
           choice,
           vote_timestamp AS "timestamp",
           metadata ->> 'ip_address' AS ip_address,
           metadata ->> 'user_agent' AS user_agent,
           metadata
    FROM vote_audit;

    CREATE OR REPLACE VIEW reader_aggregation.duplicate_attempts AS
    SELECT id,
           vote_hash,
           citizen_id,
           law_id,
           choice,
           vote_timestamp AS attempt_timestamp,
           reason,
           metadata ->> 'ip_address' AS ip_address
    FROM rejected_votes
    WHERE status = 'duplicate';

    CREATE OR REPLACE VIEW reader_aggregation.vote_statistics AS
    SELECT law_id,
           oui_count,
           non_count,
           total_votes,
           coalesce(oui_percentage, 0) AS oui_percentage,
           coalesce(non_percentage, 0) AS non_percentage,
           updated_at AT TIME ZONE 'UTC' AS updated_at
    FROM vote_statistics
    ORDER BY total_votes DESC;

    -- The validation service: every message with its status.
    CREATE SCHEMA IF NOT EXISTS reader_validation;

    CREATE OR REPLACE VIEW reader_validation.vote_audit AS
    SELECT id,
           voter_hash,
           candidate_id,
           status,
           vote_timestamp,
           processed_timestamp,
           metadata,
           created_at AT TIME ZONE 'UTC' AS created_at
    FROM validation_audit;

    -- A deployment that has a table of its laws keeps it.
    IF (SELECT relkind = 'v' FROM pg_class WHERE oid = to_regclass('laws')) IS NOT FALSE THEN
        CREATE OR REPLACE VIEW laws AS
        SELECT contest_id AS law_id,
               title,
               NULL::text AS description,
               NULL::varchar(100) AS category,
               CASE state WHEN 'open' THEN 'active' WHEN 'archived' THEN 'closed' ELSE state END
                   AS status,
               opens_at AT TIME ZONE 'UTC' AS start_date,
               closes_at AT TIME ZONE 'UTC' AS end_date,
               updated_at AT TIME ZONE 'UTC' AS created_at,
               updated_at AT TIME ZONE 'UTC' AS updated_at
        FROM contests
        WHERE kind = 'law';
    END IF;
END $$;
