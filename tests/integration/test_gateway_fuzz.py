"""The API as its description says it is, with schemathesis: whatever is sent, nothing breaks."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from streams.adapters.kafka.admin import ensure_topics
from streams.devstack import Stack
from streams.load.programs import child_environment, gateway
from tests.harness import wipe
from tests.integration.gateway_harness import NO_LIMITS, SECRET
from tests.integration.sink_harness import own_database

CHECKS = ",".join(
    (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "use_after_free",
    )
)


@pytest.mark.timeout(480)
async def test_nothing_that_is_sent_breaks_the_api(stack: Stack, tmp_path: Path) -> None:
    await wipe(stack.env())
    async with own_database(stack) as settings:
        await ensure_topics(settings.kafka)
        env = child_environment(
            stack.env(), POSTGRES_DB=settings.postgres_db, SCRUTIN_SECRET=SECRET, **NO_LIMITS
        )
        async with gateway(env, tmp_path) as program:
            await program.ready()
            fuzzing = await asyncio.create_subprocess_exec(
                str(Path(sys.executable).with_name("schemathesis")),
                *("run", f"http://127.0.0.1:{program.port}/schema/openapi.json"),
                *("--checks", CHECKS, "--phases", "examples,coverage,fuzzing"),
                *("--max-examples", "10", "--generation-deterministic", "--no-color"),
                # It never ends.
                *("--exclude-path", "/results/{contest}/events"),
                *("--warnings", "off", "--request-timeout", "60"),
                cwd=tmp_path,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            try:
                out, _ = await fuzzing.communicate()
            finally:
                if fuzzing.returncode is None:
                    fuzzing.kill()
                    await fuzzing.wait()
            assert fuzzing.returncode == 0, out.decode()[-8000:]
