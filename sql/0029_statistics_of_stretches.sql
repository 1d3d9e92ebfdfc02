-- The worker has the planner know a stretch whenever it has doubled, of a small sample (sum_up_stretch).
-- Autovacuum did it again for each tenth, of ten times the sample: half a second of a core, in which
-- votes waited. It still vacuums.

-- Tables of a stretch. They are attached, not created as partitions, so that writers go on.
CREATE OR REPLACE FUNCTION make_stretch(number smallint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    kind record;
BEGIN
    FOR kind IN SELECT * FROM (VALUES ('counted_law_votes', ''), ('counted_contest_votes', 'NOT ')) AS k (name, no)
    LOOP
        EXECUTE format(
            'CREATE TABLE %1$I (
                LIKE %2$I INCLUDING DEFAULTS INCLUDING CONSTRAINTS,
                PRIMARY KEY (id),
                CONSTRAINT %3$I EXCLUDE USING hash ((coalesce(vote_text, encode(vote_key, ''hex''))) WITH =)
            ) WITH (autovacuum_analyze_threshold = 2147483647)',
            kind.name || '_' || number, kind.name, kind.name || '_' || number || '_vote_hash_key'
        );
        EXECUTE format(
            'ALTER TABLE %I ATTACH PARTITION %I FOR VALUES IN (%s)', kind.name, kind.name || '_' || number, number
        );
    END LOOP;
END
$$;

DO $$
DECLARE
    one text;
BEGIN
    -- Nobody's search path or temporary table may stand in.
    EXECUTE format('ALTER FUNCTION make_stretch(smallint) SET search_path = %I, pg_temp', current_schema());
    FOR one IN SELECT relid::regclass::text FROM pg_partition_tree('counted_votes') WHERE isleaf LOOP
        EXECUTE format('ALTER TABLE %s SET (autovacuum_analyze_threshold = 2147483647)', one);
    END LOOP;
END $$;
