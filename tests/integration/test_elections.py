"""Elections on the whole chain, each method equal to an independent count of what was sent."""

from __future__ import annotations

import asyncio
import csv
import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pyarrow.parquet as pq
import pytest

from streams.devstack import Stack
from streams.elections.reports.files import ReportFormat
from streams.load.programs import Program, gateway, worker
from streams.settings.load import load_settings
from tests.harness import database, until
from tests.integration.bridge_harness import BridgeHarness, scrutin, voter
from tests.integration.proof_harness import checked
from tests.slow_count import slow_runoff

VOTERS = 1500
NORTH, SOUTH = (11, 12, 13, 14), (21, 22, 23)
PRESIDENTS = (31, 32, 33)

ASSEMBLY: dict[str, list[dict[str, Any]]] = {
    "political_parties": [
        {"id": 1, "party_code": "A", "party_name": "Alpha"},
        {"id": 2, "party_code": "B", "party_name": "Beta"},
    ],
    "regions": [
        {"id": 10, "region_code": "N", "region_name": "North"},
        {"id": 20, "region_code": "S", "region_name": "South"},
    ],
    "elections": [
        {
            "id": 1,
            "election_code": "A-2026",
            "election_name": "Assembly",
            "voting_method": "ranked_choice",
            "start_datetime": "2020-01-01T00:00:00Z",
        },
    ],
    "candidates": [
        {
            "id": number,
            "election_id": 1,
            "region_id": 10 if number in NORTH else 20,
            "party_id": 1 + number % 2,
            "first_name": "Candidate",
            "last_name": str(number),
        }
        for number in (*NORTH, *SOUTH)
    ],
}

Ballot = dict[str, object]
PATIENTLY = ("--wait", "120")
"""A command takes longer to hold where much else runs."""


def ballots() -> Iterator[tuple[int, tuple[int, ...], Ballot]]:
    """Voter, ranking and message; every tenth voter comes again with another one."""
    rng = random.Random(3)
    for number in range(VOTERS):
        region, standing = (10, NORTH) if number % 3 else (20, SOUTH)
        for _ in range(2 if number % 10 == 0 else 1):
            # Weighted, so that several rounds are needed.
            order = sorted(standing, key=lambda c: rng.random() * (5 + c % 3))
            ranking = tuple(order[: rng.randint(1, len(standing))])
            yield (
                number,
                ranking,
                {
                    "voter_hash": voter(number),
                    "election_id": 1,
                    "region_id": region,
                    "voting_method": "ranked_choice",
                    "candidate_id": ranking[0],
                    "ranked_choices": marked(rng, ranking, standing),
                },
            )


def marked(rng: random.Random, ranking: tuple[int, ...], standing: tuple[int, ...]) -> list[Any]:
    """The ranking with marks that the election's rules pass over."""
    marks: list[Any] = list(ranking)
    if rng.random() < 0.3:
        extra = rng.choice([None, ranking[0], list(rng.sample(standing, 2))])
        marks.insert(rng.randint(1, len(marks)), extra)
    return marks


BAD = (
    # voter, what differs, status, reason
    (9001, {"region_id": 20, "ranked_choices": [11, 12]}, "invalid", "other_region"),
    (9002, {"ranked_choices": [11, 21]}, "invalid", "other_region"),
    (9003, {"ranked_choices": [11, 99]}, "invalid", "choice_not_allowed"),
    (9004, {"ranked_choices": ["11>12"]}, "malformed", "bad_ranking"),
    (9005, {"election_id": 3, "ranked_choices": [11]}, "invalid", "unknown_contest"),
)


async def run(world: BridgeHarness, *arguments: str) -> Any:
    done = await asyncio.to_thread(scrutin, world.env, *arguments, "--json", timeout_s=180)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


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


async def import_both(world: BridgeHarness, db: Any, directory: Path) -> None:
    file = directory / "assembly.json"
    file.write_text(json.dumps(ASSEMBLY))
    drafted = await run(world, "election", "import", str(file), *PATIENTLY)
    assert (drafted["contest_id"], len(drafted["choices"])) == ("election:1", 7)
    # Once more changes nothing; then a folder of CSV files, with candidates of all regions.
    again = await run(world, "election", "import", str(file), *PATIENTLY)
    assert again["changed"] is False
    folder = directory / "president"
    folder.mkdir()
    tables: dict[str, list[dict[str, object]]] = {
        "elections": [{"id": 2, "election_name": "President", "voting_method": "single_choice"}],
        "candidates": [{"id": n, "election_id": 2, "last_name": n} for n in PRESIDENTS],
    }
    for name, rows in tables.items():
        with (folder / f"{name}.csv").open("w", newline="") as lines:
            table = csv.DictWriter(lines, rows[0])
            table.writeheader()
            table.writerows(rows)
    await run(world, "election", "import", str(folder), *PATIENTLY)
    await run(world, "contest", "open", "election:2", *PATIENTLY)

    async def opened() -> bool:
        query = (
            "SELECT count(*) = 4 FROM contests JOIN control_progress USING (command_id)"
            " WHERE contest_id = 'election:1' AND state = 'open'"
        )
        return bool(await db.fetchval(query))

    await until(opened, "the window opens by itself", within_s=120)
    other = ASSEMBLY | {"candidates": ASSEMBLY["candidates"][:-1]}
    file.write_text(json.dumps(other))
    refused = await asyncio.to_thread(scrutin, world.env, "election", "import", str(file))
    assert "It is open already, with another list of choices" in refused.stderr
    listed = await run(world, "election", "list")
    assert [(one["regions"], one["candidates"]) for one in listed] == [(2, 7), (0, 3)]


async def judged(db: Any, count: int) -> None:
    async def all_of_them() -> bool:
        query = "SELECT (SELECT count(*) FROM vote_audit) + (SELECT count(*) FROM rejected_votes)"
        return bool(await db.fetchval(query) == count)

    await until(all_of_them, f"{count} messages judged", within_s=120)


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
