"""Signed messages to other systems when a contest opens, closes, is final or is corrected."""
