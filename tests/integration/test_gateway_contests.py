"""The result of any contest over HTTP, as a table, as events and on a socket."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import asyncpg
import typer
from pyarrow import parquet
from typer.testing import CliRunner

from streams.adapters.postgres.connection import connected
from streams.adapters.postgres.statements import EMPTY_RESULTS
from streams.cli import attach
from streams.devstack import Stack
from streams.elections.contest_store import current_results
from streams.elections.overview import briefly
from streams.load.programs import child_environment, gateway
from streams.settings.load import load_settings
from tests.harness import database, until
from tests.integration.gateway_harness import NO_LIMITS, Client, client_of
from tests.integration.sink_harness import own_database
from tests.unit.elections.test_contest_result import applied, applied_by_item

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
DEFINED = """
INSERT INTO regions (id, region_code, region_name) VALUES (5, 'N', 'North'), (6, 'S', 'South');
INSERT INTO elections (id, election_code, election_name, voting_method)
VALUES (7, 'E7', 'Elections', 'single_choice');
INSERT INTO candidates (id, election_id, region_id, first_name, last_name)
VALUES (1, 7, 5, 'Ada', '=1+1'), (2, 7, 5, 'Bo', 'B'), (3, 7, 6, 'Cy', 'C');
"""
COUNTED = [("L1", "oui", 3), ("L1", "non", 1), ("election:7", "1", 4), ("election:7", "3", 2)]
PHASES = """
INSERT INTO elections (id, election_code, election_name, voting_method)
VALUES (8, 'E8', 'Ranked', 'ranked_choice');
INSERT INTO candidates (id, election_id, region_id, first_name, last_name)
VALUES (81, 8, 5, 'Di', 'D'), (82, 8, 5, 'Eve', 'E'), (83, 8, 5, 'Flo', 'F');
INSERT INTO control_commands
    (command_id, number, kind, record, partitions, enforced, issued_by, issued_at)
VALUES ('one', 3, 'contests', '', 1, true, 'test', now()),
    ('two', 4, 'contests', '', 2, true, 'test', now());
INSERT INTO contests (contest_id, kind, title, state, choices, roll, command_id, number, closed_by)
VALUES ('tie', 'law', 'Tie', 'open', '{oui,non}', 'redis', 'one', 3, NULL),
    ('election:8', 'election', 'Ranked', 'open', '{81,82,83}', 'redis', 'one', 3, NULL),
    ('final', 'law', 'Final', 'closed', '{oui,non}', 'redis', 'one', 3, 'one'),
    ('closed', 'law', 'Closed', 'closed', '{oui,non}', 'redis', 'two', 4, 'two');
INSERT INTO contest_closings (command_id, contest_id) VALUES ('one', 'final'), ('two', 'closed');
INSERT INTO control_progress (command_id, partition, log_id, source_offset)
VALUES ('one', 0, 'log', 7), ('two', 0, 'log', 9);
"""
CHANGED_MEANWHILE = {
    "UPDATE candidates SET last_name = 'Renamed' WHERE id = 3": "Cy Renamed",
    "UPDATE regions SET region_name = 'South-East' WHERE id = 6": "South-East",
    "UPDATE elections SET election_name = 'Assembly' WHERE id = 7": "Assembly",
    """INSERT INTO political_parties (id, party_code, party_name) VALUES (4, 'P', 'Party');
    UPDATE candidates SET party_id = 4 WHERE id = 3;""": '"P"',
}
OF_A_MOMENT = {"read_at", "checkpoint"}
RESULTS = typer.Typer()
attach(RESULTS, "results")
LAST = 60
COUNT = """
INSERT INTO contest_results (contest_id, choice, votes) VALUES ($1, $2, $3)
ON CONFLICT (contest_id, choice) DO UPDATE SET votes = excluded.votes, updated_at = now()
"""


async def test_one_form_for_every_contest(stack: Stack, tmp_path: Path) -> None:
    async with own_database(stack) as settings:
        env = child_environment(stack.env(), POSTGRES_DB=settings.postgres_db, **NO_LIMITS)
        db = await database(settings)
        try:
            await db.execute(DEFINED)
            await db.executemany(
                COUNT,
                [
                    ("L1", "oui", 3),
                    ("L1", "non", 1),
                    ("election:7", "1", 4),
                    ("election:7", "3", 2),
                ],
            )
            env["SCRUTIN_EMBED_ORIGINS"] = "https://news.example"
            async with gateway(env, tmp_path) as program, client_of(program) as client:
                await program.ready()
                await a_law(client)
                await refused(client, db)
                await what_others_need(client)
                await an_election(client)
                await asyncio.to_thread(examples, client.base, tmp_path)
                await the_command_says_the_same(client, env, db)
                await what_watchers_get(client, db)
        finally:
            await db.close()


async def a_law(client: Client) -> None:
    async with client.session.get(f"{client.base}/v2/contests/L1") as answer:
        found = await answer.json()
        assert (answer.status, found["phase"], found["total_votes"]) == (200, "unannounced", 4)
        assert [(one["id"], one["votes"]) for one in found["choices"]] == [("oui", 3), ("non", 1)]
        tag = answer.headers["ETag"]
    headers = {"If-None-Match": f'"other", {tag}'}
    async with client.session.get(f"{client.base}/v2/contests/L1", headers=headers) as answer:
        assert (answer.status, await answer.read(), answer.headers["ETag"]) == (304, b"", tag)
    for name in ("none", "L%00", "none.csv", "x" * 400):
        status, _ = await client.get(f"/v2/contests/{name}")
        assert status in {400, 404}
        status, _ = await client.get(f"/v2/contests/{name}/events")
        assert status in {400, 404}


async def refused(client: Client, db: asyncpg.Connection) -> None:
    """Messages that do not count are told by kind, and announced contests are listed."""
    await db.execute(
        "INSERT INTO rejected_votes (contest, status, reason, processed_timestamp, identity,"
        " source_partition, source_offset, source_index) SELECT 'L2', status, 'x', now(), '', 0,"
        " n, 0 FROM unnest(ARRAY['duplicate', 'duplicate', 'invalid']) WITH ORDINALITY"
        " AS each (status, n)"
    )
    await db.execute(
        "INSERT INTO contests (contest_id, kind, title, state, roll, command_id, number)"
        " VALUES ('L2', 'law', 'Second', 'open', 'redis', 'L2', 1)"
    )
    await db.execute(COUNT, "L2", "oui", 7)
    _, found = await client.get("/v2/contests/L2")
    assert found["not_counted"] == {"duplicate": 2, "invalid": 1, "replaced": 0}
    _, listed = await client.get("/v2/contests?kind=law")
    assert [(one["id"], one["title"], one["phase"], one["total_votes"]) for one in listed] == [
        ("L2", "Second", "voting", 7)
    ]
    assert (await client.get("/v2/contests?kind=none"))[0] == 400


async def what_others_need(client: Client) -> None:
    """HEAD, compression, the form as a schema, titles for previews, and frames where allowed."""
    url = f"{client.base}/v2/contests/L1"
    async with client.session.get(url) as got, client.session.head(url) as head:
        assert (head.status, await head.read()) == (200, b"")
        assert head.headers["ETag"] == got.headers["ETag"]
        assert json.loads(await got.read())["id"] == "L1"
    _, schema = await client.get("/schema/contest-result.json")
    assert "not_counted" in schema["$defs"]["ContestResult"]["properties"]
    async with client.session.get(f"{client.base}/law/L2") as page:
        text = await page.text()
        assert '<meta property="og:title" content="Second">' in text
        assert "7 votes; oui: leading with 100.0 %" in text
        picture = f"{client.base}/v2/contests/L2.png"
        assert f'<meta property="og:image" content="{picture}">' in text
    async with client.session.get(picture) as png:
        assert (png.headers["Content-Type"], (await png.read())[:4]) == ("image/png", b"\x89PNG")
    async with client.session.get(f"{client.base}/v2/contests/L2/timeline.svg?lang=fr") as svg:
        assert "Aucun vote pour l'instant" in unescape(await svg.text())
    _, steps = await client.get("/v2/contests/L2/timeline")
    assert (steps["contest"], steps["points"]) == ("L2", [])
    async with client.session.get(f"{client.base}/law/L2") as page:
        assert page.headers["Content-Security-Policy"].endswith("frame-ancestors 'none'")
    french = {"Accept-Language": "fr-CA, en;q=0.5"}
    async with client.session.get(f"{client.base}/law/L2", headers=french) as page:
        text = await page.text()
        assert '<html lang="fr">' in text
        assert "7 votes; oui : en tête avec 100.0 %" in text
    async with client.session.get(f"{client.base}/v2/contests/none", headers=french) as answer:
        found = await answer.json()
        assert (found["detail"], found["title"]) == ("Ce vote est inconnu.", "Not Found")
        assert answer.headers["Content-Language"] == "fr"
    async with client.session.get(f"{client.base}/embed/L2") as page:
        assert page.headers["Content-Security-Policy"].endswith(
            "frame-ancestors https://news.example"
        )


async def an_election(client: Client) -> None:
    status, found = await client.get("/v2/contests/election:7")
    assert (status, found["title"], found["total_votes"]) == (200, "Elections", 6)
    assert sum(seat["ballots"] for seat in found["seats"].values()) == 6
    for path, headers in (("election:7.csv", {}), ("election:7", {"Accept": "text/csv"})):
        url = f"{client.base}/v2/contests/{path}"
        async with client.session.get(url, headers=headers) as answer:
            assert answer.headers["Content-Type"].startswith("text/csv")
            rows = list(csv.DictReader(io.StringIO(await answer.text())))
        assert [(r["region"], r["choice_id"], r["votes"]) for r in rows] == [
            ("North", "1", "4"),
            ("North", "2", "0"),
            ("South", "3", "2"),
        ]
        assert rows[0]["name"] == "Ada =1+1"
    url = f"{client.base}/v2/contests/election:7.parquet"
    async with client.session.get(url) as answer:
        table = parquet.read_table(io.BytesIO(await answer.read()))
    assert [row["votes"] for row in table.to_pylist()] == [4, 0, 2]


def examples(base: str, folder: Path) -> None:
    """What newsrooms are shown does what it says."""
    env = {**os.environ, "GATEWAY": base, "CONTEST": "L2"}
    for _ in range(2):
        subprocess.run(
            ["sh", str(EXAMPLES / "result.sh")], cwd=folder, env=env, check=True, timeout=60
        )
    assert json.loads((folder / "result.json").read_text())["total_votes"] == 7
    assert "L2,voting,,,oui,oui,,7," in (folder / "result.csv").read_text()
    assert "7 votes" in (folder / "result.svg").read_text()
    assert (folder / "timeline.csv").read_text().startswith("contest_id,starts")
    assert "L2" in (folder / "feed.xml").read_text()
    follow = [sys.executable, str(EXAMPLES / "follow.py"), base, "L2"]
    with subprocess.Popen(follow, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        assert following.stdout.readline() == "voting: 7 votes: oui 7\n"
        following.terminate()


async def the_command_says_the_same(
    client: Client, env: dict[str, str], db: asyncpg.Connection
) -> None:
    """Of contests in every phase, and after a reset; `top` too."""
    await db.execute(PHASES)
    for contest in ("tie", "closed", "final", "election:8"):
        for choice, votes in (("oui", 2), ("non", 2 if contest == "tie" else 1)):
            ranking = {"oui": "81>82", "non": "82>83"}[choice] if ":" in contest else choice
            await db.execute(COUNT, contest, ranking, votes)
    phases = {
        "L1": "unannounced",
        "L2": "voting",
        "tie": "voting",
        "closed": "counting",
        "final": "final",
        "election:7": "unannounced",
        "election:8": "voting",
    }
    for contest, phase in phases.items():
        found = await _same_everywhere(client, env, contest)
        assert found["phase"] == phase
    async with client.session.get(f"{client.base}/law/final") as page:
        assert "3 votes; oui: most votes with 66.7 %" in await page.text()
    assert [one["tied"] for one in (await _same_everywhere(client, env, "tie"))["choices"]] == [
        True,
        True,
    ]
    async with connected(load_settings(env).postgres) as connection:
        shown = {one["id"]: one for one in briefly(await current_results(connection, 99)) or []}
    for contest in phases:
        _, found = await client.get(f"/v2/contests/{quote(contest)}")
        brief = shown[contest]
        assert {name: found[name] for name in ("phase", "total_votes", "title")} == {
            name: brief[name] for name in ("phase", "total_votes", "title")
        }
        assert [each["votes"] for each in brief["ahead"]] == [
            one["votes"]
            for one in found["choices"]
            if one["leading"] or one["elected"] or one["tied"]
        ]
    before = await db.fetch("SELECT * FROM contest_results")
    await db.execute(EMPTY_RESULTS)
    assert (await _same_everywhere(client, env, "L2"))["total_votes"] == 0
    assert (await _same_everywhere(client, env, "L2"))["not_counted"]["duplicate"] == 0
    await db.executemany(COUNT, [tuple(row)[:3] for row in before])


async def _same_everywhere(client: Client, env: dict[str, str], contest: str) -> dict[str, Any]:
    """The document of a contest, which API and command have alike."""
    typed = [contest, "--json"]
    done = await asyncio.to_thread(CliRunner(env=env).invoke, RESULTS, typed)
    assert done.exit_code == 0, done.output
    told = json.loads(done.output)["result"]

    async def served() -> bool:
        _, found = await client.get(f"/v2/contests/{quote(contest)}")
        return not {name for name in told if found[name] != told[name]} - OF_A_MOMENT

    await until(served, f"the gateway serves {contest} as the command says it")
    document: dict[str, Any] = told
    return document


async def what_watchers_get(client: Client, db: asyncpg.Connection) -> None:
    url = f"{client.base}/v2/contests/election:7"
    async with (
        client.session.get(f"{url}/events") as stream,
        client.session.ws_connect(f"{url}/socket") as socket,
        client.session.ws_connect(f"{url}/socket?patch=items", compress=15) as smaller,
    ):
        events = _events(stream)
        kind, document = await anext(events)
        first = await socket.receive_json()
        assert (kind, first["type"]) == ("result", "result")
        on_socket = first["data"]
        by_item = (await smaller.receive_json())["data"]

        async def count() -> None:
            for votes in range(3, LAST + 1):
                await db.execute(COUNT, "election:7", "3", votes)

        async def on_stream(document: Any) -> Any:
            while document["total_votes"] != 4 + LAST:
                kind, data = await anext(events)
                if kind == "patch":
                    document = applied(document, data)
                    assert "5" not in data.get("seats", {}), "nothing changed in the north"
                adds_up(document)
            return document

        async def on_a_socket(socket: Any, document: Any, apply: Any) -> Any:
            while document["total_votes"] != 4 + LAST:
                message = await socket.receive_json()
                if message["type"] == "patch":
                    document = apply(document, message["data"])
                adds_up(document)
            return document

        _, *found = await asyncio.gather(
            count(),
            on_stream(document),
            on_a_socket(socket, on_socket, applied),
            on_a_socket(smaller, by_item, applied_by_item),
        )
        for each in found:
            assert each["seats"]["6"]["choices"][0]["votes"] == LAST
        live = found[1]
        for change in CHANGED_MEANWHILE:
            await db.execute(change)
        while not all(name in json.dumps(live) for name in CHANGED_MEANWHILE.values()):
            message = await socket.receive_json()
            live = applied(live, message["data"]) if message["type"] == "patch" else live


def adds_up(document: Any) -> None:
    """In every message, also between two changes."""
    by_seat = sum(seat["ballots"] for seat in document["seats"].values())
    by_party = sum(party["votes"] for party in document["parties"])
    assert document["total_votes"] == by_seat == by_party == document["turnout"]["ballots"]


async def _events(stream: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, Any]]:
    kind = ""
    async for line in stream.content:
        name, _, value = line.decode().strip().partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            yield kind, json.loads(value)
