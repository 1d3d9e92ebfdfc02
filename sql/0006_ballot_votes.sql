-- Encrypted ballots that arrived as the choice of counted votes: each is admitted to the election's
-- ballots, or refused with a reason.

CREATE TABLE ballot_votes (
    vote_hash text PRIMARY KEY,
    election_id text NOT NULL REFERENCES tally_elections ON DELETE CASCADE,
    ballot_id text,
    refused text,
    collected_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((ballot_id IS NULL) <> (refused IS NULL))
);
CREATE INDEX ballot_votes_by_election ON ballot_votes (election_id);

-- Proofs of ElectionGuard 1.x do not name their ballot: a copy of somebody's ciphertexts under
-- another id would verify, and vote as that voter did.
CREATE UNIQUE INDEX encrypted_ballots_by_content
    ON encrypted_ballots (election_id, sha256(ciphertexts));
