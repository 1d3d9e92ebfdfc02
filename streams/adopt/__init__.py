"""Adopts an election from the replaced services; see docs/adopting.md."""
