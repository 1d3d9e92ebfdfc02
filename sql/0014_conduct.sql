-- How elections are held: settings that are fixed by the opening, and facts that become known later.

ALTER TABLE contests ADD COLUMN conduct jsonb;

-- Elections whose counts nobody sees yet. A contest that is not enforced is never final, so its
-- closing ends it.
CREATE VIEW hidden_contests AS
SELECT c.contest_id
FROM contests AS c
WHERE (c.conduct ->> 'hidden')::boolean
    AND NOT (
        c.state IN ('closed', 'archived')
        AND EXISTS (
            SELECT 1 FROM contest_finals AS f
            WHERE f.contest_id = c.contest_id AND (f.final OR NOT f.enforced)
        )
    );

-- As before; settings do not change in an open contest, and no fact about it changes.
CREATE OR REPLACE FUNCTION contest_goes_forward() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    states CONSTANT text[] := ARRAY['draft', 'open', 'closed', 'archived'];
    facts CONSTANT text[] := ARRAY['eligible', 'seed_commitment', 'seed', 'withdrawn', 'lots'];
    was_reset boolean;
BEGIN
    IF array_position(states, NEW.state) >= array_position(states, OLD.state)
        AND NEW.contest_id = OLD.contest_id
        AND NEW.number >= OLD.number
        AND (OLD.closed_by IS NULL OR NEW.closed_by IS NOT DISTINCT FROM OLD.closed_by)
        AND (
            OLD.state = 'draft'
            OR (NEW.kind, NEW.choices, NEW.roll, NEW.opens_at, NEW.method, NEW.regions,
                NEW.rules, coalesce(NEW.conduct, '{}') - facts)
                IS NOT DISTINCT FROM
                (OLD.kind, OLD.choices, OLD.roll, OLD.opens_at, OLD.method, OLD.regions,
                OLD.rules, coalesce(OLD.conduct, '{}') - facts)
                AND coalesce(NEW.conduct, '{}') @> coalesce(OLD.conduct, '{}')
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
