-- The workers' logs name the product that was worked on, as readers of the services before join it.

ALTER TABLE tally_worker_log ADD COLUMN election_center_id bigint;
ALTER TABLE decryption_worker_log ADD COLUMN election_center_id bigint;
ALTER TABLE combine_worker_log ADD COLUMN election_center_id bigint;
