"""An election whose results are hidden until it is over, with lots, a death and a quorum."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp

from streams.load.programs import Program
from tests.harness import until
from tests.integration.bridge_harness import BridgeHarness, scrutin, voter
from tests.integration.election_harness import (
    PATIENTLY,
    run,
)

MAYOR: dict[str, list[dict[str, Any]]] = {
    "elections": [
        {
            "id": 3,
            "election_name": "Mayor",
            "voting_method": "ranked_choice",
            "rules": {
                "hidden": True,
                "lots_by_hand": True,
                "turnout_quorum": "50%",
                "overvote": "exhaust_immediately",
            },
        }
    ],
    "candidates": [{"id": n, "election_id": 3, "last_name": f"M{n}"} for n in (41, 42, 43, 44)],
}
MAYOR_BALLOTS: tuple[tuple[int, list[Any]], ...] = (
    (4, [41]),
    (3, [42]),
    (1, [43]),
    # Of the candidate who dies.
    (2, [44, 43]),
    (2, []),
    # An over-vote of which the scanner's file does not name the candidates.
    (1, ["=", 42]),
)


async def hidden_until_the_end(
    world: BridgeHarness, web: Program, counter: Program, db: Any, directory: Path
) -> None:
    file, seed = directory / "mayor.json", directory / "seed.txt"
    file.write_text(json.dumps(MAYOR))
    await run(world, "election", "import", str(file), *PATIENTLY)
    await run(world, "contest", "open", "election:3", *PATIENTLY)
    before = await db.fetchval("SELECT count(*) FROM vote_audit")
    numbers = iter(range(9300, 9400))
    world.publish(
        {"voter_hash": voter(next(numbers)), "election_id": 3, "ranked_choices": marks}
        for times, marks in MAYOR_BALLOTS
        for _ in range(times)
    )
    await run(world, "election", "withdraw", "3", "44", "--reason", "dead", "--yes", *PATIENTLY)
    await run(world, "election", "eligible", "3", "20", *PATIENTLY)
    await run(world, "election", "seed", "commit", "3", "--file", str(seed), *PATIENTLY)

    async def taken() -> bool:
        return bool(await db.fetchval("SELECT count(*) FROM vote_audit") == before + 13)

    await until(taken, "all ballots are taken", within_s=120)
    await nothing_is_shown(world, web, counter)
    await run(world, "contest", "close", "election:3", "--yes", *PATIENTLY)
    await run(world, "election", "seed", "reveal", "3", "--file", str(seed), *PATIENTLY)
    [seat] = (await run(world, "election", "count", "3"))["seats"]
    assert (seat["outcome"], seat["lot_between"], seat["elected"]) == ("lot_needed", [42, 43], None)
    lot = ("lot", "3", "42", "43", "--eliminates", "43", "--yes")
    await run(world, "election", *lot, *PATIENTLY)
    counted = await run(world, "election", "count", "3")
    [seat] = counted["seats"]
    assert (seat["outcome"], seat["elected"], seat["blank"]) == ("elected", 41, 2)
    assert [each["withdrawn"] for each in seat["candidates"]] == [None, None, None, "dead"]
    assert [one["votes"] for one in seat["rounds"]] == [
        {"41": 4, "42": 3, "43": 3},
        {"41": 4, "42": 3},
    ]
    assert seat["rounds"][0]["inactive"] == {"blank": 2, "overvote": 1}
    assert counted["turnout"]["quorum_reached"] is True
    stored = "SELECT outcome, lot_between FROM election_counts WHERE election_id = 3"
    assert tuple(await db.fetchrow(stored)) == ("elected", [])
    text = await asyncio.to_thread(scrutin, world.env, "results", "3")
    assert "elected: M41" in text.stdout
    assert "M44: dead" in text.stdout
    assert f"seed of the lots: {seed.read_text().strip()[:20]}" in text.stdout
    shown = await run(world, "contest", "show", "election:3")
    assert shown["conduct"]["withdrawn"] == [{"choice": "44", "reason": "dead"}]
    text = await asyncio.to_thread(scrutin, world.env, "contest", "show", "election:3")
    assert "of 42, 43: 43 eliminated" in text.stdout


async def nothing_is_shown(world: BridgeHarness, web: Program, counter: Program) -> None:
    """At every door only the number of ballots."""
    base = f"http://127.0.0.1:{web.port}"
    found: dict[str, Any] = {}
    async with aiohttp.ClientSession() as client:
        for path in (
            "/results/election:3",
            "/results/election:3/timeline",
            "/api/v1/elections/3/results",
            "/api/v1/elections/3/regions/10/results",
        ):
            async with client.get(base + path) as answer:
                found[path] = await answer.json()
        async with client.ws_connect(f"{base}/ws/elections/3/") as socket:
            first = await socket.receive_json(timeout=60)
            while first["type"] != "snapshot":
                first = await socket.receive_json(timeout=60)
            found["socket"] = first
        async with client.get(f"http://127.0.0.1:{counter.port}/metrics") as answer:
            metrics = await answer.text()
    assert found["/results/election:3"]["choices"] == {"": 13}
    points = found["/results/election:3/timeline"]["points"]
    assert {name for point in points for name in point["votes"]} == {""}
    region = found["/api/v1/elections/3/regions/10/results"]
    assert (region["hidden"], region["total_votes"], region["rounds"]) == (True, 0, [])
    result = found["/api/v1/elections/3/results"]
    assert (result["hidden"], result["turnout"]["ballots"]) == (True, 13)
    assert result["turnout"]["abstentions"] == 7
    assert {(seat["outcome"], len(seat["rounds"])) for seat in result["seats"]} == {("hidden", 0)}
    assert found["socket"]["totals"] == {"": 13}
    assert 'law_id="election:3"' in metrics
    for name in (41, 42, 43, 44):
        assert f'choice="{name}",law_id="election:3"' not in metrics
    shown = await run(world, "results", "3")
    assert shown["choices"] == {"": 13}
    refused = await asyncio.to_thread(scrutin, world.env, "election", "count", "3")
    assert "before its closing is final" in refused.stderr
