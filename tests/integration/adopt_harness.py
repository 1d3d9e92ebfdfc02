"""An old system on a wiped stack, to be adopted, and the workers that count it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from streams.devstack import Stack
from streams.load.programs import child_environment
from streams.settings.load import load_settings
from tests.harness import Chain, database, redis_of
from tests.integration.bridge_harness import scrutin
from tests.integration.old_systems import OldElection, fill

VOTES = int(os.environ.get("ADOPT_VOTES", "20000"))
"""Of one old system; `make adopt` takes 200,000."""
PATIENCE_S = 120 + VOTES // 400
KILLED = {"SCRUTIN_TEST_FAILPOINTS": "after_adopted:kill", "SCRUTIN_TEST_DEPLOYMENT": "true"}


class Before:
    """An old system on a wiped stack, to be adopted."""

    def __init__(self, stack: Stack) -> None:
        self.env = child_environment(stack.env(), RETRY_DELAY_SECONDS="0.2")
        self.settings = load_settings(self.env)

    async def fill(self, old: OldElection, *statements: str) -> None:
        db, redis = await database(self.settings), redis_of(self.settings)
        try:
            await fill(db, redis, old)
            for statement in statements:
                await db.execute(statement)
        finally:
            await db.close()
            await redis.aclose()

    async def run(self, *arguments: str, **env: str) -> tuple[int, dict[str, Any]]:
        """Exit code, and the document on standard output (or the error's text)."""
        done = await asyncio.to_thread(
            scrutin, {**self.env, **env}, *arguments, "--json", timeout_s=90 + PATIENCE_S
        )
        try:
            return done.returncode, json.loads(done.stdout)
        except ValueError:
            return done.returncode, {"error": done.stderr}

    async def rows(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        db = await database(self.settings)
        try:
            return [tuple(row) for row in await db.fetch(query, *arguments)]
        finally:
            await db.close()


class Running:
    """Workers only: an adoption is counted without a bridge. Or another chain, not wiped."""

    def __init__(
        self, stack: Stack, directory: Path, chain: Chain | None = None, **settings: Any
    ) -> None:
        self._chain = chain or Chain(stack, directory, **{"bridges": 0, **settings})

    async def __aenter__(self) -> Chain:
        try:
            return await self._chain.start()
        except BaseException:
            # No block was entered that would end what was started.
            await self._chain.__aexit__(*sys.exc_info())
            raise

    async def __aexit__(self, *error: Any) -> None:
        await self._chain.__aexit__(*error)
