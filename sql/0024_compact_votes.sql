-- A counted vote in half the bytes: hashes in binary, and no column that repeats another. Readers and
-- outside writers use the view `vote_audit`, which has the columns that the table had.

-- First, so that no vacuum holds it when the rest is done.
LOCK TABLE vote_audit IN ACCESS EXCLUSIVE MODE;
ALTER INDEX IF EXISTS idx_vote_audit_voter_hash RENAME TO idx_vote_audit_text_voter_hash;
ALTER INDEX IF EXISTS idx_vote_audit_timestamp RENAME TO idx_vote_audit_text_timestamp;

CREATE SEQUENCE counted_votes_id_seq;

-- What is not there takes no room: texts of hashes that are not 64 hexadecimal digits, and weights of 1.
CREATE TABLE counted_votes (
    id                  bigint NOT NULL DEFAULT nextval('counted_votes_id_seq'),
    "timestamp"         timestamptz NOT NULL,
    processed_timestamp timestamptz NOT NULL,
    created_at          timestamptz NOT NULL DEFAULT now(),
    source_offset       bigint NOT NULL,
    source_index        integer NOT NULL,
    source_partition    smallint NOT NULL,
    law                 boolean NOT NULL,
    vote_key            bytea,
    vote_text           text,
    voter_key           bytea,
    voter_text          text,
    law_id              text,
    contest             text NOT NULL,
    choice              text NOT NULL,
    candidate_id        bigint,
    citizen_id          text,
    metadata            jsonb,
    weight              bigint,
    CHECK (coalesce(vote_text, encode(vote_key, 'hex')) IS NOT NULL)
) PARTITION BY LIST (law);
ALTER SEQUENCE counted_votes_id_seq OWNED BY counted_votes.id;

-- Of a law, the voter's hash is that of the vote and the contest is the law: one index finds both.
CREATE TABLE counted_law_votes PARTITION OF counted_votes (
    PRIMARY KEY (id),
    CONSTRAINT counted_law_votes_vote_hash_key
        EXCLUDE USING hash ((coalesce(vote_text, encode(vote_key, 'hex'))) WITH =)
) FOR VALUES IN (true);
CREATE TABLE counted_contest_votes PARTITION OF counted_votes (
    PRIMARY KEY (id),
    CONSTRAINT counted_contest_votes_vote_hash_key
        EXCLUDE USING hash ((coalesce(vote_text, encode(vote_key, 'hex'))) WITH =),
    CHECK (coalesce(voter_text, encode(voter_key, 'hex')) IS NOT NULL)
) FOR VALUES IN (false);

CREATE INDEX idx_vote_audit_voter_hash ON counted_contest_votes
    USING hash ((coalesce(voter_text, encode(voter_key, 'hex'))));

-- Votes arrive nearly in the order of their time.
CREATE INDEX idx_vote_audit_timestamp ON counted_votes
    USING brin (("timestamp" AT TIME ZONE 'UTC')) WITH (pages_per_range = 64, autosummarize = on);

-- The view is one query for each table, without conditions and joins, so that a query on it uses the
-- indexes of each, also to sort by `id`.
CREATE OR REPLACE FUNCTION define_vote_audit(with_text boolean) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    vote CONSTANT text := 'coalesce(vote_text, encode(vote_key, ''hex''))';
    voter CONSTANT text := 'coalesce(voter_text, encode(voter_key, ''hex''))';
    compact CONSTANT text := 'SELECT id, %1$s AS vote_hash, %2$s AS voter_hash, citizen_id,
        %3$s AS law_id, contest, candidate_id, choice, "timestamp",
        "timestamp" AT TIME ZONE ''UTC'' AS vote_timestamp, ''accepted''::varchar(20) AS status,
        processed_timestamp, metadata, created_at, source_partition::integer AS source_partition,
        source_offset, source_index, coalesce(weight, 1) AS weight FROM %4$s';
BEGIN
    EXECUTE 'CREATE OR REPLACE VIEW vote_audit AS '
        || format(compact, vote, vote, 'contest', 'counted_law_votes')
        || ' UNION ALL ' || format(compact, vote, voter, 'law_id', 'counted_contest_votes')
        || CASE WHEN with_text THEN ' UNION ALL SELECT id, vote_hash, voter_hash, citizen_id, law_id,
            contest, candidate_id, choice, "timestamp", vote_timestamp, status, processed_timestamp,
            metadata, created_at, source_partition, source_offset, source_index, weight
            FROM vote_audit_text' ELSE '' END;
END
$$;
REVOKE EXECUTE ON FUNCTION define_vote_audit(boolean) FROM PUBLIC;

-- Workers of the version before copy into `vote_audit`, and the owner may change it.
CREATE OR REPLACE FUNCTION write_vote_audit() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    hexadecimal CONSTANT text := '^[0-9a-f]{64}$';
    gone bigint;
BEGIN
    IF TG_OP <> 'INSERT' THEN
        EXECUTE format('DELETE FROM %I.counted_votes WHERE id = $1', TG_TABLE_SCHEMA) USING OLD.id;
        GET DIAGNOSTICS gone = ROW_COUNT;
        IF gone = 0 AND to_regclass(format('%I.vote_audit_text', TG_TABLE_SCHEMA)) IS NOT NULL THEN
            EXECUTE format('DELETE FROM %I.vote_audit_text WHERE id = $1', TG_TABLE_SCHEMA)
                USING OLD.id;
            GET DIAGNOSTICS gone = ROW_COUNT;
        END IF;
        IF gone = 0 THEN
            RETURN NULL;
        ELSIF TG_OP = 'DELETE' THEN
            RETURN OLD;
        END IF;
    END IF;
    NEW.id := coalesce(NEW.id, nextval(format('%I.counted_votes_id_seq', TG_TABLE_SCHEMA)));
    NEW.vote_timestamp := NEW."timestamp" AT TIME ZONE 'UTC';
    NEW.status := 'accepted';
    NEW.created_at := coalesce(NEW.created_at, now());
    NEW.weight := coalesce(NEW.weight, 1);
    EXECUTE format(
        'INSERT INTO %I.counted_votes (id, "timestamp", processed_timestamp, created_at, source_offset,
            source_index, source_partition, law, vote_key, vote_text, voter_key, voter_text, law_id,
            contest, choice, candidate_id, citizen_id, metadata, weight)
        SELECT $1.id, $1."timestamp", $1.processed_timestamp, $1.created_at, $1.source_offset,
            $1.source_index, $1.source_partition, p.law,
            CASE WHEN $1.vote_hash ~ $2 THEN decode($1.vote_hash, ''hex'') END,
            CASE WHEN $1.vote_hash !~ $2 THEN $1.vote_hash END,
            CASE WHEN NOT p.law AND $1.voter_hash ~ $2 THEN decode($1.voter_hash, ''hex'') END,
            CASE WHEN NOT p.law AND $1.voter_hash !~ $2 THEN $1.voter_hash END,
            CASE WHEN NOT p.law THEN $1.law_id END,
            $1.contest, $1.choice, $1.candidate_id, $1.citizen_id, $1.metadata,
            nullif($1.weight, 1)
        FROM (SELECT coalesce($1.law_id = $1.contest AND $1.voter_hash = $1.vote_hash, false)) AS p (law)',
        TG_TABLE_SCHEMA
    ) USING NEW, hexadecimal;
    RETURN NEW;
END
$$;

-- While rows of the earlier table are being moved, no voter in them is counted a second time.
CREATE OR REPLACE FUNCTION refuse_votes_in_text() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    found bigint;
BEGIN
    EXECUTE format(
        'SELECT o.id FROM new_votes AS n JOIN %I.vote_audit_text AS o
            ON o.vote_hash = coalesce(n.vote_text, encode(n.vote_key, ''hex'')) LIMIT 1',
        TG_TABLE_SCHEMA
    ) INTO found;
    IF found IS NOT NULL THEN
        RAISE EXCEPTION 'vote % is counted already', found USING ERRCODE = 'unique_violation';
    END IF;
    RETURN NULL;
END
$$;

-- Rows of the earlier table stay where they are; `scrutin migrate` moves them while votes are counted.
DO $$
DECLARE
    counted boolean;
    dependents text[];
    statement text;
    granted record;
BEGIN
    SELECT EXISTS (SELECT FROM vote_audit) INTO counted;
    SELECT coalesce(array_agg(DISTINCT
        format('CREATE OR REPLACE VIEW %s AS %s', v.oid::regclass, pg_get_viewdef(v.oid))), '{}')
    INTO dependents
    FROM pg_depend AS d
    JOIN pg_rewrite AS r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
    JOIN pg_class AS v ON v.oid = r.ev_class
    WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = 'vote_audit'::regclass
        AND v.relkind = 'v';
    PERFORM setval('counted_votes_id_seq', coalesce((SELECT max(id) FROM vote_audit), 0) + 1, false);
    ALTER TABLE vote_audit RENAME TO vote_audit_text;
    PERFORM define_vote_audit(counted);
    FOREACH statement IN ARRAY dependents LOOP
        EXECUTE statement;
    END LOOP;

    FOR granted IN
        SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS role,
            a.privilege_type AS privilege
        FROM pg_class AS c CROSS JOIN aclexplode(c.relacl) AS a
        WHERE c.oid = 'vote_audit_text'::regclass AND a.grantee <> c.relowner
            AND a.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
    LOOP
        EXECUTE format('GRANT %s ON vote_audit TO %s', granted.privilege, granted.role);
        IF granted.privilege = 'INSERT' THEN
            EXECUTE format('GRANT SELECT, INSERT ON counted_votes TO %s', granted.role);
            EXECUTE format('GRANT USAGE ON SEQUENCE counted_votes_id_seq TO %s', granted.role);
        END IF;
    END LOOP;

    CREATE TRIGGER write_vote_audit INSTEAD OF INSERT OR UPDATE OR DELETE ON vote_audit
        FOR EACH ROW EXECUTE FUNCTION write_vote_audit();
    IF counted THEN
        CREATE TRIGGER refuse_votes_in_text AFTER INSERT ON counted_votes
            REFERENCING NEW TABLE AS new_votes
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_votes_in_text();
    ELSE
        DROP TABLE vote_audit_text;
    END IF;
END $$;
