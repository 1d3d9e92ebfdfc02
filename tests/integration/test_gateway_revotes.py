"""Votes that replace earlier ones, over HTTP: answers, receipts, what watchers see, the proof."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

from streams.devstack import Stack
from streams.gateway.store import TOTALS
from streams.proof.notes import Signer
from tests.harness import database, until
from tests.integration.cli_harness import run_cli
from tests.integration.gateway_harness import NO_LIMITS, Client, GatewayChain, client_of
from tests.integration.proof_harness import published, recounted

CONTEST = "election:5"
ELECTION = {
    "elections": [
        {
            "id": 5,
            "election_name": "Board",
            "voting_method": "ranked_choice",
            "rules": {"revote": True},
        }
    ],
    "candidates": [{"id": n, "election_id": 5, "last_name": f"C{n}"} for n in (51, 52, 53)],
}
VOTERS = 30
SETTINGS = {"SCRUTIN_ENFORCE_CONTESTS": "true", "SCRUTIN_ROLL": "open", **NO_LIMITS}
FEEDS = ("/ws/elections/5/", "/results/election:5/events")


async def test_a_revote_is_taken_and_shown_once(stack: Stack, tmp_path: Path) -> None:
    async with GatewayChain(stack, tmp_path, settings=SETTINGS) as chain:
        await chain.start()
        (file := tmp_path / "election.json").write_text(json.dumps(ELECTION))
        wait = ("--wait", "60")
        await asyncio.to_thread(run_cli, chain.env, "election", "import", str(file), *wait)
        await asyncio.to_thread(run_cli, chain.env, "contest", "open", CONTEST, *wait)
        db = await database(chain.settings)
        try:
            async with client_of(chain.gateways[0]) as client:
                seen: dict[str, Counter[str]] = {feed: Counter() for feed in FEEDS}
                watchers = [
                    asyncio.create_task(watched(client, feed, seen[feed])) for feed in FEEDS
                ]
                receipts = await all_vote(client, db)
                await receipts_say_what_became(client, receipts)
                [row] = await db.fetch(
                    "SELECT count(*), count(DISTINCT vote_hash) FROM vote_audit WHERE contest = $1",
                    CONTEST,
                )
                assert tuple(row) == (VOTERS, VOTERS)
                rows = await db.fetch(TOTALS, [CONTEST])
                final = {row["choice"]: row["votes"] for row in rows if row["votes"]}
                assert sum(final.values()) == VOTERS

                async def shown() -> bool:
                    for watcher in watchers:
                        assert not watcher.done(), watcher.result()
                    return all(
                        {k: v for k, v in one.items() if v} == final for one in seen.values()
                    )

                await until(shown, f"watchers see {final}")
                for watcher in watchers:
                    watcher.cancel()
                await asyncio.gather(*watchers, return_exceptions=True)
                await every_vote_is_proved(chain, tmp_path, sum(map(len, receipts.values())))
        finally:
            await db.close()


async def every_vote_is_proved(chain: GatewayChain, directory: Path, votes: int) -> None:
    """The trees have every vote, the totals the last of each voter."""
    signer = Signer.new("votes.example.org")
    report = await recounted(chain.deployment, signer)
    assert (report.votes, report.audit_rows) == (votes, VOTERS)
    found = await published(chain.deployment, signer, directory / "bundle")
    assert f"{CONTEST}: {VOTERS} votes; 1 seats counted again" in found["checked"]
    assert f"{CONTEST}: votes by leaves (revote)" in found["not_checked"]


async def all_vote(client: Client, db: Any) -> dict[int, list[str]]:
    """One to four votes of each voter, in an order by chance; receipts by voter, in order."""
    chance = random.Random(19)
    order = [voter for voter in range(VOTERS) for _ in range(1 + voter % 4)]
    chance.shuffle(order)
    receipts: dict[int, list[str]] = {}
    for number, voter in enumerate(order, 1):
        body = {
            "nas": f"{voter:09}",
            "code": "ABC123",
            "election_id": 5,
            "voting_method": "ranked_choice",
            "ranked_choices": chance.sample([51, 52, 53], 2),
        }
        status, answer = await client.post("/api/v1/elections/vote", body)
        assert status == 202, answer
        receipts.setdefault(voter, []).append(answer["receipt"])
        if number % 20 == 0:
            # So that watchers see states in between, and the gateway knows who has voted.
            await judged(db, number)
    await judged(db, len(order))
    return receipts


async def judged(db: Any, count: int) -> None:
    async def all_of_them() -> bool:
        query = "SELECT (SELECT count(*) FROM vote_audit) + (SELECT count(*) FROM rejected_votes)"
        return bool(await db.fetchval(query) == count)

    await until(all_of_them, f"{count} votes judged", within_s=120)


async def receipts_say_what_became(client: Client, receipts: dict[int, list[str]]) -> None:
    for voter, own in receipts.items():
        found = [await client.fate(receipt) for receipt in own]
        said = [(one["status"], one["reason"]) for one in found]
        assert said == [*[("replaced", "revoted")] * (len(own) - 1), ("counted", None)], voter


async def watched(client: Client, feed: str, seen: Counter[str]) -> None:
    """Keep the latest totals of a feed; they are never negative and never more than the voters."""
    async for found in messages(client, feed):
        seen.update({choice: votes - seen[choice] for choice, votes in found["totals"].items()})
        assert min(seen.values(), default=0) >= 0, (feed, found)
        assert seen.total() <= VOTERS, (feed, found)
        assert found["total"] == seen.total(), (feed, found)


async def messages(client: Client, feed: str) -> AsyncIterator[dict[str, Any]]:
    url = client.base + feed
    if feed.startswith("/ws/"):
        async with client.session.ws_connect(url) as socket:
            async for message in socket:
                assert message.type == aiohttp.WSMsgType.TEXT
                yield json.loads(message.data)
    else:
        forever = aiohttp.ClientTimeout(total=None)
        async with client.session.get(url, timeout=forever) as events:
            async for line in events.content:
                if line.startswith(b"data: "):
                    yield json.loads(line.removeprefix(b"data: "))
