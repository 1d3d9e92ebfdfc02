-- Readers of the deployed election tables find each of their columns.
DO $$
BEGIN
    IF current_schema() <> 'public' THEN
        RETURN;
    END IF;

    CREATE OR REPLACE VIEW reader_elections.election_results AS
    SELECT row_number() OVER (ORDER BY election_id, region_id, candidate_id) AS id,
           election_id,
           region_id::integer AS region_id,
           candidate_id,
           votes AS vote_count,
           votes,
           CASE WHEN sum(votes) OVER seat > 0
                THEN round(100.0 * votes / sum(votes) OVER seat, 2) ELSE 0 END AS percentage,
           updated_at,
           -- Totals are made from votes; nothing notes their first one.
           NULL::timestamptz AS created_at
    FROM election_standings
    WINDOW seat AS (PARTITION BY election_id, region_id);

    CREATE OR REPLACE VIEW reader_elections.election_votes AS
    SELECT a.id,
           a.voter_hash AS vote_hash,
           e.id AS election_id,
           -- A vote may carry any text.
           coalesce(c.region_id, CASE WHEN a.metadata ->> 'region_id' ~ '^[0-9]{1,9}$'
                                      THEN (a.metadata ->> 'region_id')::bigint END)::integer
               AS region_id,
           a.candidate_id,
           e.voting_method,
           -- A choice is one candidate or, in order, those of a ranking: 3>1>2.
           CASE WHEN a.choice ~ '^[1-9][0-9]{0,17}(>[1-9][0-9]{0,17})*$'
                     AND (e.voting_method <> 'single_choice' OR position('>' IN a.choice) > 0)
                THEN ('[' || replace(a.choice, '>', ',') || ']')::jsonb END AS ranked_choices,
           a.vote_timestamp,
           a.processed_timestamp AS processed_at,
           a.metadata
    FROM vote_audit AS a
    JOIN elections AS e ON e.contest_id = a.contest
    LEFT JOIN candidates AS c ON c.id = a.candidate_id;
END $$;
