-- The workers' logs name the product of each task; readers of the replaced services join on it.

ALTER TABLE tally_worker_log ADD COLUMN election_center_id bigint;
ALTER TABLE decryption_worker_log ADD COLUMN election_center_id bigint;
ALTER TABLE combine_worker_log ADD COLUMN election_center_id bigint;
