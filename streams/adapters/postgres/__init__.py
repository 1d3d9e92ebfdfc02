"""Adapter to PostgreSQL, on asyncpg."""
