-- Who did what: operators' actions at the console and on the command line. Rows are only added.
-- A request that waits for a second operator is a row; its outcome is a row that answers it.

CREATE TABLE operator_actions (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor      text NOT NULL,
    action     text NOT NULL,
    subject    text NOT NULL DEFAULT '',
    command_id bytea,
    answers    bigint UNIQUE REFERENCES operator_actions (id)
);
CREATE INDEX idx_operator_actions_subject ON operator_actions (subject, id);

CREATE OR REPLACE FUNCTION operator_actions_stay() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of operator_actions are only added' USING ERRCODE = 'check_violation';
END
$$;
CREATE TRIGGER operator_actions_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON operator_actions
    FOR EACH STATEMENT EXECUTE FUNCTION operator_actions_stay();
