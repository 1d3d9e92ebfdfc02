"""An assembly and a president on the whole chain: definitions, ballots, and commands."""

from __future__ import annotations

import asyncio
import csv
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.harness import until
from tests.integration.bridge_harness import BridgeHarness, scrutin, voter

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
