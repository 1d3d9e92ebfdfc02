-- Results. All of them derive from rows inserted into vote_audit in the same transaction.

CREATE TABLE vote_results (
    law_id      text PRIMARY KEY,
    oui_count   bigint NOT NULL DEFAULT 0,
    non_count   bigint NOT NULL DEFAULT 0,
    total_votes bigint GENERATED ALWAYS AS (oui_count + non_count) STORED,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE contest_results (
    contest_id text NOT NULL,
    choice     text NOT NULL,
    votes      bigint NOT NULL DEFAULT 0,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (contest_id, choice)
);

-- updated_xid lets the publisher of votes.windows find what changed since its last query.
CREATE TABLE vote_windows (
    contest      text NOT NULL,
    choice       text NOT NULL,
    window_start timestamptz NOT NULL,
    votes        bigint NOT NULL,
    updated_xid  xid8 NOT NULL DEFAULT pg_current_xact_id(),
    PRIMARY KEY (contest, choice, window_start)
);
CREATE INDEX idx_vote_windows_updated_xid ON vote_windows (updated_xid);

CREATE TABLE window_cursor (
    singleton   boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    emitted_xid xid8 NOT NULL DEFAULT '0'::xid8
);
INSERT INTO window_cursor DEFAULT VALUES;

-- Counted votes only, one row per vote. For laws vote_hash is the voter's hash; for candidates it is
-- the digest of contest and hash, so that one voter can vote in several contests.
CREATE TABLE vote_audit (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    vote_hash           text NOT NULL CONSTRAINT vote_audit_vote_hash_key UNIQUE,
    voter_hash          text NOT NULL,
    citizen_id          text,
    law_id              text,
    contest             text NOT NULL,
    candidate_id        bigint,
    choice              text NOT NULL,
    "timestamp"         timestamptz NOT NULL,
    vote_timestamp      timestamp GENERATED ALWAYS AS ("timestamp" AT TIME ZONE 'UTC') STORED,
    status              varchar(20) NOT NULL DEFAULT 'accepted',
    processed_timestamp timestamptz NOT NULL,
    metadata            jsonb,
    created_at          timestamptz NOT NULL DEFAULT now(),
    source_partition    integer NOT NULL,
    source_offset       bigint NOT NULL,
    source_index        integer NOT NULL
);
CREATE INDEX idx_vote_audit_voter_hash ON vote_audit (voter_hash);
CREATE INDEX idx_vote_audit_status ON vote_audit (status);
CREATE INDEX idx_vote_audit_timestamp ON vote_audit (vote_timestamp);

-- Every verdict of a message that was not counted, one row per message.
CREATE TABLE rejected_votes (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    vote_hash           text,
    voter_hash          text,
    citizen_id          text,
    law_id              text,
    contest             text,
    candidate_id        bigint,
    choice              text,
    "timestamp"         timestamptz,
    vote_timestamp      timestamp GENERATED ALWAYS AS ("timestamp" AT TIME ZONE 'UTC') STORED,
    status              varchar(20) NOT NULL,
    reason              text NOT NULL,
    attempt_count       integer NOT NULL DEFAULT 0,
    processed_timestamp timestamptz NOT NULL,
    metadata            jsonb,
    identity            bytea NOT NULL,
    body_head           bytea,
    body_length         integer,
    body_sha256         bytea,
    created_at          timestamptz NOT NULL DEFAULT now(),
    source_partition    integer NOT NULL,
    source_offset       bigint NOT NULL,
    source_index        integer NOT NULL,
    UNIQUE (source_partition, source_offset, source_index)
);
CREATE INDEX idx_rejected_votes_identity ON rejected_votes (identity);
CREATE INDEX idx_rejected_votes_voter_hash ON rejected_votes (voter_hash);
CREATE INDEX idx_rejected_votes_reason ON rejected_votes (status, reason);

-- One row per vote that was submitted more than once; attempt_count includes the first submission.
CREATE TABLE duplicate_attempts (
    vote_hash         text PRIMARY KEY,
    voter_hash        text NOT NULL,
    citizen_id        text,
    law_id            text,
    contest           text NOT NULL,
    choice            text NOT NULL,
    attempt_timestamp timestamptz NOT NULL,
    first_attempt     timestamptz NOT NULL,
    last_attempt      timestamptz NOT NULL,
    attempt_count     integer NOT NULL,
    reason            text NOT NULL
);

-- The fence: how far each partition's log was applied. Every flush locks the row first.
CREATE TABLE sink_offsets (
    partition        integer PRIMARY KEY,
    log_id           bytea NOT NULL,
    source_offset    bigint NOT NULL,
    validated_offset bigint NOT NULL,
    updated_at       timestamptz NOT NULL DEFAULT now()
);

CREATE VIEW vote_statistics AS
SELECT law_id,
       oui_count,
       non_count,
       total_votes,
       CASE WHEN total_votes > 0 THEN round(100.0 * oui_count / total_votes, 2) END AS oui_percentage,
       CASE WHEN total_votes > 0 THEN round(100.0 * non_count / total_votes, 2) END AS non_percentage,
       updated_at
FROM vote_results;

-- The audit table of the validation service: every message with its status.
CREATE VIEW validation_audit AS
SELECT id,
       voter_hash,
       candidate_id,
       'valid'::varchar(20) AS status,
       vote_timestamp,
       processed_timestamp AT TIME ZONE 'UTC' AS processed_timestamp,
       metadata,
       created_at
FROM vote_audit
UNION ALL
SELECT -id,
       voter_hash,
       candidate_id,
       status,
       vote_timestamp,
       processed_timestamp AT TIME ZONE 'UTC',
       metadata,
       created_at
FROM rejected_votes;
