"""Guesses at codes, keys and tokens: after some that were refused, nothing is asked or told."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from pathlib import Path

from streams.adapters.kafka.admin import ensure_topics
from streams.devstack import Stack
from streams.gateway.submissions import election_hashes
from streams.load.programs import child_environment, gateway
from tests.harness import redis_of
from tests.integration.gateway_harness import SECRET, Client, client_of, poll
from tests.integration.sink_harness import own_database

PERSON_LIMIT = 5
ADDRESS_LIMIT = 20
CODE = "ABC123"


def ballot(nas: str, code: str) -> dict[str, object]:
    return {"nas": nas, "code": code, "election_id": 1, "candidate_id": 7}


async def statuses(client: Client, tries: list[tuple[dict[str, object], str]]) -> Counter[int]:
    """How many answers had each status, for votes sent at once from the given addresses."""
    answers = await asyncio.gather(
        *(
            client.post("/api/v1/elections/vote", body, headers={"X-Forwarded-For": address})
            for body, address in tries
        )
    )
    return Counter(status for status, _ in answers)


async def test_credentials_cannot_be_guessed(stack: Stack, tmp_path: Path) -> None:
    # Numbers and addresses of no other test on this stack.
    mark = int.from_bytes(tmp_path.name.encode()[-2:], "big")
    victim, neighbour = f"8{mark:05}001", f"8{mark:05}002"
    extra = {
        "SCRUTIN_SECRET": SECRET,
        "SCRUTIN_TRUSTED_PROXIES": "1",
        "SCRUTIN_ENFORCE_CONTESTS": "false",
        "SCRUTIN_THROTTLE_VOTER": "off",
        "SCRUTIN_THROTTLE_ADDRESS": "off",
        "SCRUTIN_THROTTLE_REFUSED_PERSON": f"{PERSON_LIMIT}/hour",
        "SCRUTIN_THROTTLE_REFUSED_ADDRESS": f"{ADDRESS_LIMIT}/hour",
    }
    async with own_database(stack) as settings:
        await ensure_topics(settings.kafka)
        redis = redis_of(settings)
        for nas in (victim, neighbour):
            await redis.sadd("valid_hashes", election_hashes(nas, CODE)[0])
        await redis.aclose()
        env = child_environment(stack.env(), POSTGRES_DB=settings.postgres_db, **extra)
        async with gateway(env, tmp_path) as program, client_of(program) as client:
            await program.ready()
            # Each guess from another network, all at once.
            guesses = [(ballot(victim, f"C{n}"), f"2001:db8:{mark:x}:{n:x}::1") for n in range(100)]
            found = await statuses(client, guesses)
            assert set(found) == {400, 429}
            assert found[400] <= PERSON_LIMIT
            # One after the other, the rest of the limit is used up.
            for n in range(PERSON_LIMIT):
                await statuses(
                    client, [(ballot(victim, f"D{n}"), f"2001:db8:{mark:x}:f{n:03x}::1")]
                )
            right = await statuses(client, [(ballot(victim, CODE), f"2001:db8:{mark:x}:fff::1")])
            assert right == Counter({429: 1})
            # Others are not concerned.
            assert await statuses(client, [(ballot(neighbour, CODE), "192.0.2.1")]) == {202: 1}

            # Many persons from one IPv6 network, each guess with another address of it.
            for n in range(ADDRESS_LIMIT + 5):
                guess = ballot(f"7{mark:05}{n:03}", "WRONG")
                found = await statuses(client, [(guess, f"2001:db8:{mark:x}:abcd::{n + 1:x}")])
                assert found == {400 if n < ADDRESS_LIMIT else 429: 1}, n

            await keys_and_tokens_are_limited(client, mark)


async def test_limits_hold_without_redis(stack: Stack, tmp_path: Path) -> None:
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))  # Nothing listens there, and nobody else can.
    extra = {
        "SCRUTIN_SECRET": SECRET,
        "SCRUTIN_TRUSTED_PROXIES": "1",
        "SCRUTIN_THROTTLE_ADDRESS": "off",
        "REDIS_PORT": str(bound.getsockname()[1]),
        "SCRUTIN_THROTTLE_REFUSED_ADDRESS": f"{ADDRESS_LIMIT}/hour",
    }
    with bound:
        async with own_database(stack) as settings:
            await ensure_topics(settings.kafka)
            env = child_environment(stack.env(), POSTGRES_DB=settings.postgres_db, **extra)
            async with gateway(env, tmp_path) as program, client_of(program) as client:
                await program.ready()
                await keys_and_tokens_are_limited(client, 1)


async def keys_and_tokens_are_limited(client: Client, mark: int) -> None:
    """Keys of polls, edit tokens and keys of the tally, each from a network of its own."""
    status, made = await client.post("/polls/", poll(3600, who="key"))
    assert status == 201, made
    path = f"/polls/{made['id']}/"
    vote = {"poll_id": made["id"], "option_id": 1}

    async def guess(kind: str, n: int) -> int:
        headers = {
            "X-Forwarded-For": f"2001:db8:{mark:x}:{kind}::1",
            "X-API-Key": f"guess {n}",
            "X-Edit-Token": f"guess {n}",
        }
        match kind:
            case "a1":
                return (await client.post("/votes/", vote, headers=headers))[0]
            case "a2":
                async with client.session.delete(client.base + path, headers=headers) as answer:
                    return answer.status
            case "a3":
                return (await client.get(path, headers=headers))[0]
            case _:
                return (await client.post("/api/initiate-tally", {}, headers=headers))[0]

    for kind, refused in (("a1", 401), ("a2", 403), ("a3", 200), ("a4", 403)):
        found = [await guess(kind, n) for n in range(ADDRESS_LIMIT + 2)]
        assert found == [refused] * ADDRESS_LIMIT + [429] * 2, kind
