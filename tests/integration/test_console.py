"""The operators' console as a process: login, four eyes, rejected votes, trail."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from streams.console.keys import new_entry
from streams.control.issuing import issuing
from streams.core.contests import create, draft
from streams.devstack import Stack
from streams.load.programs import Program, child_environment, operators_console
from streams.settings.build import deployment_config
from streams.settings.model import Settings
from tests.harness import database
from tests.integration.sink_harness import own_database

REJECTED = """
INSERT INTO rejected_votes (vote_hash, voter_hash, citizen_id, contest, choice, status, reason,
    processed_timestamp, identity, source_partition, source_offset, source_index)
VALUES ('a hash', 'a hash', 'a citizen', '=1+1', 'oui', 'invalid', 'hash_unknown', now(), '', 0,
    generate_series(1, 101), 0)
"""


class Operator:
    """A browser of one operator."""

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self.session = session
        self.base = base
        self.csrf = ""

    async def get(self, path: str) -> tuple[int, str]:
        """A page, after which the browser can send its forms."""
        async with self.session.get(self.base + path, allow_redirects=False) as answer:
            text = await answer.text()
        if found := re.search('name="csrf" value="([^"]+)"', text):
            self.csrf = found[1]
        return answer.status, text

    async def post(self, path: str, origin: str = "", **fields: str) -> tuple[int, str]:
        """Send a form."""
        data = {"csrf": self.csrf, **fields}
        headers = {"Origin": origin or self.base}
        async with self.session.post(
            self.base + path, data=data, headers=headers, allow_redirects=False
        ) as answer:
            return answer.status, await answer.text()


@asynccontextmanager
async def browser(program: Program) -> AsyncIterator[Operator]:
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as session:
        yield Operator(session, f"http://127.0.0.1:{program.port}")


@asynccontextmanager
async def console_of(
    stack: Stack, settings: Settings, directory: Path, **more: str
) -> AsyncIterator[Program]:
    """A console with the operators ann and bob, of whom both must agree to a change."""
    env = child_environment(
        stack.env(),
        POSTGRES_DB=settings.postgres_db,
        SCRUTIN_CONSOLE_OPERATORS=",".join(new_entry(n, f"{n}'s key") for n in ("ann", "bob")),
        SCRUTIN_CONSOLE_FOUR_EYES="true",
        **more,
    )
    async with operators_console(env, directory) as program:
        await program.ready()
        yield program


async def test_two_operators_at_the_console(stack: Stack, tmp_path: Path) -> None:
    async with own_database(stack) as settings:
        db = await database(settings)
        await db.execute(REJECTED)
        await announce(settings, "console-1")
        try:
            async with (
                console_of(stack, settings, tmp_path) as program,
                browser(program) as ann,
                browser(program) as bob,
            ):
                await nobody_gets_in_without_a_key(ann)
                for operator, name in ((ann, "ann"), (bob, "bob")):
                    status, text = await operator.post("/login", name=name, key=f"{name}'s key")
                    assert (status, "Welcome" in text) == (200, True)
                await four_eyes(ann, bob)
                await rejected_votes(ann)
                status, shown = await bob.get("/trail")
                for part in ("log in", "ask to open", "confirm", "contest open", "export rejected"):
                    assert part in shown
                assert await db.fetchval("SELECT state FROM contests") == "open"
                status, _ = await bob.post("/logout")
                assert (status, (await bob.get("/contests"))[0]) == (303, 302)
        finally:
            await db.close()
        for secret in ("ann's key", "a hash", "a citizen"):
            assert secret not in program.log.read_text()


async def announce(settings: Settings, *contests: str) -> None:
    deployment = deployment_config(settings)
    async with issuing(deployment, enforced=True, actor="cli:test") as issuer, issuer.turn():
        drafts = [draft(contest) for contest in contests]
        await issuer.change_contests(lambda known, _: create(known, drafts))


async def nobody_gets_in_without_a_key(eve: Operator) -> None:
    for path in ("/", "/contests", "/trail", "/rejected", "/rejected.csv", "/contests/open"):
        status, _ = await eve.get(path)
        assert status == 302, path
    assert (await eve.get("/top.json"))[0] == 401
    assert (await eve.post("/contests/open", contest="console-1", typed="console-1"))[0] == 302
    assert (await eve.post("/login", name="ann", key="bob's key"))[0] == 403
    assert (await eve.post("/login", "http://evil.example", name="ann", key="ann's key"))[0] == 403
    for _ in range(9):
        assert (await eve.post("/login", name="mallory", key="guess"))[0] == 403
    await eve.post("/login", name="mallory", key="guess")
    assert (await eve.post("/login", name="mallory", key="guess"))[0] == 429


async def four_eyes(ann: Operator, bob: Operator) -> None:
    status, shown = await ann.get("/contests/open?contest=console-1")
    assert (status, "Open console-1 now?" in shown) == (200, True)
    asked = {"contest": "console-1", "typed": "console-1"}
    assert (await ann.post("/contests/open", contest="console-1", typed="console"))[0] == 422
    assert (await ann.post("/contests/open", csrf="forged", **asked))[0] == 403
    assert (await ann.post("/contests/open", "http://evil.example", **asked))[0] == 403
    status, shown = await ann.post("/contests/open", **asked)
    assert (status, "waits for a second operator" in shown) == (200, True)
    _, shown = await bob.get("/contests")
    found = re.search('name="request" value="([0-9]+)"', shown)
    assert found is not None
    number = found[1]
    await ann.get("/contests")
    confirm = {"request": number, "typed": "console-1"}
    assert (await ann.post("/requests/confirm", **confirm))[0] == 403
    assert (await bob.post("/requests/confirm", request=number, typed="x"))[0] == 422
    status, shown = await bob.post("/requests/confirm", **confirm)
    assert (status, "its opening is in the log" in shown) == (200, True)
    assert (await bob.post("/requests/confirm", **confirm))[0] == 409
    assert (await bob.get("/contests/open?contest=console-1"))[0] == 409


async def rejected_votes(ann: Operator) -> None:
    status, shown = await ann.get("/rejected?contest=%3D1%2B1")
    assert (status, shown.count("hash_unknown")) == (200, 100)
    older = re.search('href="(/rejected[^"]*before=[0-9]+)"', shown)
    assert older is not None
    assert (await ann.get(older[1].replace("&amp;", "&")))[1].count("hash_unknown") == 1
    status, table = await ann.get("/rejected.csv?status=invalid")
    assert (status, table.count(",'=1+1,invalid,hash_unknown,")) == (200, 101)
    for page in (shown, table):
        assert "a hash" not in page
        assert "a citizen" not in page
    async with ann.session.get(ann.base + "/top.json") as answer:
        top = await answer.json()
    assert {"votes_per_second", "latency_seconds", "waiting", "processes"} <= top.keys()
