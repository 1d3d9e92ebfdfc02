-- A flush asks all stretches that may have some of its votes by one statement, and each for votes of one
-- kind only, in its own table. To plan the same on `counted_votes` for each stretch, and to read about
-- the tables of the other kind, cost five times as much. Workers of the version before ask the other
-- `counted_in`, for one stretch.

-- Which of some hashes these stretches have; a stretch, whether it is a law's, and a hash at each place.
-- With indexes, whatever the planner thinks of them, and with the owner's rights: the tables of a
-- stretch grant nothing.
CREATE OR REPLACE FUNCTION counted_in(stretches smallint[], laws boolean[], hashes text[]) RETURNS SETOF text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET enable_seqscan = off AS $$
DECLARE
    one record;
BEGIN
    FOR one IN
        SELECT CASE WHEN a.law THEN 'counted_law_votes_' ELSE 'counted_contest_votes_' END || s.number AS votes,
            array_agg(a.hash) AS hashes
        FROM unnest(stretches, laws, hashes) AS a (stretch, law, hash)
            JOIN vote_stretches AS s ON s.number = a.stretch
        GROUP BY a.law, s.number
    LOOP
        RETURN QUERY EXECUTE format(
            'SELECT coalesce(vote_text, encode(vote_key, ''hex'')) FROM %I
            WHERE coalesce(vote_text, encode(vote_key, ''hex'')) = ANY ($1)', one.votes
        ) USING one.hashes;
    END LOOP;
END
$$;

DO $$
DECLARE
    granted record;
BEGIN
    -- Nobody's search path or temporary table may stand in.
    EXECUTE format('ALTER FUNCTION counted_in(smallint[], boolean[], text[]) SET search_path = %I, pg_temp',
        current_schema());
    REVOKE EXECUTE ON FUNCTION counted_in(smallint[], boolean[], text[]) FROM PUBLIC;
    FOR granted IN
        SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS role
        FROM pg_class AS c CROSS JOIN aclexplode(c.relacl) AS a
        WHERE c.oid = 'counted_votes'::regclass AND a.grantee <> c.relowner AND a.privilege_type = 'INSERT'
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION counted_in(smallint[], boolean[], text[]) TO %s', granted.role);
    END LOOP;
END $$;
