"""Ballots that arrive through the queue, over HTTP and in files, and what they count as."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp

from streams.load.programs import Program
from tests.harness import until
from tests.integration.bridge_harness import BridgeHarness, scrutin, voter
from tests.integration.election_harness import (
    BAD,
    NORTH,
    PRESIDENTS,
    SOUTH,
    VOTERS,
    Ballot,
    judged,
    run,
)
from tests.slow_count import slow_runoff


async def ranked_equals_the_independent_count(
    world: BridgeHarness, db: Any, sent: list[tuple[int, tuple[int, ...], Ballot]]
) -> None:
    await judged(db, len(sent) + len(BAD))
    reasons = await db.fetch(
        "SELECT voter_hash, status, reason FROM rejected_votes WHERE status <> 'duplicate'"
    )
    assert {tuple(row) for row in reasons} == {
        (None if status == "malformed" else voter(n), status, why) for n, _, status, why in BAD
    }
    reviews = Counter(json.loads(body)["status"] for _, body in world.drain_queue("votes.review"))
    assert reviews.keys() <= {"invalid", "malformed", "duplicate"}
    first = {}
    for number, ranking, _ in sent:
        first.setdefault(number, ranking)
    counted = await run(world, "election", "count", "1")
    assert (counted["total_votes"], counted["uncountable"], counted["final"]) == (
        VOTERS,
        0,
        False,
    )
    shown = (await run(world, "results", "1"))["election"]
    assert shown == counted
    for seat, standing in zip(counted["seats"], (NORTH, SOUTH), strict=True):
        names = [str(each) for each in standing]
        own = [tuple(map(str, r)) for r in first.values() if r[0] in standing]
        expected = slow_runoff(names, own, f"election:1|{seat['region_id']}|")
        assert len(expected) > 1
        rounds = seat["rounds"]
        assert [r["votes"] for r in rounds] == [r["votes"] for r in expected]
        assert [r["exhausted"] for r in rounds] == [r["exhausted"] for r in expected]
        assert [r["eliminated"] and str(r["eliminated"]) for r in rounds] == [
            r["lost"] for r in expected
        ]
        # Nobody is elected while votes come in.
        assert (seat["elected"], str(seat["leading"])) == (None, expected[-1]["won"][0])
        assert {r["elected"] for r in rounds} == {None}
        kept = await db.fetch(
            "SELECT round, candidate_id, votes FROM election_round_votes"
            " WHERE election_id = 1 AND region_id = $1",
            seat["region_id"],
        )
        assert {(r, str(c)): v for r, c, v in kept} == {
            (n, name): votes
            for n, one in enumerate(expected, 1)
            for name, votes in one["votes"].items()
        }
    [listed] = (await run(world, "results"))["contests"]
    assert (listed["contest_id"], listed["ranked"]) == ("election:1", True)
    text = await asyncio.to_thread(scrutin, world.env, "results", "A-2026")
    assert "is eliminated" in text.stdout
    assert "leading: Candidate" in text.stdout
    assert "elected:" not in text.stdout
    stored = "SELECT count(elected) FROM election_counts WHERE election_id = 1"
    assert await db.fetchval(stored) == 0


async def single_choice_by_default_election(world: BridgeHarness, db: Any) -> None:
    """Votes in the words of the validation worker, which knows of one election only."""
    before = await db.fetchval(
        "SELECT (SELECT count(*) FROM vote_audit) + (SELECT count(*) FROM rejected_votes)"
    )
    world.publish(
        {
            "voter_hash": voter(n),
            "candidate_id": PRESIDENTS[n % 7 % 3],
            "vote_timestamp": "2025-11-14T12:00:00Z",
        }
        | ({"region_id": 10} if n % 4 == 0 else {})
        for n in range(700)
    )
    # The same voter, by the election's name.
    world.publish([{"voter_hash": voter(5), "candidate_id": 31, "election_id": 2}])
    await judged(db, before + 701)
    result = (await run(world, "results", "2"))["election"]
    tally = Counter(str(PRESIDENTS[n % 7 % 3]) for n in range(700))
    [seat] = result["seats"]
    assert seat["rounds"][0]["votes"] == tally
    assert (seat["elected"], str(seat["leading"])) == (None, max(tally, key=tally.__getitem__))
    north = Counter(str(PRESIDENTS[n % 7 % 3]) for n in range(0, 700, 4))
    assert result["by_region"] == [{"region_id": 10, "region_name": "North", "votes": north}]
    standing = await db.fetch(
        "SELECT candidate_id, vote_count, created_at FROM reader_elections.election_results"
        " WHERE election_id = 2"
    )
    assert {str(row[0]): row[1] for row in standing} == tally
    # A region is a number, as in the deployed tables, so that it can be joined.
    votes = await db.fetch(
        "SELECT r.region_code, count(*), count(v.metadata)"
        " FROM reader_elections.election_votes AS v"
        " LEFT JOIN regions AS r ON r.id = v.region_id WHERE v.election_id = 2 GROUP BY 1"
    )
    assert {(row[0] is None): row[1] for row in votes} == {False: 175, True: 525}


HTTP_BALLOT: Ballot = {
    "nas": "123 456 789",
    "code": "abc123",
    "election_id": 1,
    "region_id": 10,
    "voting_method": "ranked_choice",
    "ranked_choices": [11, 12],
}


async def over_http(web: Program, db: Any) -> None:
    base = f"http://127.0.0.1:{web.port}/api/v1/elections"
    async with aiohttp.ClientSession() as client:

        async def get(path: str, status: int = 200) -> Any:
            async with client.get(base + path) as answer:
                assert answer.status == status, await answer.text()
                return await answer.json()

        assert {one["election_code"] for one in await get("")} >= {"A-2026", "2"}
        north = await get("/1/regions/10/candidates")
        assert {(c["id"], c["party_code"]) for c in north} == {
            (11, "B"),
            (12, "A"),
            (13, "B"),
            (14, "A"),
        }
        assert len(await get("/2/regions/10/candidates")) == len(PRESIDENTS)
        before = await get("/1/regions/10/results")
        national = await get("/1/results")
        [seat] = [each for each in national["seats"] if each["region_id"] == 10]
        assert before["rounds"] == seat["rounds"]
        votes = {str(c["candidate_id"]): c["votes"] for c in before["candidates"]}
        assert votes == seat["rounds"][0]["votes"]
        assert before["total_votes"] == sum(votes.values())
        await get("/9/results", 404)
        await get("/1/regions/99/results", 404)
        async with client.post(f"{base}/vote", json=HTTP_BALLOT) as answer:
            assert answer.status == 202, await answer.text()
        twice = HTTP_BALLOT | {"ranked_choices": [11, 11]}
        async with client.post(f"{base}/vote", json=twice) as answer:
            assert answer.status == 422, await answer.text()

        async def counted() -> bool:
            after = await get("/1/regions/10/results")
            return bool(after["total_votes"] == before["total_votes"] + 1)

        await until(counted, "the ranking sent over HTTP counts", within_s=120)
        async with client.post(f"{base}/vote", json=HTTP_BALLOT) as answer:
            assert answer.status == 409, await answer.text()
        choice = "SELECT choice FROM vote_audit ORDER BY id DESC LIMIT 1"
        assert await db.fetchval(choice) == "11>12"


async def blank_ballot(world: BridgeHarness, db: Any) -> None:
    blank = {"voter_hash": voter(9200), "election_id": 1, "region_id": 10, "ranked_choices": []}
    world.publish([blank])

    async def counted() -> bool:
        query = "SELECT choice FROM vote_audit WHERE voter_hash = $1"
        return bool(await db.fetchval(query, voter(9200)) == ">")

    await until(counted, "a blank ballot is counted", within_s=120)


BALLOT_FILE = """\
7 1
3 1 2 0
1 2=3 - 4 0
1 5 6 0
0
"Candidate 11"
"Candidate 12"
"Candidate 13"
"candidate  14"
"Candidate 21"
"Candidate 22"
"Candidate 23"
"Two wards"
"""


async def ballots_of_a_file(world: BridgeHarness, db: Any, directory: Path) -> None:
    """Each ballot of the file counts once, though the file is sent twice."""
    file = directory / "wards.blt"
    file.write_text(BALLOT_FILE.replace("1 5 6 0", "1 5 6"))
    refused = await asyncio.to_thread(
        scrutin, world.env, "election", "ballots", "1", str(file), "--dry-run", "--json"
    )
    [found] = json.loads(refused.stdout)
    assert (refused.returncode, found["votes_sent"]) == (1, 0)
    assert [line["row"] for line in found["refused_lines"]] == [4]
    file.write_text(BALLOT_FILE)
    for _ in range(2):
        [sent] = await run(
            world, "election", "ballots", "1", str(file), "--queue", "votes.validation"
        )
        assert (sent["lines"], sent["ballot_lines"], sent["comments"]) == (13, 3, 10)
        assert (sent["ballots"], sent["votes_sent"], sent["refused"]) == (5, 5, 0)
    world.publish([{"voter_hash": voter(9300), "election_id": 1, "candidate_id": 99}])

    async def passed() -> bool:
        query = "SELECT reason FROM rejected_votes WHERE voter_hash = $1"
        return bool(await db.fetchval(query, voter(9300)) == "choice_not_allowed")

    await until(passed, "the vote after the file is judged", within_s=120)
    query = (
        "SELECT choice, metadata -> 'source' ->> 'row', count(*) FROM vote_audit"
        " WHERE metadata -> 'source' ->> 'sha256' = $1 GROUP BY 1, 2"
    )

    async def counted() -> bool:
        rows = {tuple(row) for row in await db.fetch(query, sent["sha256"])}
        return rows == {("11>12", "2", 3), ("12=13>>14", "3", 1), ("21>22", "4", 1)}

    await until(counted, "the ballots of the file are counted once", within_s=120)
