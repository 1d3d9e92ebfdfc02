-- Contests, and the commands that change them. The log decides. These tables record the commands
-- and how far each partition has applied them.

CREATE TABLE contests (
    contest_id text PRIMARY KEY,
    kind       text NOT NULL CHECK (kind IN ('law', 'election', 'poll')),
    title      text NOT NULL,
    state      text NOT NULL CHECK (state IN ('draft', 'open', 'closed', 'archived')),
    choices    text[],
    roll       text NOT NULL,
    opens_at   timestamptz,
    closes_at  timestamptz,
    command_id bytea NOT NULL,
    number     bigint NOT NULL,
    -- The command that closed it.
    closed_by  bytea,
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_contests_state ON contests (state);

-- written_at is null until the record is in every partition. Until then the next holder of the lock
-- writes it again.
CREATE TABLE control_commands (
    command_id bytea PRIMARY KEY,
    number     bigint NOT NULL,
    kind       text NOT NULL,
    record     bytea NOT NULL,
    partitions integer NOT NULL,
    enforced   boolean NOT NULL DEFAULT false,
    issued_by  text NOT NULL,
    issued_at  timestamptz NOT NULL,
    written_at timestamptz
);
CREATE INDEX idx_control_commands_number ON control_commands (number);
CREATE INDEX idx_control_commands_unwritten ON control_commands (number) WHERE written_at IS NULL;

-- A row says that one partition has counted everything up to the command.
CREATE TABLE control_progress (
    command_id    bytea NOT NULL,
    partition     integer NOT NULL,
    log_id        bytea NOT NULL,
    source_offset bigint NOT NULL,
    passed_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (command_id, partition)
);

-- The proof that a result is complete: where each partition's log closed, and that all before is counted.
CREATE VIEW contest_finals AS
SELECT c.contest_id,
       k.command_id,
       k.number,
       k.issued_at AS closed_at,
       k.partitions,
       k.enforced,
       count(p.partition)::integer AS passed,
       k.enforced AND count(p.partition) = k.partitions AS final,
       max(p.passed_at) AS passed_at,
       coalesce(
           jsonb_agg(
               jsonb_build_object(
                   'partition', p.partition,
                   'log_id', encode(p.log_id, 'hex'),
                   'offset', p.source_offset
               ) ORDER BY p.partition
           ) FILTER (WHERE p.partition IS NOT NULL),
           '[]'::jsonb
       ) AS vector
FROM contests AS c
JOIN control_commands AS k ON k.command_id = c.closed_by
LEFT JOIN control_progress AS p ON p.command_id = k.command_id
GROUP BY c.contest_id, k.command_id;

-- Roll files being loaded into the log, by the digest of their content, so that an interrupted load
-- continues where it stopped.
CREATE TABLE roll_loads (
    source       bytea PRIMARY KEY,
    name         text NOT NULL,
    entries_done bigint NOT NULL DEFAULT 0,
    started_at   timestamptz NOT NULL DEFAULT now(),
    finished_at  timestamptz
);

-- Votes taken in during an earlier epoch are void. All partitions have the same epoch.
ALTER TABLE sink_offsets ADD COLUMN epoch integer NOT NULL DEFAULT 0;
