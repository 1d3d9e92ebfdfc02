"""Inspect a running deployment without side effects: no consumer group, commits or writes."""
