"""Hostile clients beside honest ones: what the honest ones see of them."""
