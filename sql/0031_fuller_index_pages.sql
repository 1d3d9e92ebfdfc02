-- Indexes of a stretch have fuller pages. Ids arrive in order, so their pages can be full. A hash index
-- takes pages in steps; 83 % full it has a million votes, and 3 % more, before the step from 3,072 pages to
-- 3,584, and as many votes again need fewer pages that overflow.

CREATE OR REPLACE FUNCTION make_stretch(number smallint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    kind record;
BEGIN
    FOR kind IN SELECT * FROM (VALUES ('counted_law_votes', ''), ('counted_contest_votes', 'NOT ')) AS k (name, no)
    LOOP
        EXECUTE format(
            'CREATE TABLE %1$I (
                LIKE %2$I INCLUDING DEFAULTS INCLUDING CONSTRAINTS,
                PRIMARY KEY (id) WITH (fillfactor = 100),
                CONSTRAINT %3$I EXCLUDE USING hash ((coalesce(vote_text, encode(vote_key, ''hex''))) WITH =)
                    WITH (fillfactor = 83)
            ) WITH (autovacuum_analyze_threshold = 2147483647)',
            kind.name || '_' || number, kind.name, kind.name || '_' || number || '_vote_hash_key'
        );
        IF kind.no <> '' THEN
            EXECUTE format(
                'CREATE INDEX ON %I USING hash ((coalesce(voter_text, encode(voter_key, ''hex''))))
                WITH (fillfactor = 83)', kind.name || '_' || number
            );
        END IF;
        EXECUTE format(
            'ALTER TABLE %I ATTACH PARTITION %I FOR VALUES IN (%s)', kind.name, kind.name || '_' || number, number
        );
    END LOOP;
END
$$;

DO $$
DECLARE
    one record;
BEGIN
    -- Nobody's search path or temporary table may stand in.
    EXECUTE format('ALTER FUNCTION make_stretch(smallint) SET search_path = %I, pg_temp', current_schema());
    -- Of a database without votes; a hash index with votes would have to be built again.
    FOR one IN
        SELECT i.indexrelid::regclass::text AS name, i.indisprimary AS ids
        FROM pg_partition_tree('counted_votes') AS t
            JOIN pg_index AS i ON i.indrelid = t.relid
            JOIN pg_class AS c ON c.oid = i.indexrelid
            JOIN pg_am AS m ON m.oid = c.relam
        WHERE t.isleaf AND pg_relation_size(t.relid) = 0 AND (i.indisprimary OR m.amname = 'hash')
    LOOP
        EXECUTE format('ALTER INDEX %s SET (fillfactor = %s)', one.name, CASE WHEN one.ids THEN 100 ELSE 83 END);
        IF NOT one.ids THEN
            EXECUTE format('REINDEX INDEX %s', one.name);
        END IF;
    END LOOP;
END $$;
