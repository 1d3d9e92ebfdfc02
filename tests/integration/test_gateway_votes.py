"""Votes over HTTP on the real chain: receipts, results, throttling, unavailable services."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp

from streams.devstack import Stack
from streams.errors import ExitCode
from streams.load.programs import child_environment, gateway
from tests.harness import metrics, redis_of, until
from tests.integration.cli_harness import run_cli
from tests.integration.gateway_harness import (
    NO_LIMITS,
    Client,
    GatewayChain,
    ballot,
    client_of,
    hash_of,
)
from tests.integration.sink_harness import own_database


async def test_votes_are_confirmed_counted_and_told_of(stack: Stack, tmp_path: Path) -> None:
    # A time zone of the host, which means nothing to those who ask.
    async with GatewayChain(stack, tmp_path, settings={"TZ": "Asia/Tokyo"}) as chain:
        redis = redis_of(chain.settings)
        await redis.sadd("valid_hashes", *(hash_of(n) for n in range(3)))
        await redis.aclose()
        await chain.start()
        async with client_of(chain.gateways[0]) as client:
            first, second = await asyncio.gather(
                client.post("/api/v1/vote", ballot(1)),
                client.post("/api/v1/vote", ballot(2, vote="NON")),
            )
            assert (first[0], second[0]) == (202, 202)
            assert first[1]["request_id"] == hash_of(1)
            assert (await client.fate(first[1]["receipt"]))["status"] == "counted"
            assert (await client.fate(second[1]["receipt"]))["status"] == "counted"

            _, again = await client.post("/api/v1/vote", ballot(1, vote="non"))
            fate = await client.fate(again["receipt"])
            assert (fate["status"], fate["reason"]) == ("duplicate", "already_voted")
            _, stranger = await client.post("/api/v1/vote", ballot(99))
            fate = await client.fate(stranger["receipt"])
            assert (fate["status"], fate["reason"]) == ("invalid", "not_on_roll")
            # The first stays what it was.
            assert (await client.fate(first[1]["receipt"]))["status"] == "counted"

            status, result = await client.get("/api/v1/results/L-1")
            assert (status, result["oui_count"], result["non_count"]) == (200, 1, 1)
            assert (await client.get("/api/v1/results"))[1] == [result]
            status, timeline = await client.get("/results/L-1/timeline")
            assert sum(sum(p["votes"].values()) for p in timeline["points"]) == 2
            hour, now = timedelta(hours=1), datetime.now(UTC).replace(tzinfo=None)
            path = "/results/L-1/timeline?since="
            assert (await client.get(f"{path}{(now - hour).isoformat()}"))[1] == timeline
            assert (await client.get(f"{path}{(now + hour).isoformat()}"))[1]["points"] == []
            assert (await client.get(f"{path}tomorrow"))[0] == 400
            assert (await client.get("/results/L-2/timeline"))[0] == 404
            assert (await client.get("/api/v1/results/L-2"))[0] == 404
            # Announced and without votes.
            await asyncio.to_thread(run_cli, chain.env, "contest", "create", "L-2", "--wait", "60")
            status, result = await client.get("/api/v1/results/L-2")
            assert (status, result["total_votes"]) == (200, 0)
            assert datetime.fromisoformat(result["updated_at"]).tzinfo is not None
            await a_vote_by_command(client)
            assert await chain.gateways[0].terminate() == 0
            chain.gateways[0].start()
            await chain.gateways[0].ready()
            # A receipt outlives its gateway.
            assert (await client.fate(first[1]["receipt"]))["status"] == "counted"


async def a_vote_by_command(client: Client) -> None:
    """The voter's number and code are on standard input; the outcome is the voter's alone."""
    voter = ballot(0)
    argv = [Path(sys.executable).with_name("scrutin"), "vote", "L-1", "oui", "--json"]
    for status, code in (("counted", 0), ("duplicate", 1)):
        done = await asyncio.to_thread(
            subprocess.run,
            [*argv, "--gateway", client.base, "--wait", "60"],
            input=f"{voter['nas']}\n{voter['code']}\n",
            capture_output=True,
            text=True,
            check=False,
        )
        assert (json.loads(done.stdout)["status"], done.returncode) == (status, code), done.stderr
        assert voter["nas"] not in done.stdout


async def test_too_many_votes_of_a_voter_or_address_are_throttled(
    stack: Stack, tmp_path: Path
) -> None:
    async with own_database(stack) as settings:
        extra = {
            "POSTGRES_DB": settings.postgres_db,
            "SCRUTIN_THROTTLE_VOTER": "3/minute",
            "SCRUTIN_THROTTLE_LAW_ADDRESS": "6/hour",
            "SCRUTIN_TRUSTED_PROXIES": "1",
        }
        async with gateway(child_environment(stack.env(), **extra), tmp_path) as program:
            await program.ready()
            async with client_of(program) as client:
                vote = ballot(int.from_bytes(tmp_path.name.encode()[-3:], "big"), law=str(tmp_path))
                # An address that no other test votes from.
                address = {"X-Forwarded-For": str(tmp_path)}
                answers = [
                    await client.post("/api/v1/vote", vote, headers=address) for _ in range(4)
                ]
                assert [status for status, _ in answers] == [202, 202, 202, 429]
                async with client.session.post(
                    f"{client.base}/api/v1/vote", json=vote, headers=address
                ) as throttled:
                    wait_s = int(throttled.headers["Retry-After"])
                    problem = await throttled.json(content_type=None)
                    assert throttled.content_type == "application/problem+json"
                assert 1 <= wait_s <= 60
                assert f"{wait_s} seconds" in problem["detail"]
                found = await metrics(program)
                assert found['scrutin_gateway_throttled_total{limit="voter"}'] == 2
                # Under the names of the replaced API.
                law = f'law_id="{tmp_path}"'
                assert found[f'votes_submitted_total{{{law},vote_choice="oui"}}'] == 3
                assert found['http_requests_total{status="202"}'] == 3
                path = 'endpoint="/api/v1/vote"'
                timed = f'{{{path},method="POST",status="429"}}'
                assert found[f"http_request_duration_seconds_count{timed}"] == 2
                # Five have come from there.
                others = [
                    (ballot(10**6 + n, law=str(tmp_path)), {"X-Forwarded-For": of})
                    for n, of in enumerate((str(tmp_path), str(tmp_path), f"{tmp_path} too"))
                ]
                answers = [
                    await client.post("/api/v1/vote", body, headers=of) for body, of in others
                ]
                assert [status for status, _ in answers] == [202, 429, 202]
                found = await metrics(program)
                assert found['scrutin_gateway_throttled_total{limit="law_address"}'] == 1


async def test_without_rabbitmq_or_redis_nothing_is_promised(stack: Stack, tmp_path: Path) -> None:
    """503 while RabbitMQ does not answer; the limits need Redis, voting does not."""
    async with own_database(stack) as settings:
        env = child_environment(
            stack.env(), POSTGRES_DB=settings.postgres_db, RETRY_DELAY_SECONDS="0.2"
        )
        closed = {**env, "RABBITMQ_PORT": "1", "REDIS_PORT": "1"}
        async with gateway(closed, tmp_path, "closed") as program, client_of(program) as client:

            async def answers() -> bool:
                try:
                    return (await client.get("/live"))[0] == 200
                except aiohttp.ClientError:
                    return False

            await until(answers, "the gateway listens")
            async with client.session.post(f"{client.base}/api/v1/vote", json=ballot(1)) as answer:
                assert answer.status == 503
                assert int(answer.headers["Retry-After"]) > 0
            assert (await metrics(program))['vote_errors_total{error_type="unavailable"}'] == 1
            status, ready = await client.get("/ready")
            assert (status, ready["faults"]) == (503, ["RabbitMQ does not answer"])

            async def told() -> bool:
                # It takes no answer for an absence; the first connection may take longer.
                status, health = await client.get("/api/v1/health")
                assert status == 503
                return bool(
                    health["services"]
                    == {
                        "rabbitmq": "disconnected",
                        "postgresql": "connected",
                        "redis": "disconnected",
                    }
                )

            await until(told, "the health of each service")


async def answered_alike_to_pages(client: Client) -> None:
    """A page of another origin gets the same answers as any client."""

    async def told(path: str, body: object, headers: dict[str, str]) -> tuple[object, ...]:
        async with client.session.post(client.base + path, json=body, headers=headers) as answer:
            found = await answer.json(content_type=None)
            known = {**found, "receipt": "", "request_id": ""}
            names = {name.lower() for name in answer.headers} - {"vary"}
            return (
                answer.status,
                answer.content_type,
                answer.headers.get("Retry-After"),
                known,
                {name for name in names if not name.startswith("access-control-")},
            )

    for path, body in (
        ("/api/v1/vote", ballot(1)),
        ("/api/v1/vote/", ballot(1)),
        ("/api/v1/vote", {**ballot(1), "vote": "maybe"}),
        ("/api/v1/vote", {**ballot(1), "vote": 1}),
        ("/api/v1/vote", {**ballot(1), "x": "y" * 2000}),
        ("/api/v1/vote", [1]),
        ("/api/v1/elections/vote", {"nas": "100000001", "code": "A", "election_id": 1}),
        ("/votes/", {"poll_id": 10**17, "option_id": 1}),
        ("/api/vote/", {"poll_id": "x", "option_id": 1}),
    ):
        plain = await told(path, body, {})
        assert plain == await told(path, body, {"Origin": "https://polls.example"}), path


async def test_requests_are_bounded_and_errors_have_one_form(stack: Stack, tmp_path: Path) -> None:
    async with own_database(stack) as settings:
        env = child_environment(
            stack.env(),
            POSTGRES_DB=settings.postgres_db,
            SCRUTIN_MAX_BODY_BYTES="1024",
            SCRUTIN_CORS_ORIGINS="https://polls.example",
            **NO_LIMITS,
        )
        async with gateway(env, tmp_path) as program, client_of(program) as client:
            await program.ready()
            status, problem = await client.post("/api/v1/vote", {**ballot(1), "x": "y" * 2000})
            assert (status, problem["status"]) == (413, 413)
            status, problem = await client.post("/api/v1/vote", {**ballot(1), "vote": "maybe"})
            assert (status, problem["vote"]) == (422, ["must be `oui` or `non`"])
            async with client.session.get(
                f"{client.base}/api/v1/results",
                headers={"X-Request-ID": "abc-1", "Origin": "https://polls.example"},
            ) as answer:
                assert answer.headers["X-Request-ID"] == "abc-1"
                assert answer.headers["Access-Control-Allow-Origin"] == "https://polls.example"
                assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
            await answered_alike_to_pages(client)
            status, schema = await client.get("/schema/openapi.json")
            assert {"/api/v1/vote", "/votes/{receipt}", "/api/v1/results"} <= set(schema["paths"])
            async with gateway(env, tmp_path, "second", port=program.port) as second:
                async with asyncio.timeout(120):
                    assert await second.ended() == ExitCode.PORT_TAKEN
