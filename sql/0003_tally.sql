-- The encrypted tally: elections, ballots, products, shares, results; a mirror of the jobs.

CREATE TABLE tally_elections (
    election_id text PRIMARY KEY,
    -- JSON as ElectionGuard's Python reference writes it; the guardians' public keys as a list.
    manifest text NOT NULL,
    context text NOT NULL,
    guardians text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE guardian_backups (
    election_id text NOT NULL REFERENCES tally_elections ON DELETE CASCADE,
    owner_id text NOT NULL,
    designated_id text NOT NULL,
    backup text NOT NULL,
    PRIMARY KEY (election_id, owner_id, designated_id)
);

-- Only the holder of the workers' private key can open them.
CREATE TABLE sealed_secrets (
    election_id text NOT NULL REFERENCES tally_elections ON DELETE CASCADE,
    guardian_id text NOT NULL,
    sealed bytea NOT NULL,
    PRIMARY KEY (election_id, guardian_id)
);

CREATE TABLE encrypted_ballots (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    election_id text NOT NULL REFERENCES tally_elections ON DELETE CASCADE,
    ballot_id text NOT NULL,
    -- 1 cast, 2 spoiled
    state smallint NOT NULL CHECK (state IN (1, 2)),
    -- The factors: pad and data of every selection of the election, 512 bytes each.
    ciphertexts bytea NOT NULL,
    -- The whole ballot with its proofs, as it was verified.
    ballot text NOT NULL,
    admitted_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (election_id, ballot_id)
);
-- Random bytes do not compress.
ALTER TABLE encrypted_ballots ALTER COLUMN ciphertexts SET STORAGE EXTERNAL;
CREATE INDEX encrypted_ballots_by_state ON encrypted_ballots (election_id, state, id);

CREATE TABLE submitted_ballots (
    ballot bigint PRIMARY KEY REFERENCES encrypted_ballots ON DELETE CASCADE,
    election_id text NOT NULL,
    chunk_number integer NOT NULL
);
CREATE INDEX submitted_ballots_by_chunk ON submitted_ballots (election_id, chunk_number);

CREATE TABLE election_center (
    election_center_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    election_id text NOT NULL REFERENCES tally_elections ON DELETE CASCADE,
    kind text NOT NULL CHECK (kind IN ('chunk', 'total', 'spoiled')),
    chunk_number integer NOT NULL,
    -- Its number among the decrypted products; null if it is not decrypted.
    unit integer,
    ballots integer NOT NULL,
    -- JSON list of encrypted tallies: one, or one for every spoiled ballot.
    encrypted_tally text NOT NULL,
    -- JSON list of counts with shares and proofs.
    election_result text,
    UNIQUE (election_id, kind, chunk_number),
    UNIQUE (election_id, unit)
);

CREATE TABLE decryptions (
    election_center_id bigint NOT NULL REFERENCES election_center ON DELETE CASCADE,
    guardian_id text NOT NULL,
    guardian_decryption_key text NOT NULL,
    tally_share text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (election_center_id, guardian_id)
);

CREATE TABLE compensated_decryptions (
    election_center_id bigint NOT NULL REFERENCES election_center ON DELETE CASCADE,
    compensating_guardian_id text NOT NULL,
    missing_guardian_id text NOT NULL,
    compensated_tally_share text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (election_center_id, compensating_guardian_id, missing_guardian_id)
);

CREATE TABLE election_results (
    election_id text PRIMARY KEY REFERENCES tally_elections ON DELETE CASCADE,
    result jsonb NOT NULL,
    published_at timestamptz NOT NULL DEFAULT now()
);

-- A mirror of the table tally_jobs; `version` keeps a late writer from setting a row back.
CREATE TABLE election_jobs (
    job_id uuid PRIMARY KEY,
    election_id text NOT NULL,
    operation_type text NOT NULL
        CHECK (operation_type IN ('TALLY', 'DECRYPTION', 'COMPENSATED_DECRYPTION', 'COMBINE')),
    guardian_id text NOT NULL DEFAULT '',
    missing_guardian_id text NOT NULL DEFAULT '',
    status text NOT NULL
        CHECK (status IN ('QUEUED', 'IN_PROGRESS', 'COMPLETED', 'FAILED', 'CANCELLED')),
    total_chunks integer NOT NULL,
    processed_chunks integer NOT NULL,
    failed_chunks integer NOT NULL,
    created_by text NOT NULL,
    started_at timestamptz NOT NULL,
    completed_at timestamptz,
    error_message text,
    metadata jsonb NOT NULL DEFAULT '{}',
    version bigint NOT NULL
);
CREATE INDEX election_jobs_by_election ON election_jobs (election_id);

CREATE TABLE tally_worker_log (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    election_id text NOT NULL,
    phase text NOT NULL,
    chunk_number integer NOT NULL,
    attempt integer NOT NULL,
    worker text NOT NULL,
    start_time timestamptz NOT NULL,
    end_time timestamptz NOT NULL,
    status text NOT NULL CHECK (status IN ('COMPLETED', 'FAILED')),
    error_message text
);
CREATE INDEX tally_worker_log_by_election ON tally_worker_log (election_id, chunk_number);

CREATE TABLE decryption_worker_log (
    LIKE tally_worker_log INCLUDING ALL,
    guardian_id text NOT NULL,
    decrypting_guardian_id text NOT NULL,
    decryption_type text NOT NULL CHECK (decryption_type IN ('PARTIAL', 'COMPENSATED'))
);

CREATE TABLE combine_worker_log (LIKE tally_worker_log INCLUDING ALL);

CREATE VIEW tally_creation_status AS
SELECT election_id, job_id, lower(status) AS status, total_chunks, processed_chunks,
       failed_chunks, created_by, started_at, completed_at, error_message
FROM election_jobs WHERE operation_type = 'TALLY';

CREATE VIEW decryption_status AS
SELECT own.election_id, own.guardian_id, own.job_id,
       CASE WHEN count(other.*) FILTER (WHERE other.status = 'FAILED') > 0 THEN 'failed'
            WHEN own.status = 'COMPLETED'
                 AND count(other.*) FILTER (WHERE other.status <> 'COMPLETED') > 0
            THEN 'in_progress'
            ELSE lower(own.status) END AS status,
       own.total_chunks, own.processed_chunks, own.failed_chunks,
       CASE WHEN own.status <> 'COMPLETED' THEN 'partial_decryption'
            WHEN count(other.*) FILTER (WHERE other.status <> 'COMPLETED') > 0
            THEN 'compensated_shares_generation'
            ELSE 'completed' END AS current_phase,
       count(other.*)::integer AS total_compensated_guardians,
       (count(other.*) FILTER (WHERE other.status = 'COMPLETED'))::integer
           AS processed_compensated_guardians,
       own.started_at,
       CASE WHEN own.completed_at IS NULL
                 OR count(other.*) FILTER (WHERE other.completed_at IS NULL) > 0 THEN NULL
            ELSE greatest(own.completed_at, max(other.completed_at)) END AS completed_at,
       coalesce(own.error_message, max(other.error_message)) AS error_message
FROM election_jobs own
LEFT JOIN election_jobs other
       ON other.election_id = own.election_id
      AND other.guardian_id = own.guardian_id
      AND other.operation_type = 'COMPENSATED_DECRYPTION'
WHERE own.operation_type = 'DECRYPTION'
GROUP BY own.job_id;

CREATE VIEW combine_status AS
SELECT election_id, job_id, lower(status) AS status, total_chunks, processed_chunks,
       failed_chunks, started_at, completed_at, error_message
FROM election_jobs WHERE operation_type = 'COMBINE';
