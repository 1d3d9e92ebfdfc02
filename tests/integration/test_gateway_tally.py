"""The encrypted tally over HTTP and WebSocket, on the real chain, with a worker that does it."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from streams.devstack import Stack
from streams.load.programs import gateway
from streams.settings.build import tally_config
from streams.tally.commands import tally
from tests.harness import until
from tests.integration.gateway_harness import Client, client_of
from tests.integration.tally_harness import counts, small_election, tally_harness

pytestmark = pytest.mark.timeout(400)

KEY = "the office's key"
MINE = {"headers": {"X-API-Key": KEY}}
CREATED = {"jobId", "totalChunks", "status", "message", "pollUrl", "createdAt", "success"}
JOB = {"guardianId", "missingGuardianId"} | {
    *("jobId", "status", "totalChunks", "processedChunks", "failedChunks", "progressPercent"),
    *("startedAt", "completedAt", "errorMessage", "operationType", "electionId"),
}
"""What clients of the replaced services read, and which guardian it is about."""
UNKNOWN = "00000000-0000-4000-8000-000000000000"


async def test_an_encrypted_election_is_tallied_over_http(stack: Stack, tmp_path: Path) -> None:
    held = small_election("123", 3, cast=4)
    async with (
        tally_harness(stack, tmp_path) as world,
        tally(tally_config(world.settings)) as asked,
    ):
        env = {**world.env, "SCRUTIN_TALLY_API_KEYS": hashlib.sha256(KEY.encode()).hexdigest()}
        program = gateway(env, tmp_path).start()
        world.programs.append(program)
        await world.put(asked, "123", held)
        await world.seal(asked, "123", held, 0, 2)
        await program.ready()
        async with client_of(program) as client:
            await what_is_not_there_is_named(client)
            job = await asked_for_before_a_worker_is_there(client)
            await world.put(asked, "124", small_election("124", 4, cast=1))
            await initiated_and_cancelled(client)
            watched = await client.session.ws_connect(client.base + "/ws/tallies/123")
            first = await watched.receive_json(timeout=120)
            assert [each["status"] for each in first["jobs"]] == ["QUEUED"]
            seen = [first]
            following = asyncio.create_task(follow(watched, seen))
            worker = world.worker()
            await worker.ready()
            await cancelled_and_resumed(client, job, seen)
            await initiated_again(client)
            await decrypted(client)
            await following
            await watched.close()
            await the_end_is_told(client, job, held.counts)


async def follow(watched: aiohttp.ClientWebSocketResponse, seen: list[Any]) -> None:
    """Keep what a socket tells, until the result is there."""
    while not seen[-1]["published"]:
        seen.append(await watched.receive_json(timeout=120))


async def told_more_than(seen: list[Any], before: int) -> None:
    """What goes on is told as it goes on."""

    async def more() -> bool:
        return len(seen) > before

    await until(more, "the watcher is told", 90)


async def test_commands_need_a_key_that_is_set(stack: Stack, tmp_path: Path) -> None:
    async with tally_harness(stack, tmp_path) as world:
        programs = [gateway(world.env, tmp_path, "none").start()]
        programs.append(
            gateway({**world.env, "SCRUTIN_TALLY_API_KEYS": "*"}, tmp_path, "any").start()
        )
        world.programs += programs
        for program, expected in zip(programs, (403, 404), strict=True):
            await program.ready()
            async with client_of(program) as client:
                status, answer = await client.post("/api/initiate-tally", {"electionId": "x"})
                assert status == expected
                assert ("SCRUTIN_TALLY_API_KEYS=*" in answer["detail"]) == (expected == 403)
                assert await client.get("/api/jobs/active") == (200, [])


async def what_is_not_there_is_named(client: Client) -> None:
    """400 for what is no id, 404 for what is unknown, 403 without a key, no secrets."""
    for path in (
        f"/api/jobs/{UNKNOWN}/status",
        "/api/jobs/election/9",
        "/api/election/9/tally-status",
        "/api/guardian/decryption-status/9",
        "/api/combine-status/9",
        "/api/election/9/result",
        "/api/election/123/result",
        "/api/election/123/cached-results",
        "/api/guardian/decryption-status/9/1",
        "/api/tallies/9",
    ):
        status, problem = await client.get(path)
        assert status == 404, path
        assert path.startswith("/api/tallies") or problem["success"] is False, path
    assert (await client.get("/api/jobs/7/status"))[0] == 400
    order = {"election_id": 123}
    assert (await client.post("/api/create-tally-queue", order))[0] == 403
    other = {"headers": {"X-API-Key": "another"}}
    assert (await client.post("/api/create-tally-queue", order, **other))[0] == 403
    assert (await client.post("/api/create-tally-queue", {"election_id": 9}, **MINE))[0] == 404
    for body in ({}, [], {"election_id": ""}, {"election_id": 123, "chunkSize": 0}):
        assert (await client.post("/api/create-tally-queue", body, **MINE))[0] == 400
    bad = {"election_id": 123, "guardian_id": 1, "decryptedPrivateKey": "81985529"}
    status, refused = await client.post("/api/guardian/initiate-decryption", bad, **MINE)
    assert status == 400
    assert "secret in plain" in refused["detail"]
    assert "81985529" not in json.dumps(refused)
    # A guardian that is none, and one whose secret is not there.
    for guardian, expected in (("nobody", 404), ("guardian-2", 400)):
        body = {"election_id": 123, "guardian_id": guardian}
        status, _ = await client.post("/api/guardian/initiate-decryption", body, **MINE)
        assert status == expected
    socket = await client.session.ws_connect(client.base + "/ws/tallies/9")
    closing = await socket.receive(timeout=60)
    assert (closing.type, closing.data) == (aiohttp.WSMsgType.CLOSE, 4404)
    _, status_of_none = await client.get("/api/election/123/tally-status")
    assert status_of_none["status"] == "not_started"


async def asked_for_before_a_worker_is_there(client: Client) -> str:
    """The job can be polled at once."""
    order = {"election_id": 123, "chunkSize": 2}
    status, created = await client.post("/api/create-tally-queue", order, **MINE)
    assert status == 200
    assert created["success"]
    assert set(created) == CREATED
    assert (created["totalChunks"], created["status"]) == (2, "QUEUED")
    status, job = await client.get(created["pollUrl"])
    assert status == 200
    assert set(job) == JOB
    assert job["electionId"] == 123
    assert (job["operationType"], job["totalChunks"]) == ("TALLY", 2)
    assert (await client.get("/api/jobs/active"))[1] == [job]
    assert (await client.get("/api/jobs/election/123"))[1] == [job]
    again = await client.post("/api/create-tally-queue", order, **MINE)
    assert again[1]["jobId"] == created["jobId"]
    _, going_on = await client.post("/api/initiate-tally", order, **MINE)
    assert going_on["encryptedTally"] == "IN_PROGRESS"
    (listed,) = (await client.get("/api/tallies"))[1]
    assert (listed["electionId"], listed["status"]) == (123, "queued")
    return str(created["jobId"])


async def initiated_and_cancelled(client: Client) -> None:
    """As the newer service tells it; nothing is given out meanwhile."""
    status, initiated = await client.post("/api/initiate-tally", {"electionId": 124}, **MINE)
    assert status == 200
    assert set(initiated) == {"success", "message", "encryptedTally"}
    assert initiated["encryptedTally"] == "INITIATED:1"
    (job,) = (await client.get("/api/jobs/election/124"))[1]
    assert (await client.post(f"/api/jobs/{job['jobId']}/cancel", {}, **MINE))[0] == 200


async def initiated_again(client: Client) -> None:
    """Asking once more goes on with what was cancelled."""
    path = "/api/election/124/tally-status"
    await has_status(client, path, "cancelled")
    _, resumed = await client.post("/api/initiate-tally", {"electionId": 124}, **MINE)
    assert resumed["encryptedTally"] == "RESUMING:0/1"
    await has_status(client, path, "completed")


async def has_status(client: Client, path: str, status: str) -> None:
    """Wait until a path tells it."""

    async def said() -> bool:
        return bool((await client.get(path))[1]["status"] == status)

    await until(said, f"{path} is {status}", 90)


async def cancelled_and_resumed(client: Client, job: str, seen: list[Any]) -> None:
    """A combination that is cancelled waits; one that is resumed goes on."""

    async def is_(path: str, status: str) -> None:
        await has_status(client, path, status)

    await is_(f"/api/jobs/{job}/status", "COMPLETED")
    await told_more_than(seen, 1)
    assert (await client.post(f"/api/jobs/{job}/cancel", {}))[0] == 403
    assert (await client.post(f"/api/jobs/{job}/cancel", {}, **MINE))[0] == 200
    body = {"electionId": 123, "guardianSequenceOrder": "1"}
    status, taken = await client.post("/api/guardian/initiate-decryption", body, **MINE)
    assert (status, taken["guardianId"]) == (200, "guardian-1")
    await is_("/api/guardian/decryption-status/123", "cancelled")
    so_far = len(seen)
    assert (await client.post(f"/api/jobs/{job}/resume", {}, **MINE))[0] == 200
    await is_("/api/guardian/decryption-status/123?guardianId=guardian-1", "completed")
    await told_more_than(seen, so_far)


async def decrypted(client: Client) -> None:
    """The deployed client names no guardian: all with a sealed secret take part, one is absent."""
    body = {"election_id": 123, "encrypted_data": "b25seSB0aGVpciBzZXJ2aWNl"}
    status, taken = await client.post("/api/guardian/initiate-decryption", body, **MINE)
    assert (status, taken["success"]) == (200, True)
    assert taken["guardianIds"] == ["guardian-1", "guardian-3"]
    status, refused = await client.post(
        "/api/guardian/initiate-decryption", body | {"election_id": 124}, **MINE
    )
    assert (status, refused["success"]) == (400, False)
    assert "scrutin guardian seal" in refused["message"]
    status, _ = await client.post("/api/initiate-combine?electionId=123", {}, **MINE)
    assert status == 200


async def the_end_is_told(client: Client, job: str, expected: dict[str, int]) -> None:
    """Result and statuses, once they are there."""

    async def combined() -> bool:
        return bool((await client.get("/api/combine-status/123"))[1]["status"] == "completed")

    await until(combined, "the combination is complete", 60)
    status, result = await client.get("/api/election/123/result")
    assert status == 200
    assert counts(result) == expected
    for path in ("/api/election/123/cached-results", "/api/election/123/results"):
        assert await client.get(path) == (200, {"success": True, "results": result["results"]})
    status, one = await client.get("/api/guardian/decryption-status/123/3")
    assert (status, one["guardianId"], one["status"]) == (200, "guardian-3", "completed")
    status, absent = await client.get("/api/guardian/decryption-status/123/guardian-2")
    assert (status, absent["guardianId"], absent["status"]) == (200, "guardian-2", "not_started")
    assert (await client.get("/api/guardian/decryption-status/123/4"))[0] == 404
    _, again = await client.post("/api/create-tally", {"election_id": 123}, **MINE)
    assert again["encryptedTally"] == "COMPLETED"
    tallied: dict[str, Any] = (await client.get("/api/election/123/tally-status"))[1]
    assert (tallied["status"], tallied["processedChunks"]) == ("completed", 2)
    assert (tallied["progressPercentage"], tallied["createdBy"]) == (100.0, "http")
    shares = (await client.get("/api/guardian/decryption-status/123"))[1]
    assert [each["guardianId"] for each in shares["guardians"]] == ["guardian-1", "guardian-3"]
    assert {each["currentPhase"] for each in shares["guardians"]} == {"completed"}
    _, asked = await client.post("/api/initiate-tally", {"electionId": "123"}, **MINE)
    assert asked["encryptedTally"] == "COMPLETED"
    assert (await client.get(f"/api/jobs/{job}/status"))[1]["progressPercent"] == 100.0
    assert (await client.get("/api/jobs/active"))[1] == []
    listed = {each["electionId"]: each for each in (await client.get("/api/tallies"))[1]}
    assert listed[123]["status"] == "published"
    for page in ("/tallies", "/tally/123"):
        async with client.session.get(client.base + page) as answer:
            assert answer.status == 200
