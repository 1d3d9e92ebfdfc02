"""Contests on the whole chain: closing under load, by time, after a crash; all shown by the log."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import pty
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from schemas.codec import decode_input, encode
from schemas.control import ContestsChanged, ContestState
from schemas.votes import VoteBatch
from streams.cli.audit.checkpoint import write_key
from streams.control.issuer import insert_command, upsert_contests
from streams.devstack import Stack
from streams.errors import ExitCode
from streams.load.programs import Program, worker
from streams.proof.checkpoints import Checkpoint
from streams.proof.notes import Signer
from streams.settings.load import load_settings
from tests.harness import database, until
from tests.integration.bridge_harness import (
    PARTITIONS,
    BridgeHarness,
    law_vote,
    scrutin,
    voter,
)
from tests.integration.proof_harness import signing
from tests.strategies import contests_changed, make_batch, make_contest, make_vote

VOTES = 12_000


async def run(world: BridgeHarness, command: str, *arguments: str) -> Any:
    """Run a `scrutin contest` command that must succeed; returns its JSON."""
    wait = () if command in {"show", "list"} else ("--wait", "90")
    if command in {"close", "archive"}:
        wait += ("--yes",)
    done = await asyncio.to_thread(
        scrutin, world.env, "contest", command, *arguments, *wait, "--json"
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def closings(world: BridgeHarness, contest: str) -> dict[int, int]:
    """Partition -> offset of the first record that closes a contest."""
    found: dict[int, int] = {}
    for record in await world.records():
        decoded = decode_input(record.value)
        if isinstance(decoded, ContestsChanged):
            for changed in decoded.contests:
                if changed.id == contest and changed.state == ContestState.CLOSED:
                    found.setdefault(record.partition, record.offset)
    return found


async def in_the_log(world: BridgeHarness, contest: str) -> tuple[Counter[str], int]:
    """Choices of a contest's voters in front of its closing, and how many votes are behind it."""
    ends = await closings(world, contest)
    before: dict[str, str] = {}
    behind = 0
    for placed in await world.log():
        item = placed.item
        if getattr(item, "contest", None) != contest:
            continue
        if placed.offset < ends[placed.partition]:
            before.setdefault(item.hash, item.choice)
        else:
            behind += 1
    return Counter(before.values()), behind


@pytest.mark.timeout(400)
async def test_contests_from_draft_to_final(stack: Stack, tmp_path: Path) -> None:
    async with BridgeHarness(stack, tmp_path) as world:
        world.env |= {"SCRUTIN_ENFORCE_CONTESTS": "true", "SCRUTIN_ROLL": "open"}
        counter = worker(world.env, tmp_path, "worker")
        db = await database(load_settings(stack.env()))
        try:
            async with world.bridge() as bridge, counter:
                await asyncio.gather(bridge.ready(), counter.ready())
                await _closing_under_load(world, db)
                await _signed_when_it_closes(world, db, tmp_path)
                await _command_left_half_written(world, db)
                # What follows knows the contests from the changelog alone.
                await counter.terminate()
                counter.start()
                await counter.ready()
                await _closed_stays_closed(world, db)
        finally:
            await db.close()


async def _closing_under_load(world: BridgeHarness, db: Any) -> None:
    for law in ("law-0", "law-1"):
        assert (await run(world, "create", law))["state"] == "draft"
        assert (await run(world, "open", law))["command"]["partitions_passed"] == PARTITIONS

    closed = threading.Event()

    def votes() -> Iterator[dict[str, object]]:
        # Every vote twice and more, as another attempt: none may slip through behind the closing.
        for n in itertools.count():
            if n >= VOTES:
                # On and on, but slowly: the closing finds votes on their way whenever it comes.
                if closed.is_set() and n % 2 == 0:
                    return
                time.sleep(0.005)
            yield law_vote(n % (VOTES // 2), law_id=f"law-{n % 2}", n=n)

    publishing = asyncio.create_task(asyncio.to_thread(lambda: world.publish(votes())))

    async def counting() -> bool:
        return bool(await db.fetchval("SELECT sum(votes) > 300 FROM contest_results"))

    try:
        await until(counting, "votes are being counted")
        shown = await run(world, "close", "law-0")
        await asyncio.to_thread(world.publish, [law_vote(10**7, law_id="law-0")])
    finally:
        closed.set()
        sent = await publishing + 1
    # What waits until every partition has passed the closing is final at once.
    assert shown["final"]["final"] is True
    ends = await closings(world, "law-0")
    assert {p["partition"]: p["offset"] for p in shown["final"]["vector"]} == ends
    assert len(ends) == PARTITIONS

    async def everything_judged() -> bool:
        query = (
            "SELECT (SELECT count(*) FROM vote_audit) + (SELECT count(*) FROM rejected_votes) = $1"
        )
        return bool(await db.fetchval(query, sent))

    await until(everything_judged, "every vote has its verdict", within_s=120)
    before, behind = await in_the_log(world, "law-0")
    assert before.total() > 0
    assert behind > 0
    row = await db.fetchrow("SELECT oui_count, non_count FROM vote_results WHERE law_id = 'law-0'")
    assert (row[0], row[1]) == (before["oui"], before["non"])
    # The result did not move after it was called final.
    assert shown["result"] == {"oui": row[0], "non": row[1]}
    late = "SELECT count(*) FROM rejected_votes WHERE reason = 'contest_closed' AND contest = $1"
    assert await db.fetchval(late, "law-0") == behind
    assert await db.fetchval(late, "law-1") == 0
    other = "SELECT total_votes FROM vote_results WHERE law_id = 'law-1'"
    assert await db.fetchval(other) == VOTES // 4
    results = json.loads(scrutin(world.env, "results", "--json").stdout)
    by_law = {law["law_id"]: law for law in results["laws"]}
    assert by_law["law-0"]["final"] == shown["final"]
    assert "final" not in by_law["law-1"]


async def _signed_when_it_closes(world: BridgeHarness, db: Any, directory: Path) -> None:
    """The closing is signed at once, not a day later, and sent wherever it was to go."""
    key_file, out = directory / "log.key", directory / "checkpoints"
    signer = write_key(key_file, Signer.new("votes.example.org"))
    async with signing(world.env, key_file, out) as posted:

        async def first() -> bool:
            return bool(posted)

        await until(first, "a checkpoint is posted")
        await _closing_by_time(world, db)

        async def signed() -> dict[int, int] | None:
            closed = Checkpoint.parse(posted[-1]).statement.closings
            return next((dict(c.offsets) for c in closed if c.contest == "law-2"), None)

        await until(signed, "the closing is signed")
        assert await signed() == await closings(world, "law-2")
    for number, note in enumerate(posted, 1):
        assert (out / f"{number}.txt").read_text(encoding="utf-8") == note
        assert Checkpoint.parse(note).signer([signer.verifier]) == signer.verifier


async def _closing_by_time(world: BridgeHarness, db: Any) -> None:
    shown = await run(world, "create", "law-2", "--opens", "2020-01-01T00:00:00Z")
    assert shown["state"] in {"draft", "open"}

    async def state(wanted: str) -> bool:
        shown = await run(world, "show", "law-2")
        command = shown["command"]
        return shown["state"] == wanted and command["partitions_passed"] == PARTITIONS

    await until(lambda: state("open"), "the contest opens by itself", within_s=90)
    await run(world, "extend", "law-2", "--by", "2s")
    await until(lambda: state("closed"), "the contest closes by itself", within_s=90)
    shown = await run(world, "show", "law-2")
    assert shown["final"]["final"] is True
    assert shown["result"] == {"oui": 0, "non": 0}
    assert len(await closings(world, "law-2")) == PARTITIONS


async def _command_left_half_written(world: BridgeHarness, db: Any) -> None:
    """Noted, in one partition of four, and its issuer is gone."""
    number = await db.fetchval("SELECT max(number) + 1 FROM control_commands")
    half = contests_changed(number, make_contest("law-9", ContestState.DRAFT))
    async with db.transaction():
        await insert_command(db, half, PARTITIONS, "gone", written_ms=None)
        await upsert_contests(db, half)
    await world.write_input(encode(half), partition=0)

    async def finished() -> bool:
        rows = await db.fetch(
            "SELECT * FROM control_progress WHERE command_id = $1", half.command_id
        )
        return len(rows) == PARTITIONS

    await until(finished, "a worker writes the command to the end")
    again = await run(world, "create", "law-9", "--title", "law-9")
    assert again["state"] == "draft"


async def _closed_stays_closed(world: BridgeHarness, db: Any) -> None:
    late = "SELECT count(*) FROM rejected_votes WHERE reason = $1 AND contest = $2"
    before = await db.fetchval(late, "contest_closed", "law-0")
    world.publish(
        [
            law_vote(10**6, law_id="law-0"),
            law_vote(10**6 + 1, law_id="law-7"),
            law_vote(10**6 + 2, law_id="law-9"),
            {"voter_hash": voter(5), "candidate_id": 3, "election_id": 8},
        ]
    )

    async def judged() -> bool:
        return (
            await db.fetchval(late, "contest_closed", "law-0") == before + 1
            and await db.fetchval(late, "unknown_contest", "law-7") == 1
            and await db.fetchval(late, "contest_not_open", "law-9") == 1
            and await db.fetchval(late, "unknown_contest", "election:8") == 1
        )

    await until(judged, "votes in contests that are not open are rejected by name")
    reasons: set[str] = set()

    async def reviewed() -> bool:
        # The bridge publishes them, whatever the worker has written.
        for _, body in await asyncio.to_thread(world.drain_queue, "votes.review"):
            reasons.add(json.loads(body)["reason"])
        return {"contest_closed", "unknown_contest", "contest_not_open"} <= reasons

    await until(reviewed, "a review for each reason")
    shown = await asyncio.to_thread(scrutin, world.env, "audit", "trail", "law-0", "--json")
    trail = json.loads(shown.stdout)
    assert [one["action"] for one in trail] == ["contest closed", "contest open", "contest draft"]
    assert all(one["actor"].startswith("cli:") and one["command"] for one in trail)
    for statement in ("UPDATE operator_actions SET actor = 'x'", "TRUNCATE operator_actions"):
        with pytest.raises(asyncpg.CheckViolationError, match="only added"):
            await db.execute(statement)


@pytest.mark.timeout(400)
async def test_a_closing_is_enforced_unless_a_setting_says_otherwise(
    stack: Stack, tmp_path: Path
) -> None:
    async with BridgeHarness(stack, tmp_path) as world:
        world.env |= {"SCRUTIN_ROLL": "open"}
        counter = worker(world.env, tmp_path, "worker")
        db = await database(load_settings(stack.env()))

        async def judged(law: str, counted: int, closed: int) -> None:
            async def look() -> bool:
                row = await db.fetchrow(
                    "SELECT (SELECT count(*) FROM vote_audit WHERE contest = $1), (SELECT count(*)"
                    " FROM rejected_votes WHERE contest = $1 AND reason = 'contest_closed')",
                    law,
                )
                return tuple(row) == (counted, closed)

            await until(look, f"{counted} counted and {closed} late in {law}", within_s=60)

        def vote(number: int, *laws: str) -> None:
            # A hash is for one law.
            world.publish(
                law_vote(10 * number + place, law_id=law) for place, law in enumerate(laws)
            )

        try:
            async with world.bridge() as bridge, counter:
                await asyncio.gather(bridge.ready(), counter.ready())
                for law in ("law-0", "law-1"):
                    assert (await run(world, "create", law))["enforced"] is True
                    await run(world, "open", law)
                vote(1, "law-0", "unknown")
                await judged("law-0", 1, 0)
                await _nothing_closes_unasked(world)
                shown = await run(world, "close", "law-0")
                assert (shown["state"], shown["final"]["final"]) == ("closed", True)
                vote(2, "law-0", "unknown")
                await judged("law-0", 1, 1)
                # Votes in a law that nobody announced count as before.
                await judged("unknown", 2, 0)
                await _forged_commands(world, db, counter)
                vote(3, "law-0")
                await judged("law-0", 1, 2)
                world.env |= {"SCRUTIN_ENFORCE_CONTESTS": "false"}
                await run(world, "create", "law-2")
                await run(world, "open", "law-2")
                shown = await run(world, "close", "law-2")
                assert (shown["state"], shown["enforced"]) == ("not_enforced", False)
                assert (shown["final"]["final"], shown["final"]["enforced"]) == (False, False)
                vote(4, "law-2")
                await judged("law-2", 1, 0)
                told = await asyncio.to_thread(scrutin, world.env, "results", "law-2")
                assert "not enforced" in told.stdout
                # A contest that was opened to be enforced stays so.
                shown = await run(world, "close", "law-1")
                assert (shown["state"], shown["final"]["final"]) == ("closed", True)
                vote(5, "law-1")
                await judged("law-1", 0, 1)
        finally:
            await db.close()


async def _nothing_closes_unasked(world: BridgeHarness) -> None:
    """Nobody is there to answer; the end of the day is said in the zone of the deployment."""
    env = {**world.env, "SCRUTIN_TIME_ZONE": "America/Toronto"}
    done = await asyncio.to_thread(
        scrutin, env, "contest", "extend", "law-0", "--until", "20991205", "--wait", "90", "--json"
    )
    shown = json.loads(done.stdout)
    assert shown["closes"] == "2099-12-05 24:00 America/Toronto"
    assert datetime.fromisoformat(shown["closes_at"]) == datetime(2099, 12, 6, 5, tzinfo=UTC)
    done = await asyncio.to_thread(scrutin, env, "contest", "close", "law-0")
    assert done.returncode == ExitCode.BAD_SETTINGS
    told = " ".join(done.stderr.split())
    assert "Close law-0 now? 1 votes are counted so far" in told
    assert "on 2099-12-05 24:00 America/Toronto" in told
    assert "Give --yes" in told
    # At a terminal the answer is asked for.
    ours, theirs = pty.openpty()
    try:
        os.write(ours, b"n\n")
        asked = await asyncio.to_thread(
            subprocess.run,
            [str(Path(sys.executable).with_name("scrutin")), "contest", "close", "law-0"],
            env={"PATH": "/usr/bin:/bin", **env},
            stdin=theirs,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert (asked.returncode, "Nothing was changed." in asked.stderr) == (1, True), asked.stderr
    assert (await run(world, "show", "law-0"))["state"] == "open"


async def _forged_commands(world: BridgeHarness, db: Any, counter: Program) -> None:
    """Rows in the table of commands do no more than the commands do, and stop nobody."""
    number = await db.fetchval("SELECT max(number) FROM control_commands")
    reopened = contests_changed(number + 1, make_contest("law-0"))
    await insert_command(db, reopened, PARTITIONS, "forger", written_ms=None)
    # The highest number there is, of a command that everybody may issue: later ones have effect.
    extended = contests_changed(2**63 - 1, make_contest("law-1", closes_ms=4_102_444_800_000))
    await insert_command(db, extended, PARTITIONS, "forger", written_ms=None)
    await db.execute(
        "INSERT INTO control_commands (command_id, number, kind, record, partitions, issued_by,"
        " issued_at) VALUES ('junk', $1, 'contests', 'junk', 1, 'forger', now()),"
        " ('votes', $2, 'contests', $3, 1, 'forger', now())",
        number + 2,
        number + 3,
        encode(make_batch(make_vote(1))),
    )

    async def ignored() -> bool:
        name = 'scrutin_ignored_commands_total{stage="validation"}'
        waiting = "SELECT count(*) FROM control_commands WHERE written_at IS NULL"
        return await world.metric(counter, name) == PARTITIONS and await db.fetchval(waiting) == 0

    await until(ignored, "the forged rows have no effect", within_s=60)
    assert (await run(world, "show", "law-0"))["state"] == "closed"
    assert (await run(world, "create", "law-9"))["state"] == "draft"


async def test_without_workers_a_command_is_noted_and_says_so(stack: Stack, tmp_path: Path) -> None:
    async with BridgeHarness(stack, tmp_path) as world:
        await asyncio.to_thread(scrutin, world.env, "migrate")
        done = await asyncio.to_thread(
            scrutin, world.env, "contest", "create", "law-1", "--wait", "0.2"
        )
        assert done.returncode == 11
        assert "only 0 of 4 partitions have passed it" in done.stderr
        records = [decode_input(r.value) for r in await world.records()]
        written = [r for r in records if isinstance(r, ContestsChanged)]
        assert len(written) == PARTITIONS
        assert len({r.command_id for r in written}) == 1
        assert not any(isinstance(r, VoteBatch) for r in records)
        assert (await run(world, "list"))[0]["command"]["partitions_passed"] == 0
        refused = await asyncio.to_thread(scrutin, world.env, "contest", "close", "law-1", "--yes")
        assert refused.returncode == 1
        assert "nothing to close" in refused.stderr
