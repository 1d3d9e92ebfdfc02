"""Votes in polls by the queue of the replaced services: counted once with those of the gateway."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streams.devstack import Stack
from tests.harness import database, until
from tests.integration.gateway_harness import NO_LIMITS, GatewayChain, amqp, client_of, poll

SETTINGS = {
    **NO_LIMITS,
    "BATCH_TIMEOUT_SECONDS": "0.1",
    "SCRUTIN_ROLL": "open",
    "SCRUTIN_INGRESS": "votes.validation,poll_vote_updates",
}


@pytest.mark.timeout(300)
async def test_updates_of_another_vote_service_are_votes(stack: Stack, tmp_path: Path) -> None:
    async with GatewayChain(stack, tmp_path, settings=SETTINGS) as chain:
        await chain.start()
        async with client_of(chain.gateways[0]) as client:
            _, made = await client.post("/polls/", poll())
            _, over = await client.post("/api/vote/", vote(made["id"], "Bob", 2))
            assert (await client.fate(over["receipt"]))["status"] == "counted"
            updates = [
                {**vote(made["id"], "Ann", 1), "delta": 1},
                {**vote(made["id"], "ANN ", 2), "delta": 1},
                {**vote(made["id"], "bob", 1), "delta": 1},
                {**vote(made["id"], "Cleo", 1), "delta": 5},
                {**vote(made["id"], "Dan", 4), "delta": 1},
                {**vote(10**9, "Dan", 1), "delta": 1},
            ]
            with amqp(chain.settings) as channel:
                for update in updates:
                    body = json.dumps(update).encode()
                    channel.basic_publish("poll_updates", "poll.vote_update", body)
            db = await database(chain.settings)
            rejections = "SELECT reason, count(*) FROM rejected_votes GROUP BY 1"

            async def decided() -> bool:
                return await db.fetchval("SELECT count(*) FROM rejected_votes") == 5

            try:
                await until(decided, "all others are rejected", within_s=60)
                assert dict(await db.fetch(rejections)) == {
                    "already_voted": 2,
                    "bad_delta": 1,
                    "choice_not_allowed": 1,
                    "unknown_contest": 1,
                }
            finally:
                await db.close()
            _, result = await client.get(f"/results/poll:{made['id']}")
            assert result["choices"] == {"1": 1, "2": 1}


def vote(poll_id: int, name: str, option: int) -> dict[str, object]:
    return {"poll_id": poll_id, "option_id": option, "voter_name": name}
