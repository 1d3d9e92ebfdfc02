-- What witnesses signed of the checkpoints: a line of the signed note each.

CREATE TABLE proof_cosignatures (
    size      bigint NOT NULL REFERENCES proof_checkpoints (size),
    witness   text NOT NULL,
    signed_at timestamptz NOT NULL,
    line      text NOT NULL,
    PRIMARY KEY (size, witness)
);
