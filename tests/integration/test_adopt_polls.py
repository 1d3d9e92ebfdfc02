"""`scrutin adopt` on the databases of the replaced poll services, and what comes after it."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from streams.devstack import Stack
from streams.errors import ExitCode
from streams.settings.load import load_settings
from tests.harness import database, redis_of, until, wipe
from tests.integration.adopt_harness import KILLED, Before, Running
from tests.integration.gateway_harness import NO_LIMITS, SECRET, GatewayChain, client_of
from tests.integration.old_polls import OldPolls

LONG_OVER = datetime(2026, 11, 20, 8, 2, tzinfo=UTC)
FROM = ("adopt", "--from-database", "poll_db", "--vote-service", "vote_db")


@pytest.fixture
async def before(stack: Stack) -> AsyncIterator[Before]:
    await wipe(stack.env())
    before = Before(stack)
    before.env["SCRUTIN_SECRET"] = SECRET
    admin = await database(before.settings)
    for name in ("poll_db", "vote_db"):
        await admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await admin.execute(f"CREATE DATABASE {name}")
    yield before
    for name in ("poll_db", "vote_db"):
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()
    await wipe(stack.env())


async def fill(before: Before, old: OldPolls) -> None:
    polls = await database(load_settings({**before.env, "POSTGRES_DB": "poll_db"}))
    votes = await database(load_settings({**before.env, "POSTGRES_DB": "vote_db"}))
    await old.fill(polls, votes)
    await polls.close()
    await votes.close()
    redis = redis_of(before.settings)
    # As an earlier vote service marked them.
    await redis.sadd("poll:1:voters", "Voter 1", "Zed")
    await redis.aclose()


def old_polls() -> OldPolls:
    """Polls with each fault that the two services leave in their tables."""
    old = OldPolls()
    lunch = old.poll("Lunch", 3, end=datetime.now(UTC) + timedelta(days=30))
    over = old.poll("Colour", 2, end=LONG_OVER, active=False)
    old.poll("Nothing", 0, end=LONG_OVER, active=False)
    for n in range(300):
        old.vote(lunch, 1 + n % 3, f"Voter {n}")
        # From the 60th on after its end.
        old.vote(over, 4 + n % 2, f"Voter {n}")
        old.vote(lunch, 1, f"Voter {n}")
    # The messages of the first two were lost.
    old.vote(lunch, 2, "Lost", sent=False)
    old.vote(over, 5, "Lost", sent=False)
    # Names that differ there and not here.
    old.vote(lunch, 1, "Ann")
    old.vote(lunch, 2, "ANN")
    # Two processes took a vote of one name; the message of the second came first.
    old.vote(lunch, 3, "Eve", sent=False)
    old.vote(lunch, 2, "Eve", raced=True)
    # An option of another poll, and a poll that was deleted: messages that come again for ever.
    old.vote(lunch, 4, "Odd")
    old.vote(99, 1, "Voter 1")
    return old


@pytest.mark.timeout(400)
async def test_polls_continue_where_they_were(before: Before, stack: Stack, tmp_path: Path) -> None:
    """Killed and resumed; each row accounted for; the pages and the voters go on from there."""
    old = old_polls()
    await fill(before, old)
    code, plan = await before.run(*FROM, "--dry-run")
    assert code == ExitCode.DIFFERENT, plan
    assert {
        a["source"]: (a["rows"], a["outcomes"], a["unaccounted"]) for a in plan["accounts"]
    } == {
        "polls_poll": (3, {"announced": 2, "without_options": 1}, 0),
        "polls_option": (5, {"compared": 5}, 0),
        "polls_votelog": (603, {"counted": 603}, 0),
        "votes_votelog": (
            608,
            {"doubled_rows": 603, "counted": 2, "second_votes": 1, "uncountable": 1, "unusable": 1},
            0,
        ),
        "poll:ID:voters": (2, {"voters_with_vote": 1, "uncountable": 1}, 0),
    }
    findings = {finding["name"]: finding["count"] for finding in plan["findings"]}
    after_end = sum(at > LONG_OVER for (poll, _), (_, at) in old.counted.items() if poll == 2) + 1
    assert findings == {
        "totals_below_audit": 2,
        "doubled_rows": 603,
        "second_votes": 1,
        "unusable": 1,
        "uncountable": 2,
        "names_alike": 1,
        "votes_after_end": after_end,
    }
    assert not any(name in json.dumps(plan) for name in ("Ann", "Eve", "Zed", "Voter 1"))
    assert plan["reader_schemas"] == []

    assert (await before.run(*FROM))[0] == ExitCode.FAILED
    assert (await before.run(*FROM, "--accept-differences", **KILLED))[0] == -signal.SIGKILL
    assert await before.rows("SELECT count(*) FROM polls") == [(0,)]
    code, done = await before.run(*FROM, "--accept-differences")
    assert (code, done["finished"], done["done"]) == (0, True, plan["items"]), done
    assert await before.rows("SELECT to_regclass('scrutin_adoption.poll_votes') IS NULL") == [
        (True,)
    ]
    chain = GatewayChain(stack, tmp_path, settings={**NO_LIMITS, "SCRUTIN_ROLL": "open"})
    async with Running(stack, tmp_path, chain):
        code, done = await before.run(*FROM, "--wait", "120")
        assert (code, done["uncounted"], done["unnoted_attempts"]) == (0, 0, 0), done
        expected = Counter({f"{old.options[n]} {n}": votes for n, votes in old.totals().items()})
        expected += Counter(["1 2", "2 5"])
        counted = await before.rows(
            "SELECT substr(contest_id, 6) || ' ' || choice, votes FROM contest_results"
        )
        assert dict(counted) == expected
        code, compared = await before.run("compare", "poll_db")
        assert (code, compared["equal"]) == (ExitCode.DIFFERENT, False)
        assert {
            (row["contest"], row["choice"]): row["difference"]
            for row in compared["contests"]
            if row["difference"]
        } == {("poll:1", "2"): 1, ("poll:2", "5"): 1}
        states = await before.rows("SELECT contest_id, state, choices FROM contests ORDER BY 1")
        assert states == [
            ("poll:1", "open", ["1", "2", "3"]),
            ("poll:2", "closed", ["4", "5"]),
        ]
        times = await before.rows("SELECT timestamp FROM vote_audit")
        assert {at for (at,) in times} >= {at for _, at in old.counted.values()}

        async def final() -> bool:
            return await before.rows("SELECT contest_id, final FROM contest_finals") == [
                ("poll:2", True)
            ]

        await until(final, "the result of the poll that is over is final")
        async with client_of(chain.gateways[0]) as client:
            status, listed = await client.get("/api/polls/get-list/?full_name=Eve")
            assert status == 200
            assert [
                (p["id"], p["title"], p["has_voted"], [(o["id"], o["voted"]) for o in p["options"]])
                for p in listed["results"]
            ] == [
                (2, "Colour", False, [(4, False), (5, False)]),
                (1, "Lunch", True, [(1, False), (2, True), (3, False)]),
            ]
            shown = {
                f"{p['id']} {o['id']}": o["vote_count"]
                for p in listed["results"]
                for o in p["options"]
            }
            assert shown == expected
            status, closed = await client.get("/api/polls/2/?full_name=Lost")
            assert (status, closed["voted_option_id"], closed["state"]) == (200, 5, "closed")
            for name in ("ann", "Lost", "Odd", "Zed", "Voter 299"):
                vote = {"poll_id": 1, "option_id": 3, "voter_name": name}
                status, answer = await client.post("/api/vote/", vote)
                if status == 202:
                    # A lost vote is in no table of votes; the log knows the voter.
                    assert (await client.fate(answer["receipt"]))["status"] == "duplicate", name
                else:
                    assert status == 409, (name, answer)
            vote = {"poll_id": 1, "option_id": 3, "voter_name": "Late"}
            status, answer = await client.post("/api/vote/", vote)
            assert status == 202
            assert (await client.fate(answer["receipt"]))["status"] == "counted"
            new = {
                "title": "New",
                "description": "",
                "creator_name": "Cleo",
                "end_time": (datetime.now(UTC) + timedelta(days=1)).isoformat(),
                "options": [{"text": "a"}, {"text": "b"}],
            }
            status, created = await client.post("/api/polls/create/", new)
            assert (status, created["id"] > 3) == (201, True), created


async def test_what_is_missing_is_named(before: Before) -> None:
    """No secret, no vote service, another table in its place, a number that is in use."""
    old = OldPolls()
    poll = old.poll("Lunch", 2, end=datetime.now(UTC) + timedelta(days=30))
    old.vote(poll, 1, "Ann")
    await fill(before, old)
    code, said = await before.run(*FROM, "--dry-run", SCRUTIN_SECRET="")
    assert code == ExitCode.FAILED
    assert "SCRUTIN_SECRET" in said["error"]
    code, plan = await before.run("adopt", "--from-database", "poll_db", "--dry-run")
    assert code == ExitCode.DIFFERENT
    assert "vote_service_not_read" in {finding["name"] for finding in plan["findings"]}
    code, said = await before.run(
        *("adopt", "--from-database", "poll_db", "--vote-service", "postgres", "--dry-run")
    )
    assert code == ExitCode.FAILED
    assert "votes_votelog" in said["error"]
    code, said = await before.run("adopt", "--from-database", "vote_db", "--dry-run")
    assert code == ExitCode.FAILED
    assert "polls_poll" in said["error"]
    assert (await before.run("migrate"))[0] == 0
    await before.rows(
        "INSERT INTO polls (id, title, description, creator_name, who, edit_token_sha256)"
        " VALUES (1, 'Ours', '', 'Cleo', 'name', '')"
    )
    for arguments in (*FROM, "--dry-run"), FROM:
        code, said = await before.run(*arguments)
        assert code == ExitCode.FAILED
        assert "Scrutin has 1 polls with numbers of the old ones" in said["error"]
    # Nothing was begun.
    assert await before.rows("SELECT to_regclass('scrutin_adoption.poll_cards')") == [(None,)]
    assert await before.rows("SELECT title FROM polls") == [("Ours",)]
    await before.rows("UPDATE polls SET id = 7")
    code, plan = await before.run(*FROM, "--dry-run")
    assert code == ExitCode.DIFFERENT
    assert {a["source"]: a["outcomes"] for a in plan["accounts"]}["polls_poll"] == {"announced": 1}
