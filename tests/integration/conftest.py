"""A database of a test's own, and sinks on it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from streams.devstack import Stack
from streams.settings.model import Settings
from tests.harness import database
from tests.integration.sink_harness import OneSink, own_database

# Failures in these steps are explained as in a test.
pytest.register_assert_rewrite(
    *(f"tests.integration.election_{part}" for part in ("hidden", "seats", "votes"))
)


@pytest.fixture
async def own(stack: Stack) -> AsyncIterator[Settings]:
    """Settings of a database of its own with all tables."""
    async with own_database(stack) as own:
        yield own


@pytest.fixture
async def one(own: Settings) -> AsyncIterator[OneSink]:
    """A worker's sink."""
    one = OneSink(own)
    async with one.sink:
        yield one


@pytest.fixture
async def two(own: Settings) -> AsyncIterator[OneSink]:
    """A second worker's sink on the same database."""
    two = OneSink(own)
    async with two.sink:
        yield two


@pytest.fixture
async def db(own: Settings) -> AsyncIterator[asyncpg.Connection]:
    """A connection to look with."""
    connection = await database(own)
    yield connection
    await connection.close()
