"""Elections of several seats: a transferable vote from and to a file, and party lists."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp

from streams.elections.reports.files import ReportFormat
from streams.load.programs import Program
from tests.harness import until
from tests.integration.bridge_harness import BridgeHarness, scrutin, voter
from tests.integration.election_harness import (
    PATIENTLY,
    run,
)

COUNCIL: dict[str, list[dict[str, Any]]] = {
    "political_parties": [{"id": 1, "party_code": "A", "party_name": "Alpha"}],
    "elections": [
        {
            "id": 4,
            "election_name": "Ward 5",
            "voting_method": "ranked_choice",
            "rules": {"count_by": "stv_scottish", "seats": 2},
        }
    ],
    "candidates": [
        {"id": 50 + n, "election_id": 4, "last_name": name, "party_id": 1}
        for n, name in enumerate(("Ann", "Bob", "Cyd", "Dee"), 1)
    ],
}
COUNCIL_BALLOTS = """\
4 2
13 1 2 0
6 3 0
5 1 3 0
4 2 0
2 0
1 1 - 2=4 3 0
0
"Ann"
"Bob"
"Cyd"
"Dee"
"Ward 5"
"""


async def several_seats(world: BridgeHarness, web: Program, db: Any, directory: Path) -> None:
    """A ballot file through the log and out again, byte for byte; results alike at every door."""
    file, ward = directory / "council.json", directory / "ward5.blt"
    file.write_text(json.dumps(COUNCIL))
    ward.write_text(COUNCIL_BALLOTS)
    await run(world, "election", "import", str(file), *PATIENTLY)
    await run(world, "contest", "open", "election:4", *PATIENTLY)
    sending = ("--queue", "votes.validation")
    [sent] = await run(world, "election", "ballots", "4", str(ward), *sending)
    assert (sent["ballots"], sent["refused"]) == (31, 0)

    async def counted() -> bool:
        query = (
            "SELECT coalesce(sum(votes), 0) FROM contest_results WHERE contest_id = 'election:4'"
        )
        return bool(await db.fetchval(query) == 31)

    await until(counted, "the ballots of the ward are counted", within_s=120)
    await run(world, "contest", "close", "election:4", "--yes", *PATIENTLY)
    result = await run(world, "election", "count", "4")
    [seat] = result["seats"]
    alone = await run(world, "election", "tabulate", str(ward), "--by", "scottish")
    names = {str(one["candidate_id"]): one["name"] for one in seat["candidates"]}
    assert [names[str(number)] for number in seat["all_elected"]] == alone["elected"]
    assert [
        {names[name]: votes for name, votes in one["votes"].items()} for one in seat["rounds"]
    ] == [one["votes"] for one in alone["stages"]]
    assert [one["quota"] for one in seat["rounds"]] == [one["quota"] for one in alone["stages"]]
    stored = await db.fetch(
        "SELECT v.candidate_id, v.votes, r.quota, r.all_elected FROM election_rounds AS r"
        " JOIN election_round_votes AS v USING (election_id, region_id, round)"
        " WHERE election_id = 4 AND round = 2"
    )
    second = seat["rounds"][1]
    assert {(str(row[0]), str(row[1])) for row in stored} == set(second["votes"].items())
    assert {(str(row[2]), tuple(row[3])) for row in stored} == {
        (second["quota"], tuple(second["all_elected"]))
    }
    query = "SELECT seats, all_elected, elected FROM election_counts WHERE election_id = 4"
    assert tuple(await db.fetchrow(query)) == (2, seat["all_elected"], None)
    base = f"http://127.0.0.1:{web.port}/api/v1/elections/4/reports"
    async with aiohttp.ClientSession() as client:
        for form in ReportFormat:
            if form is ReportFormat.DICTIONARY:
                continue
            out = directory / f"out.{form}"
            await run(world, *("election", "export", "4", "--format", form, "-o", str(out)))
            async with client.get(f"{base}/{form}") as answer:
                assert answer.status == 200, await answer.text()
                assert await answer.read() == await asyncio.to_thread(out.read_bytes), form
        for path, status in (("/blt?region=9", 409), ("/nist-xml?language=%3C", 409), ("/x", 404)):
            async with client.get(base + path) as answer:
                assert answer.status == status, await answer.text()
    assert await asyncio.to_thread((directory / "out.blt").read_text) == COUNCIL_BALLOTS
    other = ("election", "compare", "4", "--with")
    same = await run(world, *other, str(directory / "out.rounds"))
    assert same["same"] is True
    # Marks that those rules would count otherwise do not occur.
    same = await run(world, "election", "compare", "4", "--with", "maine")
    assert same["same"] is True
    rules = directory / "meek.json"
    rules.write_text(json.dumps({"count_by": "stv_meek", "seats": 2}))
    differs = await asyncio.to_thread(scrutin, world.env, *other, str(rules))
    assert (differs.returncode, differs.stdout.splitlines()[0]) == (
        1,
        "all regions: round 2 differs",
    )


async def party_lists(world: BridgeHarness, db: Any, directory: Path) -> None:
    """Lists are part of the contest: a candidate's party cannot change once it is open."""
    tables: dict[str, list[dict[str, Any]]] = {
        "elections": [
            {"id": 5, "election_name": "Seats", "rules": {"count_by": "dhondt", "seats": 3}}
        ],
        "candidates": [
            {"id": 60 + n, "election_id": 5, "last_name": f"L{n}", "party_id": 1 + n // 3}
            for n in (1, 2, 3)
        ],
    }
    file = directory / "seats.json"
    file.write_text(json.dumps(tables))
    await run(world, "election", "import", str(file), *PATIENTLY)
    await run(world, "contest", "open", "election:5", *PATIENTLY)
    moved = [one | {"party_id": 2} for one in tables["candidates"]]
    file.write_text(json.dumps(tables | {"candidates": moved}))
    refused = await asyncio.to_thread(scrutin, world.env, "election", "import", str(file))
    assert "It is open already, with another conduct" in refused.stderr
    world.publish(
        {"voter_hash": voter(9400 + n), "election_id": 5, "candidate_id": 61 if n < 7 else 63}
        for n in range(10)
    )

    async def counted() -> bool:
        query = "SELECT count(*) FROM vote_audit WHERE contest = 'election:5'"
        return bool(await db.fetchval(query) == 10)

    await until(counted, "votes for lists are counted", within_s=120)
    await run(world, "contest", "close", "election:5", "--yes", *PATIENTLY)
    result = await run(world, "election", "count", "5")
    [seat] = result["seats"]
    assert [(one["party_code"], one["seats"]) for one in seat["lists"]] == [("A", 2), ("B", 1)]
    assert seat["all_elected"] == [61, 62, 63]
    lists = await db.fetchval("SELECT lists FROM election_counts WHERE election_id = 5")
    assert json.loads(lists) == seat["lists"]
