-- Rules for ranked ballots, which travel as they were marked.

ALTER TABLE contests ADD COLUMN rules jsonb;

-- Several candidates can be eliminated in one round; ballots that count for nobody have reasons.
ALTER TABLE election_counts ADD COLUMN blank bigint NOT NULL DEFAULT 0;
ALTER TABLE election_rounds ADD COLUMN eliminations bigint[] NOT NULL DEFAULT '{}';
UPDATE election_rounds SET eliminations = ARRAY[eliminated] WHERE eliminated IS NOT NULL;
ALTER TABLE election_rounds DROP COLUMN eliminated;
ALTER TABLE election_rounds ADD COLUMN eliminated bigint
    GENERATED ALWAYS AS (CASE cardinality(eliminations) WHEN 1 THEN eliminations[1] END) STORED;
ALTER TABLE election_rounds ADD COLUMN inactive jsonb NOT NULL DEFAULT '{}';

-- As before; rules do not change in an open contest either.
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
            OR (NEW.kind, NEW.choices, NEW.roll, NEW.opens_at, NEW.method, NEW.regions,
                NEW.rules)
                IS NOT DISTINCT FROM
                (OLD.kind, OLD.choices, OLD.roll, OLD.opens_at, OLD.method, OLD.regions,
                OLD.rules)
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

-- A rank without a mark before the first candidate does not hide that candidate.
CREATE OR REPLACE VIEW election_standings AS
SELECT e.id AS election_id,
       c.region_id,
       c.id AS candidate_id,
       coalesce(sum(r.votes), 0)::bigint AS votes,
       max(r.updated_at) AS updated_at
FROM elections AS e
JOIN candidates AS c ON c.election_id = e.id
LEFT JOIN contest_results AS r
       ON r.contest_id = e.contest_id
       AND split_part(ltrim(r.choice, '>'), '>', 1) = c.id::text
GROUP BY e.id, c.region_id, c.id;
