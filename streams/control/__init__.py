"""Commands to the count, written into the log as control records."""
