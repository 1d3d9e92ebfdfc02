-- Group roles with least rights. The owner of the tables applies them with `scrutin roles` and needs
-- CREATEROLE the first time. Run it after every migration; it may be run at any time.
-- Grant them to your own users: CREATE USER worker PASSWORD '...' IN ROLE scrutin_sink.
DO $$
DECLARE
    role_name text;
    schema_name text;
    counted text;
BEGIN
    -- Counted votes stand in tables for each stretch.
    SELECT string_agg(relid::regclass::text, ', ') INTO counted FROM pg_partition_tree('public.counted_votes');

    FOREACH role_name IN ARRAY ARRAY['scrutin_sink', 'scrutin_operator', 'scrutin_reader'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
        END IF;
        -- What an earlier version granted.
        EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA public FROM %I', role_name);
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), role_name);
        EXECUTE format('GRANT USAGE ON SCHEMA public TO %I', role_name);
        EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA public TO %I', role_name);
    END LOOP;

    EXECUTE 'REVOKE CREATE ON SCHEMA public FROM PUBLIC';

    -- Compiling a plan for many stretches takes longer than to run it. Members of a group do not inherit
    -- its settings, so this is one of the database, unless its owner has chosen.
    IF EXISTS (
        SELECT FROM pg_database AS d WHERE datname = current_database() AND pg_has_role(datdba, 'USAGE')
            AND NOT EXISTS (
                SELECT FROM pg_db_role_setting AS s
                WHERE s.setdatabase = d.oid AND s.setrole = 0 AND s.setconfig::text ~ '\mjit='
            )
    ) THEN
        EXECUTE format('ALTER DATABASE %I SET jit = off', current_database());
    END IF;

    -- What an earlier version granted: an operator could do what a worker can.
    IF pg_has_role('scrutin_operator', 'scrutin_sink', 'MEMBER') THEN
        EXECUTE 'REVOKE scrutin_sink FROM scrutin_operator';
    END IF;

    -- Workers, bridges and gateways.
    EXECUTE 'GRANT INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO scrutin_sink';
    EXECUTE 'GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO scrutin_sink';
    -- Rows of counted and rejected votes are added and never changed.
    -- Where the last vote of a voter counts, the function moves the one before.
    EXECUTE 'GRANT EXECUTE ON FUNCTION take_back_votes(text[]) TO scrutin_sink';
    EXECUTE format('REVOKE UPDATE ON vote_audit, %s, vote_filters, rejected_votes, proof_leaves, proof_nodes
        FROM scrutin_sink', counted);
    EXECUTE 'REVOKE INSERT, UPDATE ON vote_stretches FROM scrutin_sink';
    EXECUTE 'GRANT EXECUTE ON FUNCTION open_next_stretch(smallint, bigint) TO scrutin_sink';
    EXECUTE 'GRANT EXECUTE ON FUNCTION sum_up_stretch(smallint) TO scrutin_sink';
    EXECUTE 'GRANT EXECUTE ON FUNCTION counted_in(smallint[], boolean[], text[]) TO scrutin_sink';
    IF to_regclass('public.vote_audit_text') IS NOT NULL THEN
        EXECUTE 'REVOKE INSERT, UPDATE ON vote_audit_text FROM scrutin_sink';
    END IF;
    EXECUTE 'REVOKE INSERT, UPDATE ON rejected_counts FROM scrutin_sink';
    EXECUTE 'REVOKE INSERT, UPDATE ON proof_starts, proof_checkpoints, proof_cosignatures
        FROM scrutin_sink';
    EXECUTE 'REVOKE INSERT, UPDATE ON schema_migrations, operator_actions FROM scrutin_sink';
    -- So are commands; only whether they are in the log changes.
    EXECUTE 'REVOKE UPDATE ON control_commands FROM scrutin_sink';
    EXECUTE 'GRANT UPDATE (written_at) ON control_commands TO scrutin_sink';
    -- Nothing that a guardian checks before it decrypts changes once it is there.
    EXECUTE 'REVOKE UPDATE ON tally_elections, guardian_backups, encrypted_ballots, ballot_votes,
        submitted_ballots, election_center, decryptions, compensated_decryptions, election_results
        FROM scrutin_sink';
    EXECUTE 'GRANT UPDATE (ballots_head) ON tally_elections TO scrutin_sink';
    EXECUTE 'GRANT UPDATE (unit, election_result) ON election_center TO scrutin_sink';
    -- A poll that is still a draft may be edited.
    EXECUTE 'GRANT DELETE ON poll_options TO scrutin_sink';

    EXECUTE 'REVOKE INSERT, UPDATE ON political_parties, regions, elections, candidates,
        election_maps, election_counts, election_rounds, election_round_votes FROM scrutin_sink';

    -- People who run elections: contests, rolls, descriptions of elections and their counts, and
    -- encrypted tallies. Their commands add no vote and change no total.
    EXECUTE 'GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO scrutin_operator';
    EXECUTE 'GRANT INSERT, UPDATE ON contests, roll_loads, political_parties, regions, elections
        TO scrutin_operator';
    EXECUTE 'GRANT INSERT, UPDATE (written_at) ON control_commands TO scrutin_operator';
    EXECUTE 'GRANT INSERT, DELETE ON webhooks TO scrutin_operator';
    EXECUTE 'GRANT INSERT, UPDATE ON webhook_deliveries TO scrutin_operator';
    -- An address may hold a password of the receiver.
    EXECUTE 'REVOKE SELECT ON webhooks FROM scrutin_reader';
    EXECUTE 'REVOKE INSERT, UPDATE ON webhooks FROM scrutin_sink';
    -- Signed checkpoints are added and never changed.
    EXECUTE 'GRANT INSERT ON proof_checkpoints, proof_cosignatures TO scrutin_operator';
    -- So are the actions of operators.
    EXECUTE 'GRANT INSERT ON operator_actions TO scrutin_operator';
    EXECUTE 'GRANT INSERT, UPDATE, DELETE ON election_maps TO scrutin_operator';
    EXECUTE 'GRANT INSERT, DELETE ON candidates, election_counts, election_rounds,
        election_round_votes TO scrutin_operator';
    EXECUTE 'GRANT INSERT ON tally_elections, guardian_backups, encrypted_ballots, ballot_votes,
        decryptions, compensated_decryptions TO scrutin_operator';
    EXECUTE 'GRANT INSERT, UPDATE ON election_jobs, sealed_secrets TO scrutin_operator';
    -- Rebuilt topics have other offsets.
    EXECUTE 'GRANT UPDATE (validated_offset, updated_at) ON sink_offsets TO scrutin_operator';

    -- People read counted votes in the view, which an election with hidden counts takes from them.
    EXECUTE format('REVOKE SELECT ON %s, vote_filters FROM scrutin_operator, scrutin_reader', counted);

    -- Only workers read guardians' sealed secrets and backups. A command that stores a secret must
    -- find the one that it replaces.
    EXECUTE 'REVOKE SELECT ON sealed_secrets, guardian_backups FROM scrutin_operator, scrutin_reader';
    EXECUTE 'GRANT SELECT (election_id, guardian_id) ON sealed_secrets TO scrutin_operator';

    -- Dashboards, reports, people.
    FOR schema_name IN SELECT nspname FROM pg_namespace WHERE nspname LIKE 'reader\_%' LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO scrutin_reader', schema_name);
        EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO scrutin_reader', schema_name);
    END LOOP;

    IF EXISTS (SELECT FROM public.hidden_contests) THEN
        PERFORM public.hide_counts_from_readers();
    END IF;
END
$$;
