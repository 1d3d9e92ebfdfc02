-- The proof of the count: a tree of all verdicts for each partition, and the signed checkpoints.
-- proof/SPECIFICATION.md describes them.

-- The tree at the fence: its number of leaves, and the roots of its perfect subtrees.
ALTER TABLE sink_offsets
    ADD COLUMN tree_size bigint NOT NULL DEFAULT 0,
    ADD COLUMN tree_peaks bytea NOT NULL DEFAULT '',
    ADD COLUMN tree_secret bytea NOT NULL DEFAULT '';

-- Where the trees of a database begin that was counted without them.
CREATE TABLE proof_starts (
    partition    integer PRIMARY KEY,
    start_offset bigint NOT NULL
);
INSERT INTO proof_starts (partition, start_offset)
SELECT partition, source_offset + 1 FROM sink_offsets WHERE source_offset >= 0;

-- The hashes of leaves that one flush added, 32 bytes each, and which input records they belong to:
-- offset (8 bytes) and number of leaves (4 bytes) of each.
CREATE TABLE proof_leaves (
    partition   integer NOT NULL,
    first_leaf  bigint NOT NULL,
    last_offset bigint NOT NULL,
    records     bytea NOT NULL,
    hashes      bytea NOT NULL,
    PRIMARY KEY (partition, first_leaf)
);
CREATE INDEX idx_proof_leaves_offset ON proof_leaves (partition, last_offset);
-- Hashes cannot be compressed.
ALTER TABLE proof_leaves ALTER COLUMN hashes SET STORAGE EXTERNAL;

-- Inner nodes of every eighth level.
CREATE TABLE proof_nodes (
    partition integer NOT NULL,
    level     smallint NOT NULL,
    number    bigint NOT NULL,
    hash      bytea NOT NULL,
    PRIMARY KEY (partition, level, number)
);

CREATE TABLE proof_checkpoints (
    size       bigint PRIMARY KEY,
    peaks      bytea NOT NULL,
    note       text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
