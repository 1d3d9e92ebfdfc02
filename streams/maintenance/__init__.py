"""Everything from the log again: topics derived from it, the database, and the log itself.

Every rebuild is the fold that the stages are, with the same decisions, rows and transactions. It
looks first, changes what differs, and looks again; a second run goes on where a first one ended.
"""
