"""Adapter to Redis, on redis-py."""
