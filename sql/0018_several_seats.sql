-- Counts of several seats: transferable votes have decimal places, party lists have seats.

ALTER TABLE election_counts ADD COLUMN seats integer NOT NULL DEFAULT 1;
-- Who is elected, to one seat or to several; empty until it is final.
ALTER TABLE election_counts ADD COLUMN all_elected bigint[] NOT NULL DEFAULT '{}';
UPDATE election_counts SET all_elected = ARRAY[elected] WHERE elected IS NOT NULL;
-- Of party lists: votes, seats and who is elected; the award of each seat; seats that are tied.
ALTER TABLE election_counts ADD COLUMN lists jsonb NOT NULL DEFAULT '[]';
ALTER TABLE election_counts ADD COLUMN awards jsonb NOT NULL DEFAULT '[]';
ALTER TABLE election_counts ADD COLUMN tied_seats integer NOT NULL DEFAULT 0;

ALTER TABLE election_rounds ALTER COLUMN active TYPE numeric;
ALTER TABLE election_rounds ALTER COLUMN exhausted TYPE numeric;
ALTER TABLE election_rounds ADD COLUMN quota numeric;
ALTER TABLE election_rounds ADD COLUMN surplus_of bigint;
ALTER TABLE election_rounds ADD COLUMN keep_factors jsonb NOT NULL DEFAULT '{}';
-- Of several seats: who is deemed elected in this round.
ALTER TABLE election_rounds ADD COLUMN all_elected bigint[] NOT NULL DEFAULT '{}';

ALTER TABLE election_round_votes ALTER COLUMN votes TYPE numeric;
ALTER TABLE election_round_votes ALTER COLUMN transferred TYPE numeric;
