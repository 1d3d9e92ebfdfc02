-- Contests only go forward, as in the log, and only a log that began as a rehearsal may be reset.

-- Whether the partition's log begins as a rehearsal. Its epochs count nowhere else.
ALTER TABLE sink_offsets ADD COLUMN rehearsal boolean NOT NULL DEFAULT false;

-- The contests that a command closed, by its record in the log. Workers write it.
CREATE TABLE contest_closings (
    command_id bytea NOT NULL,
    contest_id text NOT NULL,
    PRIMARY KEY (command_id, contest_id)
);
INSERT INTO contest_closings (command_id, contest_id)
SELECT closed_by, contest_id FROM contests WHERE closed_by IS NOT NULL;

-- The same rule as streams/core/contests.py:may_become, so that no UPDATE takes a contest back. A
-- reset makes drafts of contests; it lies between the numbers of both commands. A worker that meets
-- a forged record of the log skips the row instead of stopping.
-- `scrutin fresh` moves the tables away, with their triggers, and leaves the function.
CREATE OR REPLACE FUNCTION contest_goes_forward() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    states CONSTANT text[] := ARRAY['draft', 'open', 'closed', 'archived'];
    was_reset boolean;
BEGIN
    IF array_position(states, NEW.state) >= array_position(states, OLD.state)
        AND NEW.contest_id = OLD.contest_id
        AND NEW.number >= OLD.number
        AND (OLD.closed_by IS NULL OR NEW.closed_by IS NOT DISTINCT FROM OLD.closed_by)
        AND (
            OLD.state = 'draft'
            OR (NEW.kind, NEW.choices, NEW.roll, NEW.opens_at, NEW.method, NEW.regions)
                IS NOT DISTINCT FROM
                (OLD.kind, OLD.choices, OLD.roll, OLD.opens_at, OLD.method, OLD.regions)
        )
        AND (
            OLD.state IN ('draft', 'open')
            OR (NEW.title, NEW.closes_at) IS NOT DISTINCT FROM (OLD.title, OLD.closes_at)
        )
    THEN
        RETURN NEW;
    END IF;
    -- By the trigger's own schema: a temporary table must not stand in for one of these.
    EXECUTE format(
        'SELECT EXISTS (SELECT 1 FROM %1$I.sink_offsets WHERE rehearsal AND epoch > 0)
            AND EXISTS (SELECT 1 FROM %1$I.control_commands
                WHERE kind = ''epoch'' AND number > $1 AND number < $2)',
        TG_TABLE_SCHEMA
    ) INTO was_reset USING OLD.number, NEW.number;
    IF was_reset THEN
        RETURN NEW;
    END IF;
    IF current_setting('scrutin.skip_backward', true) = 'on' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'contest % is %: it only goes forward', OLD.contest_id, OLD.state
        USING ERRCODE = 'check_violation',
            HINT = 'While it is open its title and closing time may change, and nothing once it is over.';
END
$$;
CREATE TRIGGER contest_goes_forward BEFORE UPDATE ON contests
    FOR EACH ROW EXECUTE FUNCTION contest_goes_forward();

-- As before, but a proof is shown only for a contest that its command closed, and all partitions of
-- the log must have passed the command, whatever its row says.
CREATE OR REPLACE VIEW contest_finals AS
SELECT c.contest_id,
       k.command_id,
       k.number,
       k.issued_at AS closed_at,
       greatest(k.partitions, (SELECT count(*) FROM sink_offsets)::integer) AS partitions,
       k.enforced OR c.kind = 'poll' AS enforced,
       count(p.partition)::integer AS passed,
       (k.enforced OR c.kind = 'poll')
           AND count(p.partition)
               >= greatest(k.partitions, (SELECT count(*) FROM sink_offsets)) AS final,
       max(p.passed_at) AS passed_at,
       coalesce(
           jsonb_agg(
               jsonb_build_object(
                   'partition', p.partition,
                   'log_id', encode(p.log_id, 'hex'),
                   'offset', p.source_offset
               ) ORDER BY p.partition
           ) FILTER (WHERE p.partition IS NOT NULL),
           '[]'::jsonb
       ) AS vector
FROM contests AS c
JOIN control_commands AS k ON k.command_id = c.closed_by
LEFT JOIN contest_closings AS x ON x.command_id = k.command_id AND x.contest_id = c.contest_id
LEFT JOIN control_progress AS p
       ON p.command_id = k.command_id AND x.contest_id IS NOT NULL
WHERE c.state IN ('closed', 'archived')
GROUP BY c.contest_id, k.command_id;
