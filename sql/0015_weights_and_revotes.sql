-- Votes with a weight, and votes that a later vote of the same voter replaces.

ALTER TABLE vote_audit ADD COLUMN weight bigint NOT NULL DEFAULT 1;
ALTER TABLE rejected_votes ADD COLUMN weight bigint NOT NULL DEFAULT 1;
CREATE INDEX idx_rejected_votes_replaced ON rejected_votes (vote_hash) WHERE status = 'replaced';

-- `vote_audit` has one row a voter, always, so its unique key guards elections with revotes too. A
-- worker cannot delete rows. It can take votes back by this function, only in an election whose
-- rules say that the last vote counts, and each leaves a row in `rejected_votes`.
DO $$
BEGIN
    EXECUTE format(
        'CREATE OR REPLACE FUNCTION take_back_votes(hashes text[])
            RETURNS TABLE (contest text, choice text, taken_in timestamptz, weight bigint)
            LANGUAGE sql SECURITY DEFINER SET search_path = %I, pg_temp AS %L',
        current_schema(),
        $body$
        WITH gone AS (
            DELETE FROM vote_audit AS a USING contests AS c
            WHERE a.vote_hash = ANY (hashes)
                AND c.contest_id = a.contest
                AND (c.conduct ->> 'revote')::boolean
            RETURNING a.*
        ), kept AS (
            INSERT INTO rejected_votes (vote_hash, voter_hash, citizen_id, law_id, contest,
                candidate_id, choice, "timestamp", processed_timestamp, metadata, source_partition,
                source_offset, source_index, status, reason, identity, weight)
            SELECT vote_hash, voter_hash, citizen_id, law_id, contest, candidate_id, choice,
                "timestamp", processed_timestamp, metadata, source_partition, source_offset,
                source_index, 'replaced', 'revoted', '', weight
            FROM gone ORDER BY source_partition, source_offset, source_index
        )
        SELECT contest, choice, processed_timestamp, weight FROM gone
        $body$
    );
END $$;
REVOKE EXECUTE ON FUNCTION take_back_votes(text[]) FROM PUBLIC;
