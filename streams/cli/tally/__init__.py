"""`scrutin tally`: encrypted tallies."""
