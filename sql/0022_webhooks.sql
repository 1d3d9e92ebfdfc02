-- Changes of contests for feeds and webhooks, and the log of what webhooks were sent.

-- When voting began. A reset makes a draft of the contest again, which then opens once more.
ALTER TABLE contests ADD COLUMN opened_at timestamptz;
UPDATE contests SET opened_at = coalesce(opens_at, updated_at) WHERE state <> 'draft';

CREATE OR REPLACE FUNCTION contest_opened() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.opened_at := CASE WHEN NEW.state <> 'draft' THEN coalesce(NEW.opened_at, now()) END;
    RETURN NEW;
END
$$;
-- Named so that it runs after contest_goes_forward.
CREATE TRIGGER contest_opened BEFORE INSERT OR UPDATE ON contests
    FOR EACH ROW EXECUTE FUNCTION contest_opened();

-- What readers are told once: `key` tells a change from another of the same kind. A correction is a
-- fact that an election learns after its result was final; only the latest is here.
CREATE VIEW contest_changes AS
SELECT contest_id, 'opened' AS event, opened_at AS at,
    (extract(epoch FROM opened_at) * 1000000)::bigint::text AS key
FROM contests WHERE opened_at IS NOT NULL AND state <> 'archived'
UNION ALL
SELECT f.contest_id, 'closed', f.closed_at, encode(f.command_id, 'hex')
FROM contest_finals AS f JOIN contests AS c USING (contest_id) WHERE c.state <> 'archived'
UNION ALL
SELECT f.contest_id, 'final', f.passed_at, encode(f.command_id, 'hex')
FROM contest_finals AS f JOIN contests AS c USING (contest_id)
WHERE f.final AND c.state <> 'archived'
UNION ALL
SELECT f.contest_id, 'corrected', k.issued_at, encode(c.command_id, 'hex')
FROM contest_finals AS f JOIN contests AS c USING (contest_id)
JOIN control_commands AS k ON k.command_id = c.command_id
WHERE f.final AND c.state = 'closed' AND c.number > f.number;

CREATE TABLE webhooks (
    webhook_id text PRIMARY KEY,
    url        text NOT NULL,
    -- Null: all contests.
    contest_id text,
    events     text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE webhook_deliveries (
    delivery_id  text PRIMARY KEY,
    webhook_id   text NOT NULL REFERENCES webhooks ON DELETE CASCADE,
    contest_id   text NOT NULL,
    event        text NOT NULL,
    key          text NOT NULL,
    at           timestamptz NOT NULL,
    -- `before`: the change is older than the webhook, which is not sent it.
    state        text NOT NULL CHECK (state IN ('before', 'pending', 'delivered', 'failed')),
    attempts     integer NOT NULL DEFAULT 0,
    next_at      timestamptz NOT NULL DEFAULT now(),
    -- As it was read for the first attempt; every attempt sends the same.
    body         bytea,
    answer       text,
    delivered_at timestamptz,
    UNIQUE (webhook_id, contest_id, event, key)
);
CREATE INDEX idx_webhook_deliveries_due ON webhook_deliveries (next_at) WHERE state = 'pending';
