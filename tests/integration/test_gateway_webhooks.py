"""Webhooks: sent until a receiver takes them, with one id and body, also after a restart."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import asyncpg
from aiohttp import web
from standardwebhooks import Webhook as Receiving

from streams.devstack import Stack
from streams.gateway.store import Store
from streams.gateway.webhooks.sender import WebhookSender
from streams.gateway.webhooks.store import WebhookStore
from streams.load.programs import Program, child_environment, webhooks
from streams.runtime.metrics import WebhookMetrics, process_registry
from streams.settings.build import deployment_config
from streams.settings.model import Settings
from tests.harness import database, metrics, until
from tests.integration.cli_harness import run_cli
from tests.integration.gateway_harness import SECRET
from tests.integration.sink_harness import own_database

CONTEST = """
INSERT INTO contests (contest_id, kind, title, state, choices, roll, command_id, number)
VALUES ($1, 'law', $1, 'draft', '{oui,non}', 'redis', 'a', 1)
"""
OPEN = "UPDATE contests SET state = 'open', number = 2 WHERE contest_id = $1"
CLOSE = """
WITH command AS (
    INSERT INTO control_commands
        (command_id, number, kind, record, partitions, enforced, issued_by, issued_at)
    VALUES ('closing', 3, 'contests', '', 1, true, 'test', now())
), closing AS (
    INSERT INTO contest_closings (command_id, contest_id) VALUES ('closing', $1)
)
UPDATE contests SET state = 'closed', number = 3, closed_by = 'closing', command_id = 'closing'
WHERE contest_id = $1
"""
PASSED = """
INSERT INTO control_progress (command_id, partition, log_id, source_offset)
VALUES ('closing', 0, 'log', 7)
"""
CORRECTED = """
WITH command AS (
    INSERT INTO control_commands
        (command_id, number, kind, record, partitions, enforced, issued_by, issued_at)
    VALUES ('fact', 4, 'contests', '', 1, true, 'test', now())
)
UPDATE contests SET number = 4, command_id = 'fact' WHERE contest_id = $1
"""
NOW = "UPDATE webhook_deliveries SET next_at = now() WHERE state = 'pending'"


@dataclass
class Receiver:
    """A server that checks and keeps what it gets."""

    key: str = ""
    answer: int = 200
    got: list[tuple[str, str, bytes]] = field(default_factory=list)
    """Id, event and body of each message."""

    async def take(self, request: web.Request) -> web.Response:
        """One message."""
        body = await request.read()
        headers = dict(request.headers)
        Receiving(self.key).verify(body, {name.lower(): v for name, v in headers.items()})
        self.got.append((headers["webhook-id"], headers["scrutin-event"], body))
        return web.Response(status=self.answer)


@asynccontextmanager
async def receiving() -> AsyncIterator[tuple[Receiver, str]]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/hook", receiver.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield receiver, f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    finally:
        await runner.cleanup()


async def sent(settings: Settings, *, inside: bool = True) -> int:
    """What one sender does that begins without memory."""
    async with Store(deployment_config(settings).postgres, "test") as store:
        own = WebhookMetrics(process_registry())
        sender = WebhookSender(store, SECRET, own, inside=inside)
        async with sender.session() as session:
            return await sender.send_due(session)


async def test_changes_arrive_signed_and_with_one_id(stack: Stack, tmp_path: Path) -> None:
    async with own_database(stack, SCRUTIN_SECRET=SECRET) as settings, receiving() as (to, url):
        db = await database(settings)
        env = {
            **stack.env(),
            "POSTGRES_DB": settings.postgres_db,
            "SCRUTIN_SECRET": SECRET,
            "SCRUTIN_WEBHOOKS_INSIDE": "true",
        }
        try:
            await db.execute(CONTEST, "old")
            await db.execute(OPEN, "old")
            hooks = WebhookStore(db)
            await hooks.add("wh_all", url, None, ["opened"])
            # Only what happens after the webhook was added is sent.
            assert await sent(settings) == 0
            assert await hooks.remove("wh_all")
            kinds = [
                part for kind in ("opened", "closed", "corrected") for part in ("--event", kind)
            ]
            to_l1 = ("webhook", "add", url, "--contest", "L1", "--event", "final")
            added = run_cli(env, *to_l1, *kinds, "--json")
            assert added.returncode == 0, added.stderr
            to.key = json.loads(added.stdout)["key"]
            await db.execute(CONTEST, "L1")
            await db.execute(OPEN, "L1")
            assert await sent(settings) == 1
            assert await sent(settings) == 0
            assert [event for _, event, _ in to.got] == ["opened"]
            assert json.loads(to.got[0][2])["phase"] == "voting"
            await a_receiver_that_fails(db, settings, to)
            await a_correction(db, settings, to)
            await a_process(child_environment(env), tmp_path, db, to)
            await a_private_address(db, settings, to)
            logged = json.loads(run_cli(env, "webhook", "log", "--json").stdout)
            assert {one["state"] for one in logged} == {"delivered", "failed"}
        finally:
            await db.close()


async def a_receiver_that_fails(db: asyncpg.Connection, settings: Settings, to: Receiver) -> None:
    """The message comes again from another sender, the same although the result has changed."""
    to.answer = 503
    await db.execute(CLOSE, "L1")
    await db.execute(PASSED)
    assert await sent(settings) == 2
    first = {message: body for message, _, body in to.got[1:]}
    assert await sent(settings) == 0, "it waits before it tries again"
    to.answer = 200
    await db.execute("INSERT INTO contest_results VALUES ('L1', 'oui', 5)")
    await db.execute(NOW)
    assert await sent(settings) == 2
    assert {message: body for message, _, body in to.got[3:]} == first
    assert sorted(event for _, event, _ in to.got[3:]) == ["closed", "final"]
    assert {json.loads(body)["phase"] for body in first.values()} == {"final"}


async def a_correction(db: asyncpg.Connection, settings: Settings, to: Receiver) -> None:
    await db.execute(CORRECTED, "L1")
    assert await sent(settings) == 1
    assert to.got[-1][1] == "corrected"
    assert await WebhookStore(db).resend(to.got[-1][0])
    assert await sent(settings) == 1
    assert to.got[-1] == to.got[-2]


async def a_private_address(db: asyncpg.Connection, settings: Settings, to: Receiver) -> None:
    """Without the setting nothing goes to this machine."""
    count = len(to.got)
    assert await WebhookStore(db).resend(to.got[-1][0])
    assert await sent(settings, inside=False) == 1
    [line] = [one for one in await WebhookStore(db).log(None, 10) if one.state == "failed"]
    assert line.answer is not None
    assert line.answer.startswith("not sent: ")
    assert len(to.got) == count


async def a_process(
    env: Mapping[str, str], folder: Path, db: asyncpg.Connection, to: Receiver
) -> None:
    """The process sends the same message, and says so where it is scraped."""
    count = len(to.got)
    async with webhooks(env, folder) as program:
        await program.ready()
        assert await WebhookStore(db).resend(to.got[-1][0])
        await until(partial(_arrived, to, count), "the message arrived")
        assert to.got[-1] == to.got[-2]
        await until(partial(_counted, program), "the attempt is counted")


async def _arrived(to: Receiver, count: int) -> bool:
    return len(to.got) > count


async def _counted(program: Program) -> bool:
    found = await metrics(program)
    return found.get('scrutin_webhook_attempts_total{state="delivered"}') == 1
