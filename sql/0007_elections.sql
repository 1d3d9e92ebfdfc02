-- Elections: what a ballot may contain, and counts by round.

ALTER TABLE contests ADD COLUMN method text NOT NULL DEFAULT 'single'
    CHECK (method IN ('single', 'ranked'));
-- Region of each of the choices, in their order.
ALTER TABLE contests ADD COLUMN regions text[];

ALTER TABLE elections ADD COLUMN description text;
ALTER TABLE elections ADD COLUMN starts_at timestamptz;
ALTER TABLE elections ADD COLUMN ends_at timestamptz;
ALTER TABLE elections ADD COLUMN contest_id text
    GENERATED ALWAYS AS ('election:' || id::text) STORED UNIQUE;
-- A candidate without a region stands in all of them.
ALTER TABLE candidates ALTER COLUMN region_id DROP NOT NULL;

-- Results of `scrutin election count`. Region 0 is the whole country.
CREATE TABLE election_counts (
    election_id bigint NOT NULL,
    region_id   bigint NOT NULL,
    method      text NOT NULL,
    ballots     bigint NOT NULL,
    uncountable bigint NOT NULL,
    elected     bigint,
    tied        bigint[] NOT NULL,
    final       boolean NOT NULL,
    counted_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (election_id, region_id)
);

CREATE TABLE election_rounds (
    election_id bigint NOT NULL,
    region_id   bigint NOT NULL,
    round       integer NOT NULL,
    active      bigint NOT NULL,
    exhausted   bigint NOT NULL,
    eliminated  bigint,
    elected     bigint,
    tied        bigint[] NOT NULL,
    -- The earlier round that broke the tie; 0: the lot.
    tie_round   integer,
    PRIMARY KEY (election_id, region_id, round)
);

CREATE TABLE election_round_votes (
    election_id  bigint NOT NULL,
    region_id    bigint NOT NULL,
    round        integer NOT NULL,
    candidate_id bigint NOT NULL,
    votes        bigint NOT NULL,
    -- From the candidate eliminated in this round.
    transferred  bigint NOT NULL,
    PRIMARY KEY (election_id, region_id, round, candidate_id)
);

-- Current votes; a ranking counts for its first candidate.
CREATE VIEW election_standings AS
SELECT e.id AS election_id,
       c.region_id,
       c.id AS candidate_id,
       coalesce(sum(r.votes), 0)::bigint AS votes,
       max(r.updated_at) AS updated_at
FROM elections AS e
JOIN candidates AS c ON c.election_id = e.id
LEFT JOIN contest_results AS r
       ON r.contest_id = e.contest_id AND split_part(r.choice, '>', 1) = c.id::text
GROUP BY e.id, c.region_id, c.id;

-- For readers of the election tables of the deployed services.
DO $$
BEGIN
    IF current_schema() <> 'public' THEN
        RETURN;
    END IF;
    CREATE SCHEMA IF NOT EXISTS reader_elections;

    CREATE OR REPLACE VIEW reader_elections.election_results AS
    SELECT election_id,
           region_id,
           candidate_id,
           votes,
           CASE WHEN sum(votes) OVER seat > 0
                THEN round(100.0 * votes / sum(votes) OVER seat, 2) ELSE 0 END AS percentage,
           updated_at
    FROM election_standings
    WINDOW seat AS (PARTITION BY election_id, region_id);

    CREATE OR REPLACE VIEW reader_elections.election_votes AS
    SELECT a.id,
           a.voter_hash AS vote_hash,
           e.id AS election_id,
           coalesce(c.region_id::text, a.metadata ->> 'region_id') AS region_id,
           a.candidate_id,
           e.voting_method,
           string_to_array(a.choice, '>') AS ranked_choices,
           a.vote_timestamp,
           a.processed_timestamp AS processed_at
    FROM vote_audit AS a
    JOIN elections AS e ON e.contest_id = a.contest
    LEFT JOIN candidates AS c ON c.id = a.candidate_id;
END $$;
