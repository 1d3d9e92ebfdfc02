-- Earlier versions kept the first 4,096 bytes of a malformed body as they came, with `nas` and `code`
-- if they were in it. Digest and length stay. `scrutin rebuild postgres` fills the heads again from
-- the log, without both.
UPDATE rejected_votes SET body_head = ''::bytea WHERE length(body_head) > 0;
