"""Signs what a test has counted, counts it again, publishes it, and has it checked by strangers."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from streams.adapters.postgres.connection import connected
from streams.maintenance.publishing import BundlePlan, Publishing
from streams.maintenance.recount.verify import RecountReport, recount
from streams.proof.notes import Signer
from streams.proof.store import take_checkpoint
from streams.settings.configs import DeploymentConfig

VERIFIER = Path(__file__).parents[2] / "proof" / "verify.py"


@contextmanager
def no_bars(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Shows no progress."""
    assert what
    assert total
    yield lambda _: None


async def recounted(config: DeploymentConfig, signer: Signer) -> RecountReport:
    """Sign, count again, and fail if anything differs."""
    async with connected(config.postgres) as connection:
        assert await take_checkpoint(connection, signer) is not None
    report = await recount(config, [signer.verifier], {}, no_bars, processes=1)
    assert report.equal, report.as_dict()
    return report


async def published(config: DeploymentConfig, signer: Signer, folder: Path) -> dict[str, Any]:
    """What `proof/verify.py` says of a new bundle; nothing may be wrong with it."""
    await Publishing(config, no_bars, BundlePlan()).run(folder)
    return await checked(folder, signer.verifier.text)


async def checked(folder: Path, key: str) -> dict[str, Any]:
    """What `proof/verify.py` says of a bundle, with no package at hand."""
    words = [sys.executable, "-I", "-S", str(VERIFIER), str(folder), "--key", key, "--json"]
    done = await asyncio.to_thread(
        subprocess.run, words, env={}, capture_output=True, text=True, check=False
    )
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["ok"], found["faults"]
    return found


@asynccontextmanager
async def signing(env: Mapping[str, str], key_file: Path, out: Path) -> AsyncIterator[list[str]]:
    """`scrutin audit checkpoint`, which signs at its start and at closings; what it has posted."""
    posted: list[str] = []

    async def take(request: web.Request) -> web.Response:
        posted.append(await request.text())
        return web.Response()

    receiver = web.Application()
    receiver.router.add_post("/checkpoints", take)
    runner = web.AppRunner(receiver)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    address = f"http://127.0.0.1:{runner.addresses[0][1]}/checkpoints"
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("scrutin")),
        *("audit", "checkpoint", "--key", str(key_file), "--every", "86400", "--out", str(out)),
        # Nobody listens at the first address.
        *("--post", "http://127.0.0.1:1/", "--post", address),
        env={"PATH": "/usr/bin:/bin", **env},
    )
    try:
        yield posted
    finally:
        process.terminate()
        await process.wait()
        await runner.cleanup()
