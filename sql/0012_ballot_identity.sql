-- Which ballot a guardian opens, and whose ballot it is.

-- A ballot is identified by its ciphertexts. Its id is a label that its maker chose: a voter who
-- used the id of another's ballot first had that ballot refused. Only the author of a file gives
-- each of its ballots an id of its own.
ALTER TABLE encrypted_ballots ADD COLUMN by_vote boolean NOT NULL DEFAULT false;
UPDATE encrypted_ballots b SET by_vote = true
FROM ballot_votes v WHERE v.election_id = b.election_id AND v.ballot_id = b.ballot_id;
ALTER TABLE encrypted_ballots DROP CONSTRAINT encrypted_ballots_election_id_ballot_id_key;
CREATE UNIQUE INDEX encrypted_ballots_by_name ON encrypted_ballots (election_id, ballot_id)
    WHERE NOT by_vote;

-- Digest of all admitted ballots, set when they are distributed over the chunks. From then on no
-- ballot is admitted.
ALTER TABLE tally_elections ADD COLUMN ballots_head text;
