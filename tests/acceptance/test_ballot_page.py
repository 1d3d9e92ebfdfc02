"""Ballots encrypted in a real browser: one is challenged and opened, one is cast and counted."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import typer
from playwright.async_api import expect
from typer.testing import CliRunner

from streams.cli import attach
from streams.devstack import Stack
from streams.load.programs import gateway, worker
from streams.settings.build import tally_config
from streams.tally.collecting import collect
from streams.tally.commands import TallyCommands, tally
from streams.tally.crypto.ballots import BallotState
from streams.tally.helpers import Helpers
from streams.tally.work import DescribedElection
from tests.acceptance.browser import Window, browser_of, window
from tests.integration.gateway_harness import NO_LIMITS, SECRET
from tests.integration.tally_harness import TallyHarness, counts, plain_election, tally_harness
from tests.small_election import Voting, begin_election

pytestmark = pytest.mark.timeout(400)

NAME = "mayor-2026"
FILE = "challenge.json"
SETTINGS = {
    "SCRUTIN_MAX_BODY_BYTES": "524288",
    "SCRUTIN_ROLL": "open",
    "SCRUTIN_SECRET": SECRET,
    **NO_LIMITS,
}


async def test_a_browser_s_ballots_are_challenged_cast_and_counted(
    stack: Stack, tmp_path: Path
) -> None:
    held = begin_election(plain_election(NAME, 3), random.Random(8), guardians=2, quorum=1)
    async with (
        tally_harness(stack, tmp_path) as world,
        tally(tally_config(world.settings)) as asked,
    ):
        described = await world.put_election(asked, NAME, held)
        await world.seal(asked, NAME, held, 0, 1)
        votes_env = {**world.env, **SETTINGS, "SCRUTIN_STAGES": "votes"}
        web = gateway({**world.env, **SETTINGS}, tmp_path)
        world.programs += [web.start(), worker(votes_env, tmp_path, "votes").start()]
        async with world.bridge(**{**SETTINGS, "SCRUTIN_STAGES": "votes"}) as bridge:
            for program in (*world.programs, bridge):
                await program.ready()
            base = f"http://127.0.0.1:{web.port}"
            async with browser_of() as browser, window(browser, base, phone=True) as voter:
                challenged = opened(await spoil(voter, tmp_path))
                code = await cast(voter, tmp_path)
            await the_definition_opens_it(base, challenged["code"], tmp_path)
        await admitted(world, asked, described, challenged, code)
        await counted(world, asked, held)


async def spoil(voter: Window, pictures: Path) -> Path:
    """Encrypt a ballot and challenge it; returns the file with its opening."""
    page = voter.page
    await voter.open(f"/tally/{NAME}")
    await page.get_by_role("link", name="Fill in a ballot").click()
    await expect(page.get_by_text("has not been audited")).to_be_visible()
    await page.get_by_role("radio", name="candidate-1").check()
    await page.get_by_role("button", name="Encrypt").click()
    await expect(page.get_by_role("heading", name="Your tracking code")).to_be_visible()
    await voter.accessible()
    await page.screenshot(path=pictures / "tracking.png", full_page=True)
    await page.get_by_role("button", name="Challenge the ballot").click()
    await expect(page.get_by_text("will not be counted")).to_be_visible()
    await expect(page.get_by_text("This device says that it holds: candidate-1")).to_be_visible()
    await voter.accessible()
    await page.screenshot(path=pictures / "challenged.png", full_page=True)
    async with page.expect_download() as download:
        await page.get_by_role("link", name="Download the opened ballot").click()
    file = pictures / FILE
    await (await download.value).save_as(file)
    await page.get_by_role("button", name="Make a new ballot").click()
    return file


def opened(file: Path) -> dict[str, Any]:
    """The ballot of a file with an opening."""
    ballot: dict[str, Any] = json.loads(file.read_text())["ballot"]
    return ballot


async def cast(voter: Window, pictures: Path) -> str:
    """Encrypt another ballot and cast it; returns its tracking code."""
    page = voter.page
    await page.get_by_role("radio", name="candidate-2").check()
    await page.get_by_role("button", name="Encrypt").click()
    code = await page.locator("code.tracking").text_content()
    await page.get_by_label("Number (NAS)").fill("123 456 789")
    await page.get_by_label("Code", exact=True).fill("ABC123")
    await page.get_by_role("button", name="Cast the ballot").click()
    await expect(page.get_by_text("Your vote is counted.")).to_be_visible()
    await expect(page.get_by_role("button", name="Challenge the ballot")).to_have_count(0)
    await voter.accessible()
    await page.screenshot(path=pictures / "cast.png", full_page=True)
    assert code is not None
    return code.replace(" ", "")


async def the_definition_opens_it(base: str, code: str, directory: Path) -> None:
    """The verifier on another device says what the ballot holds, and that its code is right."""
    definition = directory / "definition.json"
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{base}/api/tallies/{NAME}/definition") as answer,
    ):
        definition.write_bytes(await answer.read())
    app = typer.Typer()
    attach(app, "tally")
    file = directory / FILE
    command = ["tally", "challenge", str(file), str(definition), "--code", code]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "mayor: candidate-1" in done.stdout


async def admitted(
    world: TallyHarness,
    asked: TallyCommands,
    described: DescribedElection,
    challenged: dict[str, Any],
    code: str,
) -> None:
    """The cast ballot as a vote, the challenged one as a spoiled ballot of the record."""
    async with Helpers(1) as helpers:
        outcome = await collect(asked.store, helpers, described)
    assert (outcome.admitted, outcome.refused) == (1, [])
    await world.admit(asked, described, [json.dumps(challenged).encode()])
    ballots = [
        (state, json.loads(text)["code"]) async for _, state, text in asked.store.ballots(NAME)
    ]
    assert (BallotState.CAST, code) in ballots
    assert len(ballots) == 2


async def counted(world: TallyHarness, asked: TallyCommands, held: Voting) -> None:
    """The choice of the browser's cast ballot is the result."""
    await world.worker().ready()
    await asked.create(NAME)
    await asked.decrypt_sealed(NAME)
    await asked.combine(NAME)
    await world.published(asked, NAME)
    result = await asked.store.published(NAME)
    assert result is not None
    expected = {line: int("candidate-2" in line) for line in held.election.line_names}
    assert counts(result) == expected
