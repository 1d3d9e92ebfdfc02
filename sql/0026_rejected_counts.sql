-- How many messages for a contest do not count, kept as they are rejected: every reading of a result
-- says it. By partition, so that workers do not wait for each other.
CREATE TABLE rejected_counts (
    contest   text NOT NULL,
    status    varchar(20) NOT NULL,
    partition integer NOT NULL,
    messages  bigint NOT NULL,
    PRIMARY KEY (contest, status, partition)
);

-- `scrutin fresh` moves the tables away, with their triggers, and leaves the function. It has the rights
-- of the owner, so that workers that run while this is applied need no new ones.
CREATE OR REPLACE FUNCTION count_rejected() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        EXECUTE format('DELETE FROM %I.rejected_counts', TG_TABLE_SCHEMA);
    ELSE
        EXECUTE format(
            'INSERT INTO %I.rejected_counts AS c (contest, status, partition, messages)
            SELECT contest, status, source_partition, count(*) * $1 FROM changed
            WHERE contest IS NOT NULL GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
            ON CONFLICT (contest, status, partition)
                DO UPDATE SET messages = c.messages + excluded.messages',
            TG_TABLE_SCHEMA
        ) USING CASE TG_OP WHEN 'INSERT' THEN 1 ELSE -1 END;
    END IF;
    RETURN NULL;
END
$$;
REVOKE EXECUTE ON FUNCTION count_rejected() FROM PUBLIC;
CREATE TRIGGER count_rejected AFTER INSERT ON rejected_votes REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION count_rejected();
CREATE TRIGGER count_removed AFTER DELETE ON rejected_votes REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION count_rejected();
CREATE TRIGGER count_emptied AFTER TRUNCATE ON rejected_votes
    FOR EACH STATEMENT EXECUTE FUNCTION count_rejected();

INSERT INTO rejected_counts (contest, status, partition, messages)
SELECT contest, status, source_partition, count(*) FROM rejected_votes
WHERE contest IS NOT NULL GROUP BY 1, 2, 3;
