"""A demo on services that it did not start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from streams.devstack import Stack
from streams.errors import ExitCode
from streams.load.programs import child_environment
from streams.settings.load import load_settings
from tests.harness import redis_of, wipe


def demo(stack: Stack, directory: Path) -> subprocess.CompletedProcess[str]:
    program = str(Path(sys.executable).with_name("scrutin"))
    return subprocess.run(
        [program, "demo", "--given-services", "--votes", "500"],
        env=child_environment(stack.env(), SCRUTIN_STACK_DIR=str(directory)),
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.timeout(400)
async def test_a_demo_leaves_a_given_redis_as_it_was(stack: Stack, tmp_path: Path) -> None:
    await wipe(stack.env())
    redis = redis_of(load_settings(stack.env()))
    try:
        done = demo(stack, tmp_path)
        assert done.returncode == ExitCode.OK, done.stdout + done.stderr
        assert "Exact. 500 votes counted" in done.stdout
        assert await redis.dbsize() == 0
        await wipe(stack.env())
        await redis.sadd("valid_hashes", "a voter of a real count")
        refused = demo(stack, tmp_path)
        assert refused.returncode == ExitCode.STACK_FAILED
        assert "is not empty" in refused.stderr
        assert await redis.scard("valid_hashes") == 1
    finally:
        await redis.aclose()
        await wipe(stack.env())
