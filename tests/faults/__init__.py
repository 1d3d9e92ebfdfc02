"""Faults under a running count, and what they need."""
