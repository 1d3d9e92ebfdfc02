-- The index of the time knows the votes of a stretch by ranges of pages, and reads those that it does
-- not know. VACUUM leaves the last range, which is not whole; so a look-up by time would read it in
-- every stretch.

-- Has the index know all votes of a stretch, also of the one that is written, without waiting for
-- anybody. Returns whether it does; autovacuum may hold a table. Statistics of a table that has doubled
-- since the last ones are made of a small sample, because a flush waits for them.
CREATE OR REPLACE FUNCTION sum_up_stretch(one smallint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET default_statistics_target = 10 AS $$
DECLARE
    kind text;
    votes regclass;
    by_time regclass;
BEGIN
    FOREACH kind IN ARRAY ARRAY['counted_law_votes_', 'counted_contest_votes_'] LOOP
        EXECUTE format('LOCK TABLE %I IN SHARE UPDATE EXCLUSIVE MODE NOWAIT', kind || one);
        votes := to_regclass(kind || one);
        SELECT c.oid INTO by_time
        FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_am AS a ON a.oid = c.relam
        WHERE i.indrelid = votes AND a.amname = 'brin';
        PERFORM brin_summarize_new_values(by_time);
        -- Until it knows how times and pages go together, the planner reads all.
        IF pg_relation_size(votes) > 0 AND pg_stat_get_mod_since_analyze(votes) >= (
            SELECT greatest(reltuples, 0) FROM pg_class WHERE oid = votes
        ) THEN
            EXECUTE format('ANALYZE %I', kind || one);
        END IF;
    END LOOP;
    RETURN true;
EXCEPTION WHEN lock_not_available THEN
    RETURN false;
END
$$;

DO $$
DECLARE
    granted record;
BEGIN
    -- Nobody's search path or temporary table may stand in.
    EXECUTE format('ALTER FUNCTION sum_up_stretch(smallint) SET search_path = %I, pg_temp', current_schema());
    REVOKE EXECUTE ON FUNCTION sum_up_stretch(smallint) FROM PUBLIC;
    FOR granted IN
        SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS role
        FROM pg_class AS c CROSS JOIN aclexplode(c.relacl) AS a
        WHERE c.oid = 'counted_votes'::regclass AND a.grantee <> c.relowner AND a.privilege_type = 'INSERT'
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION sum_up_stretch(smallint) TO %s', granted.role);
    END LOOP;
END $$;

-- Those that are there; a worker sums up what was left.
SELECT sum_up_stretch(number) FROM vote_stretches;
