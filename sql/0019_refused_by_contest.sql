-- Results say how many messages for their contest do not count.

-- concurrently
CREATE INDEX IF NOT EXISTS rejected_votes_by_contest ON rejected_votes (contest, status);
