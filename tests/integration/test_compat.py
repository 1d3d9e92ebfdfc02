"""The recorded conversations of the replaced systems' clients, on the real chain."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from streams.compat.recordings import recordings
from streams.devstack import Stack
from streams.errors import ExitCode
from streams.load.programs import gateway
from streams.settings.build import tally_config
from streams.tally.commands import tally
from tests.harness import redis_of
from tests.integration.cli_harness import run_cli
from tests.integration.gateway_harness import NO_LIMITS, GatewayChain
from tests.integration.tally_harness import small_election, tally_harness

pytestmark = pytest.mark.timeout(400)

ELECTION = {
    "political_parties": [{"id": 1, "party_code": "A", "party_name": "Alpha"}],
    "regions": [{"id": 10, "region_code": "N", "region_name": "North"}],
    "elections": [
        {
            "id": 1,
            "election_code": "A-2026",
            "election_name": "Assembly",
            "start_datetime": "2020-01-01T00:00:00Z",
        }
    ],
    "candidates": [
        {"id": n, "election_id": 1, "region_id": 10, "first_name": "Candidate", "last_name": str(n)}
        for n in (11, 12)
    ],
}


async def played(env: Mapping[str, str], port: int, *arguments: str, code: int = 0) -> list[Any]:
    url = f"http://127.0.0.1:{port}"
    done = await asyncio.to_thread(run_cli, env, "compat", url, *arguments, "--yes", "--json")
    assert done.returncode == code, done.stdout + done.stderr
    found: list[Any] = json.loads(done.stdout)
    return found


def all_the_same(outcomes: list[Any], *systems: str) -> None:
    steps = {
        name: len(recording.steps)
        for system in systems
        for name, recording in recordings(system).items()
    }
    assert {one["recording"]: one["steps"] for one in outcomes} == steps
    assert [one for one in outcomes if one["differences"] or one["left_out"]] == []


async def test_clients_of_the_vote_counting_and_of_the_polls(stack: Stack, tmp_path: Path) -> None:
    settings = {**NO_LIMITS, "BATCH_TIMEOUT_SECONDS": "0.1"}
    async with GatewayChain(stack, tmp_path, settings=settings) as chain:
        redis = redis_of(chain.settings)
        await redis.sadd("valid_hashes", "some-voter")
        await redis.aclose()
        await chain.start()
        file = tmp_path / "election.json"
        file.write_text(json.dumps(ELECTION))
        for arguments in (
            ("election", "import", str(file), "--wait", "120"),
            ("contest", "open", "election:1", "--wait", "120"),
        ):
            done = await asyncio.to_thread(run_cli, chain.env, *arguments)
            assert done.returncode == 0, done.stderr
        port = chain.gateways[0].port
        outcomes = await played(
            chain.env,
            port,
            *("vote_counting", "polls", "--services"),
            *("--set", "election_id=1", "--set", "region_id=10", "--set", "candidate_id=11"),
        )
        all_the_same(outcomes, "vote_counting", "polls")
        # Without addresses of the services, what needs them is left out by name.
        over_http = await played(chain.env, port, "vote_counting")
        assert [one["left_out"] for one in over_http] == [
            "needs --services",
            "",
            "needs --services",
            "needs --set election_id=... --set region_id=... --set candidate_id=...",
            "needs --services",
        ]
        # What the polls refuse, a gateway that takes no polls answers otherwise.
        silent = gateway({**chain.env, "SCRUTIN_SECRET": ""}, tmp_path, "silent")
        async with silent:
            await silent.ready()
            [_, *others] = await played(chain.env, silent.port, "polls", code=ExitCode.DIFFERENT)
            assert others[0]["differences"]


async def test_the_web_client_of_the_encrypted_tally(stack: Stack, tmp_path: Path) -> None:
    held = small_election("123", 3, cast=4)
    async with (
        tally_harness(stack, tmp_path) as world,
        tally(tally_config(world.settings)) as asked,
    ):
        program = gateway({**world.env, "SCRUTIN_TALLY_API_KEYS": "*"}, tmp_path).start()
        world.programs.append(program)
        await world.put(asked, "123", held)
        await world.seal(asked, "123", held, 0, 2)
        worker = world.worker()
        await asyncio.gather(program.ready(), worker.ready())
        all_the_same(
            await played(world.env, program.port, "tally", "--set", "election=123"), "tally"
        )
