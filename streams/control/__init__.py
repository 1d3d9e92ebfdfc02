"""Commands to the count, written to the log as control records."""
