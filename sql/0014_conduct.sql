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

CREATE INDEX idx_contests_hidden ON contests (contest_id) WHERE (conduct ->> 'hidden')::boolean;

-- Views for readers run with the rights of their owner, and a table with row security takes no COPY.
-- So readers lose all relations with choices when a hidden election is announced. `scrutin roles --apply`
-- grants them again once no election is hidden.
CREATE OR REPLACE FUNCTION hide_counts_from_readers() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    relation regclass;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'scrutin_reader') THEN
        RETURN;
    END IF;
    FOR relation IN
        SELECT DISTINCT c.oid
        FROM pg_class AS c
        JOIN pg_namespace AS n ON n.oid = c.relnamespace
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND NOT a.attisdropped
        WHERE (n.nspname = 'public' OR n.nspname LIKE 'reader\_%')
            AND c.relkind IN ('r', 'v')
            AND a.attname IN
                ('choice', 'candidate_id', 'vote', 'votes', 'ranked_choices', 'elected')
            AND has_table_privilege('scrutin_reader', c.oid, 'SELECT')
    LOOP
        EXECUTE format('REVOKE SELECT ON %s FROM scrutin_reader', relation);
    END LOOP;
END
$$;
REVOKE EXECUTE ON FUNCTION hide_counts_from_readers() FROM PUBLIC;

CREATE OR REPLACE FUNCTION hidden_contest_announced() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    EXECUTE format('SELECT %I.hide_counts_from_readers()', TG_TABLE_SCHEMA);
    RETURN NULL;
END
$$;
CREATE TRIGGER hidden_contest_announced AFTER INSERT OR UPDATE ON contests FOR EACH ROW
    WHEN ((NEW.conduct ->> 'hidden')::boolean AND NEW.state IN ('draft', 'open'))
    EXECUTE FUNCTION hidden_contest_announced();

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

-- Why somebody is elected in a count, or nobody; and between whom officials must draw a lot.
ALTER TABLE election_counts ADD COLUMN outcome text NOT NULL DEFAULT '';
ALTER TABLE election_counts ADD COLUMN lot_between bigint[] NOT NULL DEFAULT '{}';
