"""Throughput and latency of the chain on real services: `python -m tests.bench`."""
