"""Elections on the whole chain, each method equal to an independent count of what was sent."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pyarrow.parquet as pq
import pytest

from streams.devstack import Stack
from streams.load.programs import Program, gateway, worker
from streams.settings.load import load_settings
from tests.harness import database, until
from tests.integration.bridge_harness import BridgeHarness, scrutin, voter
from tests.integration.election_harness import (
    BAD,
    PATIENTLY,
    VOTERS,
    ballots,
    import_both,
    run,
)
from tests.integration.election_hidden import hidden_until_the_end
from tests.integration.election_seats import party_lists, several_seats
from tests.integration.election_votes import (
    HTTP_BALLOT,
    ballots_of_a_file,
    blank_ballot,
    over_http,
    ranked_equals_the_independent_count,
    single_choice_by_default_election,
)
from tests.integration.proof_harness import checked


@pytest.mark.timeout(600)
async def test_elections_of_both_methods(stack: Stack, tmp_path: Path) -> None:
    async with BridgeHarness(stack, tmp_path) as world:
        world.env |= {
            "SCRUTIN_ENFORCE_CONTESTS": "true",
            "SCRUTIN_ROLL": "open",
            "SCRUTIN_DEFAULT_ELECTION": "2",
            "SCRUTIN_SECRET": "not a secret, since all of it is a test",
        }
        counter = worker(world.env, tmp_path, "worker")
        web = gateway(world.env, tmp_path)
        db = await database(load_settings(stack.env()))
        try:
            async with world.bridge() as bridge, counter, web:
                await asyncio.gather(*(p.ready(within_s=120) for p in (bridge, counter, web)))
                await import_both(world, db, tmp_path)
                sent = list(ballots())
                world.publish(body for *_, body in sent)
                world.publish(
                    {"voter_hash": voter(n), "election_id": 1} | more for n, more, *_ in BAD
                )
                await ranked_equals_the_independent_count(world, db, sent)
                await single_choice_by_default_election(world, db)
                await over_http(web, db)
                await blank_ballot(world, db)
                await ballots_of_a_file(world, db, tmp_path)
                await hidden_until_the_end(world, web, counter, db, tmp_path)
                await several_seats(world, web, db, tmp_path)
                await party_lists(world, db, tmp_path)
                await closed_and_final(world, web, db, tmp_path)
                await published_for_strangers(world, tmp_path)
        finally:
            await db.close()


async def closed_and_final(world: BridgeHarness, web: Program, db: Any, directory: Path) -> None:
    await run(world, "contest", "close", "election:1", "--yes", *PATIENTLY)
    url = f"http://127.0.0.1:{web.port}/api/v1/elections/vote"
    async with (
        aiohttp.ClientSession() as client,
        client.post(url, json=HTTP_BALLOT | {"nas": "222222222"}) as answer,
    ):
        assert answer.status == 400, await answer.text()
        assert "not open" in await answer.text()
    world.publish([{"voter_hash": voter(9100), "election_id": 1, "candidate_id": 11}])

    async def refused() -> bool:
        query = "SELECT reason FROM rejected_votes WHERE voter_hash = $1"
        return bool(await db.fetchval(query, voter(9100)) == "contest_closed")

    await until(refused, "a vote behind the window's end is rejected", within_s=120)
    counted = await run(world, "election", "count", "A-2026")
    assert (counted["final"], counted["total_votes"]) == (True, VOTERS + 7)
    assert (counted["blank"], counted["seats"][0]["blank"]) == (1, 1)
    for one in counted["seats"][0]["rounds"]:
        assert one["active"] + one["exhausted"] + 1 == counted["seats"][0]["ballots"]
    choices = "SELECT count(*) FROM vote_audit WHERE choice ~ '=|>>' OR choice ~ '([0-9]+)>.*\\1'"
    assert await db.fetchval(choices) > VOTERS // 10
    assert all(seat["elected"] and seat["leading"] is None for seat in counted["seats"])
    shown = await asyncio.to_thread(scrutin, world.env, "results", "1")
    assert "elected: Candidate" in shown.stdout
    out = str(directory / "report.json")
    await run(
        *(world, "election", "export", "1", "--format", "nist-json", "-o", out),
        *("--issuer", "Electoral Office"),
    )
    report = json.loads(await asyncio.to_thread(Path(out).read_text))
    assert (report["Status"], report["IssuerAbbreviation"]) == ("unofficial-complete", "EO")
    assert len(report["Election"][0]["Contest"]) == 2
    final = "SELECT bool_and(final) FROM election_counts WHERE election_id = 1"
    assert await db.fetchval(final) is True


async def published_for_strangers(world: BridgeHarness, directory: Path) -> None:
    """The bundle holds by the program that shares no code with the product."""

    async def typed(*words: str) -> str:
        done = await asyncio.to_thread(scrutin, world.env, "audit", *words, timeout_s=180)
        assert done.returncode == 0, done.stderr
        return done.stdout

    log_key, folder = directory / "log.key", directory / "bundle"
    public = (await typed("key", "example.org", str(log_key))).strip()
    await typed("checkpoint", "--key", str(log_key))
    words = [str(folder), "--public", "election:2", "--parquet", "--json"]
    made = json.loads(await typed("publish", *words))
    assert made["leaves"] > VOTERS
    found = await checked(folder, public)
    said = "\n".join(found["checked"])
    assert made["manifest_sha256"] in said
    assert "election:1" in said
    assert "2 seats counted again" in said
    assert any("election:4: the method" in line for line in found["not_checked"])
    rows = (folder / "leaves/0.jsonl").read_text(encoding="utf-8").splitlines()
    leaves = [json.loads(row) for row in rows]
    assert {row["contest"] for row in leaves if "opening" in row} == {"election:2"}
    assert pq.read_table(folder / "leaves/0.parquet").num_rows == len(leaves)
