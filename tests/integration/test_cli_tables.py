"""`scrutin tables` on a real Kafka."""

from __future__ import annotations

import asyncio
import csv
import json
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from schemas.votes import Kind
from streams.core.keys import voter_key
from streams.core.topics import changelog_topic
from streams.devstack import Stack
from streams.errors import ExitCode
from tests.harness import wipe
from tests.integration.cli_harness import PARTITIONS, FinishedCount, Vote, run_cli, vote, vote_hash

VOTERS = 2_000
ELECTION = "2026-11"
WINDOW_MS = 1_795_343_400_000


@dataclass
class Count:
    """A finished count and how to look at it."""

    env: dict[str, str]
    law: str
    other_law: str
    hashes: list[str]
    voter: str
    """Voted in the election."""
    repeated: Vote
    places: dict[bytes, tuple[int, int, int]]

    def cli(self, *arguments: str, code: int = 0) -> str:
        done = run_cli(self.env, *arguments)
        assert done.returncode == code, done.stderr
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.cli(*arguments, "--json"))

    def lines(self, *arguments: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.cli(*arguments, "--json").splitlines()]


@pytest.fixture(scope="module")
def count(stack: Stack) -> Count:
    unique = uuid.uuid4().hex[:8]
    env = {**stack.env(), "SCRUTIN_APP_ID": f"cli-{unique}"}
    law, other = f"C-{unique}", f"D-{unique}"
    hashes = [vote_hash(n, law) for n in range(VOTERS)]
    votes = [vote(h, law, choice="non") for h in hashes]
    repeated = vote(vote_hash(1, other), other)

    async def write() -> dict[bytes, tuple[int, int, int]]:
        # The topics that another module has left may have other partitions.
        await wipe(stack.env())
        async with FinishedCount(env["KAFKA_BOOTSTRAP_SERVERS"], env["SCRUTIN_APP_ID"]) as world:
            for start in range(0, VOTERS, 250):
                await world.accept(votes[start : start + 250])
            await world.accept([vote("nas+CODE", f"election:{ELECTION}", kind=Kind.CANDIDATE)])
            await world.accept([repeated])
            await world.repeat(repeated, 9_000_000, 1)
            await world.repeat(repeated, 9_000_001, 2)
            # Once more, as after a crash between the changelog and the commit.
            await world.repeat(repeated, 9_000_001, 2)
            for choice, votes_ in (("oui", 3), ("non", 4), ("oui", 7)):
                await world.window(law, choice, WINDOW_MS, votes_)
            await world.window(law, "oui", WINDOW_MS + 1000, 1)
            await world.window(other, "oui", WINDOW_MS, 9)
            return world.places

    places = asyncio.run(write())
    return Count(env, law, other, hashes, "nas+CODE", repeated, places)


def test_get_by_hash_in_any_case(count: Count) -> None:
    wanted = count.hashes[42]
    found = count.json("tables", "get", "voted", wanted.upper())
    partition, offset, index = count.places[bytes.fromhex(wanted)]
    assert found.pop("ingest_ms") > WINDOW_MS - 10**12
    assert found == {
        "found": True,
        "key": wanted,
        "contest": count.law,
        "partition": partition,
        "offset": offset,
        "index": index,
        "attempts": 0,
        "bridge": "bridge-7",
    }


def test_get_shows_the_choice_only_when_asked(count: Count) -> None:
    shown = count.cli("tables", "get", "voted", count.hashes[0])
    assert "bridge-7" in shown
    assert count.law in shown
    assert "non" not in shown.replace(count.law, "").split()
    shown = count.cli("tables", "get", "voted", count.hashes[0], "--show-choice")
    assert "non" in shown.split()


def test_get_counts_later_attempts(count: Count) -> None:
    assert count.json("tables", "get", "voted", count.repeated.hash)["attempts"] == 2


def test_get_in_an_election(count: Count) -> None:
    found = count.json("tables", "get", "voted", count.voter, "--election", ELECTION)
    key = voter_key(count.voter, f"election:{ELECTION}", Kind.CANDIDATE).hex()
    assert found["key"] == key
    # The key that scan shows finds it, too.
    assert count.json("tables", "get", "voted", key)["contest"] == f"election:{ELECTION}"


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_get_of_a_stranger_fails_clearly(count: Count, arguments: tuple[str, ...]) -> None:
    done = run_cli(count.env, "tables", "get", "voted", count.voter, *arguments)
    assert done.returncode == ExitCode.FAILED
    if arguments:
        assert json.loads(done.stdout)["found"] is False
    else:
        assert "No vote with this hash was accepted" in done.stderr
    assert count.voter not in done.stderr


def test_scan_gives_every_entry_once(count: Count) -> None:
    rows = count.lines("tables", "scan", "voted", "--limit", "0")
    found = {
        bytes.fromhex(row["key"]): (row["partition"], row["offset"], row["index"]) for row in rows
    }
    assert len(rows) == len(found)
    assert found == count.places
    attempts = {row["key"]: row["attempts"] for row in rows if row["attempts"]}
    assert attempts == {count.repeated.hash: 2}


def test_scan_of_one_contest(count: Count) -> None:
    assert len(count.lines("tables", "scan", "voted", "--law", count.other_law)) == 1
    assert len(count.lines("tables", "scan", "voted", "--election", ELECTION)) == 1
    for table in ("voted", "windows"):
        for command in (("scan", table), ("export", table, "--format", "csv")):
            told = count.cli("tables", *command, "--law", "nobody", code=ExitCode.FAILED)
            assert "nobody" not in told
    assert len(count.lines("tables", "scan", "voted", "--limit", "7")) == 7
    assert "Stopped at --limit 7" in count.cli("tables", "scan", "voted", "--limit", "7")


def test_scan_windows_shows_the_latest_value(count: Count) -> None:
    def row(choice: str, start: str, votes: int) -> dict[str, object]:
        return {"contest": count.law, "choice": choice, "window_start": start, "votes": votes}

    rows = count.lines("tables", "scan", "windows", "--law", count.law)
    assert rows == [
        row("non", "2026-11-22T10:30:00Z", 4),
        row("oui", "2026-11-22T10:30:00Z", 7),
        row("oui", "2026-11-22T10:30:01Z", 1),
    ]
    since = ("--since", "2026-11-22T10:30:01Z")
    assert count.lines("tables", "scan", "windows", "--law", count.law, *since) == rows[2:]
    assert count.lines("tables", "scan", "windows", "--law", count.law, "--limit", "1") == rows[2:]


def test_stats_count_everything(count: Count) -> None:
    stats = count.json("tables", "stats")
    assert stats["entries"] == VOTERS + 2
    assert stats["contests"] == {count.law: VOTERS, count.other_law: 1, f"election:{ELECTION}": 1}
    assert stats["duplicate_attempts"] == 2
    assert stats["repeated_voters"] == 1
    assert stats["repeated_records"] == 1
    assert stats["rejections"] == {"duplicate: already_voted": 2}
    partitions = [p for p, _, _ in count.places.values()]
    assert stats["partitions"] == {str(p): partitions.count(p) for p in range(PARTITIONS)}
    assert 44 < stats["bytes_per_entry"] < 60
    assert f"{VOTERS + 2:,}" in count.cli("tables", "stats")


def test_list_tells_both_tables(count: Count) -> None:
    voted, windows = count.json("tables", "list")
    assert voted["topic"] == changelog_topic(count.env["SCRUTIN_APP_ID"])
    assert (voted["entries"], voted["partitions"]) == (VOTERS + 2, PARTITIONS)
    assert windows["entries"] >= 4
    assert windows["records"] >= windows["entries"]


def test_export_equals_scan(count: Count, tmp_path: Path) -> None:
    rows = count.lines("tables", "scan", "voted", "--limit", "0")
    for file_format in ("csv", "jsonl", "parquet"):
        target = tmp_path / f"voted.{file_format}"
        told = count.cli("tables", "export", "voted", "-f", file_format, "-o", str(target))
        assert f"{VOTERS + 2:,} rows" in told
    assert pq.read_table(tmp_path / "voted.parquet").to_pylist() == rows
    lines = (tmp_path / "voted.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == rows
    with (tmp_path / "voted.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == [{k: str(v) for k, v in r.items()} for r in rows]


def test_export_to_standard_output(count: Count) -> None:
    told = count.cli("tables", "export", "windows", "-f", "csv", "--law", count.other_law)
    assert told == (
        "contest,choice,window_start,votes\n" + f"{count.other_law},oui,2026-11-22T10:30:00Z,9\n"
    )
    count.cli("tables", "export", "windows", "-f", "parquet", code=ExitCode.USAGE)


async def groups_and_topics(env: dict[str, str]) -> tuple[set[str], set[str]]:
    admin = AIOKafkaAdminClient(bootstrap_servers=env["KAFKA_BOOTSTRAP_SERVERS"])
    await admin.start()
    try:
        groups = {group for group, *_ in await admin.list_consumer_groups()}
        return groups, set(await admin.list_topics())
    finally:
        await admin.close()


def test_looking_leaves_no_trace(count: Count) -> None:
    groups, topics = asyncio.run(groups_and_topics(count.env))
    count.cli("tables", "stats")
    count.cli("tables", "get", "voted", count.hashes[0])
    count.cli("tables", "scan", "windows")
    other = {**count.env, "SCRUTIN_APP_ID": f"nobody-{uuid.uuid4().hex[:8]}"}
    done = run_cli(other, "tables", "list")
    assert done.returncode == ExitCode.TOPOLOGY_MISMATCH
    assert f"{other['SCRUTIN_APP_ID']}-voted-changelog" in done.stderr.replace("\n", "")
    after = asyncio.run(groups_and_topics(count.env))
    # Those of other tests may go meanwhile.
    assert not after[0] - groups
    assert not after[1] - topics
    assert changelog_topic(count.env["SCRUTIN_APP_ID"]) in after[1]


def test_a_record_that_is_not_ours_is_named(count: Count) -> None:
    app_id = f"poison-{uuid.uuid4().hex[:8]}"
    servers = count.env["KAFKA_BOOTSTRAP_SERVERS"]

    async def spoil() -> None:
        async with FinishedCount(servers, app_id) as world:
            await world.producer.send_and_wait(
                changelog_topic(app_id), b"not ours", key=b"12345678", partition=3
            )

    asyncio.run(spoil())
    done = run_cli({**count.env, "SCRUTIN_APP_ID": app_id}, "tables", "stats")
    assert done.returncode == ExitCode.POISON_RECORD
    assert "partition 3, offset 0" in done.stderr.replace("\n", " ")


def test_reading_ends_at_offsets_that_hold_no_record(count: Count) -> None:
    """A transaction's marker takes the last offset, as a compacted record leaves a hole."""
    app_id = f"marker-{uuid.uuid4().hex[:8]}"
    servers = count.env["KAFKA_BOOTSTRAP_SERVERS"]

    async def write() -> None:
        async with FinishedCount(servers, app_id) as world:
            await world.producer.stop()
            world.producer = AIOKafkaProducer(bootstrap_servers=servers, transactional_id=app_id)
            await world.producer.start()
            async with world.producer.transaction():
                await world.changelog(0, 5, accepted=[vote(vote_hash(1, "C-1"), "C-1")])

    asyncio.run(write())
    done = run_cli({**count.env, "SCRUTIN_APP_ID": app_id}, "tables", "stats", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["entries"] == 1


def test_kafka_away_is_told_at_once(count: Count) -> None:
    done = run_cli({**count.env, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9"}, "tables", "list")
    assert done.returncode == ExitCode.SERVICE_UNAVAILABLE
    assert "Kafka does not answer" in done.stderr
    assert "Traceback" not in done.stderr
