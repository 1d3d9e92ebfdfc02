-- Counted votes stand in stretches of a million, each with indexes of its own, so that a vote costs the
-- same whatever was counted before: only the last stretch is written. Workers ask filters in their
-- memory which of the others may hold a vote, and look there in the transaction that counts it.

CREATE TABLE vote_stretches (
    number   smallint PRIMARY KEY,
    first_id bigint NOT NULL
);

-- Bits of the votes of a stretch that is no longer written; streams/core/vote_filters.py reads them.
CREATE TABLE vote_filters (
    stretch smallint NOT NULL,
    part    smallint NOT NULL,
    last_id bigint NOT NULL,
    final   boolean NOT NULL,
    bits    bytea NOT NULL,
    PRIMARY KEY (stretch, part)
);
-- They cannot be compressed.
ALTER TABLE vote_filters ALTER COLUMN bits SET STORAGE EXTERNAL;

-- The stretch that is written until this transaction ends. The next one is opened when no transaction
-- writes any more, so votes of the others are there to be seen.
CREATE OR REPLACE FUNCTION open_stretch() RETURNS smallint LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(1546088790, 'vote_stretches'::regclass::oid::integer);
    RETURN (SELECT max(number) FROM vote_stretches);
END
$$;

-- The same, and what a worker must know of the others: where the oldest begins, which is another
-- number after they were replaced, and how many have filters. Votes are those of the open one.
CREATE OR REPLACE FUNCTION stretch_state(
    OUT open_stretch smallint, OUT first_stretch smallint, OUT begun bigint, OUT filtered bigint,
    OUT stretch_votes bigint
) LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    open_stretch := open_stretch();
    SELECT min(number), min(first_id), (SELECT count(*) FROM vote_filters WHERE final),
        (SELECT last_value FROM counted_votes_id_seq) - max(first_id) + 1
    INTO first_stretch, begun, filtered, stretch_votes FROM vote_stretches;
END
$$;

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
            )',
            kind.name || '_' || number, kind.name, kind.name || '_' || number || '_vote_hash_key'
        );
        EXECUTE format(
            'ALTER TABLE %I ATTACH PARTITION %I FOR VALUES IN (%s)', kind.name, kind.name || '_' || number, number
        );
    END LOOP;
END
$$;

-- Opens the next stretch if one has its votes; waits for writers, but not long.
CREATE OR REPLACE FUNCTION open_next_stretch(full_one smallint, votes bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET lock_timeout = '200ms' AS $$
BEGIN
    LOCK TABLE vote_stretches IN SHARE ROW EXCLUSIVE MODE;
    IF (SELECT max(number) FROM vote_stretches) <> full_one OR votes > (
        SELECT last_value FROM counted_votes_id_seq
    ) - (SELECT max(first_id) FROM vote_stretches) + 1 THEN
        RETURN false;
    END IF;
    PERFORM make_stretch((full_one + 1)::smallint);
    PERFORM pg_advisory_xact_lock(1546088790, 'vote_stretches'::regclass::oid::integer);
    INSERT INTO vote_stretches (number, first_id)
    SELECT full_one + 1, last_value + 1 FROM counted_votes_id_seq;
    RETURN true;
END
$$;

-- After all votes are gone: stretches before this number too.
CREATE OR REPLACE FUNCTION forget_stretches(kept smallint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    one smallint;
BEGIN
    FOR one IN SELECT number FROM vote_stretches WHERE number < kept LOOP
        EXECUTE format('DROP TABLE %I, %I', 'counted_law_votes_' || one, 'counted_contest_votes_' || one);
        DELETE FROM vote_stretches WHERE number = one;
    END LOOP;
    UPDATE vote_stretches SET first_id = (SELECT last_value + 1 FROM counted_votes_id_seq);
END
$$;

-- Which of some hashes a stretch has. With indexes, whatever the planner thinks of it.
CREATE OR REPLACE FUNCTION counted_in(one smallint, hashes text[]) RETURNS SETOF text
LANGUAGE plpgsql STABLE SET enable_seqscan = off AS $$
BEGIN
    RETURN QUERY SELECT coalesce(vote_text, encode(vote_key, 'hex')) FROM counted_votes
        WHERE stretch = one AND coalesce(vote_text, encode(vote_key, 'hex')) = ANY (hashes);
END
$$;

-- Nobody's search path or temporary table may stand in.
DO $$
DECLARE
    called text;
    granted record;
BEGIN
    FOREACH called IN ARRAY ARRAY['open_stretch()', 'stretch_state()', 'make_stretch(smallint)',
        'open_next_stretch(smallint, bigint)', 'forget_stretches(smallint)', 'counted_in(smallint, text[])']
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', called, current_schema());
    END LOOP;
    REVOKE EXECUTE ON FUNCTION open_next_stretch(smallint, bigint) FROM PUBLIC;
    FOR granted IN
        SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS role
        FROM pg_class AS c CROSS JOIN aclexplode(c.relacl) AS a
        WHERE c.oid = 'counted_votes'::regclass AND a.grantee <> c.relowner AND a.privilege_type = 'INSERT'
    LOOP
        EXECUTE format('GRANT SELECT, INSERT ON vote_filters TO %s', granted.role);
        EXECUTE format('GRANT SELECT ON vote_stretches TO %s', granted.role);
        EXECUTE format('GRANT EXECUTE ON FUNCTION open_next_stretch(smallint, bigint) TO %s', granted.role);
    END LOOP;
END $$;

-- Who writes through the view asks every stretch.
CREATE OR REPLACE FUNCTION refuse_counted_votes() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    found bigint;
BEGIN
    IF TG_OP = 'INSERT' OR NEW.vote_hash IS DISTINCT FROM OLD.vote_hash THEN
        EXECUTE format('SELECT %I.open_stretch()', TG_TABLE_SCHEMA);
        EXECUTE format('SELECT id FROM %I.vote_audit WHERE vote_hash = $1 LIMIT 1', TG_TABLE_SCHEMA)
        INTO found USING NEW.vote_hash;
        IF found IS NOT NULL THEN
            RAISE EXCEPTION 'vote % is counted already', found USING ERRCODE = 'unique_violation';
        END IF;
    END IF;
    RETURN NEW;
END
$$;
-- In the order of names, it is before `write_vote_audit`.
CREATE TRIGGER refuse_counted_votes INSTEAD OF INSERT OR UPDATE ON vote_audit
    FOR EACH ROW EXECUTE FUNCTION refuse_counted_votes();

-- The votes that are there are the first stretch. Their rows are read, not written.
LOCK TABLE vote_audit, counted_votes IN ACCESS EXCLUSIVE MODE;
INSERT INTO vote_stretches (number, first_id)
SELECT 0, coalesce((SELECT min(id) FROM counted_votes), (SELECT last_value FROM counted_votes_id_seq));
ALTER TABLE counted_votes DETACH PARTITION counted_law_votes;
ALTER TABLE counted_votes DETACH PARTITION counted_contest_votes;
ALTER TABLE counted_law_votes RENAME TO counted_law_votes_0;
ALTER TABLE counted_contest_votes RENAME TO counted_contest_votes_0;
ALTER INDEX idx_vote_audit_voter_hash RENAME TO counted_contest_votes_0_voter_hash_idx;
ALTER INDEX counted_law_votes_pkey RENAME TO counted_law_votes_0_pkey;
ALTER INDEX counted_law_votes_vote_hash_key RENAME TO counted_law_votes_0_vote_hash_key;
ALTER INDEX counted_contest_votes_pkey RENAME TO counted_contest_votes_0_pkey;
ALTER INDEX counted_contest_votes_vote_hash_key RENAME TO counted_contest_votes_0_vote_hash_key;
ALTER TABLE counted_votes ADD COLUMN stretch smallint NOT NULL DEFAULT 0;
ALTER TABLE counted_law_votes_0 ADD COLUMN stretch smallint NOT NULL DEFAULT 0;
ALTER TABLE counted_contest_votes_0 ADD COLUMN stretch smallint NOT NULL DEFAULT 0;
-- Workers of the version before do not name it.
ALTER TABLE counted_votes ALTER COLUMN stretch SET DEFAULT open_stretch();
CREATE TABLE counted_law_votes PARTITION OF counted_votes FOR VALUES IN (true) PARTITION BY LIST (stretch);
CREATE TABLE counted_contest_votes PARTITION OF counted_votes (
    CONSTRAINT counted_contest_votes_check CHECK (coalesce(voter_text, encode(voter_key, 'hex')) IS NOT NULL)
) FOR VALUES IN (false) PARTITION BY LIST (stretch);
ALTER TABLE counted_law_votes ATTACH PARTITION counted_law_votes_0 FOR VALUES IN (0);
ALTER TABLE counted_contest_votes ATTACH PARTITION counted_contest_votes_0 FOR VALUES IN (0);
CREATE INDEX idx_vote_audit_voter_hash ON counted_contest_votes
    USING hash ((coalesce(voter_text, encode(voter_key, 'hex'))));
SELECT define_vote_audit(to_regclass('vote_audit_text') IS NOT NULL);
