"""The pages in a real browser: create, vote, live bars in a second browser, closed with its proof;
by keyboard, in both languages, on a phone, and by the rules of accessibility."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.async_api import expect

from streams.devstack import Stack
from streams.settings.build import tally_config
from streams.settings.model import Settings
from streams.tally.commands import tally
from streams.tally.results import Result
from tests.acceptance.browser import PHONE, Window, browser_of, window
from tests.harness import redis_of
from tests.integration.gateway_harness import (
    NO_LIMITS,
    GatewayChain,
    ballot,
    client_of,
    hash_of,
)
from tests.integration.tally_harness import described_as, small_election


@pytest.mark.timeout(400)
async def test_the_pages_in_a_browser(stack: Stack, tmp_path: Path) -> None:
    settings = {**NO_LIMITS, "BATCH_TIMEOUT_SECONDS": "0.1"}
    async with GatewayChain(stack, tmp_path, settings=settings) as chain:
        redis = redis_of(chain.settings)
        await redis.sadd("valid_hashes", *(hash_of(n, "C 42") for n in range(3)))
        await redis.aclose()
        await chain.start()
        async with client_of(chain.gateways[0]) as client, browser_of() as browser:
            base = client.base
            async with (
                window(browser, base) as ann,
                window(browser, base, dark=True, locale="fr-FR", phone=True) as bob,
            ):
                await created_and_voted(ann, bob, tmp_path)
                for n, vote in enumerate(("oui", "oui", "non")):
                    assert (await client.post("/api/v1/vote", ballot(n, "C 42", vote)))[0] == 202
                await laws_and_operators(ann, bob, tmp_path)
                await encrypted_elections(ann, bob, chain.settings, tmp_path)
                end = (datetime.now(UTC) + timedelta(seconds=4)).isoformat()
                form = {
                    "title": "Soon over",
                    "creator_name": "Ann",
                    "end_time": end,
                    "options": [{"text": "Yes"}, {"text": "No"}],
                }
                _, made = await client.post("/polls/", form)
                await closed_with_proof(bob, made["id"], tmp_path)


async def created_and_voted(ann: Window, bob: Window, pictures: Path) -> None:
    await ann.open("/")
    await expect(ann.page.get_by_text("No poll yet")).to_be_visible()
    await ann.accessible()
    await ann.page.get_by_role("link", name="New poll").click()
    await ann.page.get_by_role("button", name="Create").click()
    await expect(ann.page.locator("#error-title")).to_contain_text("1 to 50")
    await ann.accessible()
    # The browser reports every answer that is an error.
    assert [error for error in ann.errors if "400" not in error] == []
    ann.errors.clear()
    await ann.page.get_by_label("Question").fill("Best fruit? <img src=x onerror=alert(1)>")
    await ann.page.get_by_label("Option 1").fill("Apple")
    await ann.page.get_by_label("Option 2").fill("<i>Pear</i>")
    await ann.page.get_by_label("Your name").fill("Ann")
    await ann.page.get_by_role("button", name="Create").click()
    await expect(ann.page.get_by_role("heading", level=1)).to_contain_text("Best fruit? <img")
    await ann.accessible()

    address = ann.page.url
    await bob.page.goto(address)
    await expect(bob.page.get_by_text("En direct")).to_be_visible()
    await bob.accessible()
    # By keyboard alone.
    await bob.page.get_by_role("radio").first.focus()
    await bob.page.keyboard.press("ArrowDown")
    await bob.page.keyboard.press("Tab")
    await bob.page.keyboard.press("Enter")
    failed = bob.page.get_by_text("Cela n")
    await expect(failed).to_be_visible()
    await bob.page.screenshot(path=pictures / "refused-phone.png", full_page=True)
    await bob.page.keyboard.type("Bob")
    # A lookup that fails says nothing about a vote that is confirmed.
    await bob.page.route(re.compile(r"/votes/[^/]+$"), lambda route: route.abort(), times=2)
    await bob.page.keyboard.press("Enter")
    await expect(bob.page.get_by_text("Votre vote est compté")).to_be_visible()
    await expect(failed).to_have_count(0)
    await receipt(bob, pictures)
    await bob.page.goto(address)
    assert [e for e in bob.errors if "400" not in e and "ERR_FAILED" not in e] == []
    bob.errors.clear()
    # The other browser sees it without a click.
    await expect(ann.page.locator(".bars li").nth(1)).to_contain_text("1 · 100%")
    await expect(ann.page.locator(".big")).to_have_text("1 vote")
    await expect(ann.page.get_by_text("last updated")).to_be_visible()
    await ann.page.screenshot(path=pictures / "poll.png", full_page=True)
    await bob.page.screenshot(path=pictures / "poll-phone.png", full_page=True)
    wide = await bob.page.evaluate("document.documentElement.scrollWidth")
    assert wide <= PHONE["width"], "the page is wider than a phone"
    await bob.open("/")
    await expect(bob.page.get_by_text("A voté")).to_be_visible()
    await bob.accessible()
    await bob.page.get_by_role("button", name="English").click()
    await expect(bob.page.get_by_role("heading", name="Polls")).to_be_visible()


def read_text(path: Path) -> str:
    return path.read_text("utf-8").strip()


async def receipt(bob: Window, pictures: Path) -> None:
    """What a voter keeps, and the outcome of the vote."""
    page = bob.page
    await expect(page.get_by_role("heading", name="Votre reçu")).to_be_visible()
    await expect(page.get_by_role("img", name=re.compile("adresse du reçu"))).to_be_visible()
    async with page.expect_download() as saved:
        await page.get_by_role("link", name="Enregistrer dans un fichier").click()
    kept = read_text(await (await saved.value).path())
    await bob.accessible()
    await page.screenshot(path=pictures / "receipt-phone.png", full_page=True)
    await page.goto(kept)
    await expect(page.get_by_role("heading", name="Ce que mon vote est devenu")).to_be_visible()
    await expect(page.get_by_text("Votre vote est compté")).to_be_visible()
    await bob.accessible()
    await bob.open("/r/nothing")
    await expect(page.get_by_text(re.compile("Ce n.est pas le reçu d.un vote"))).to_be_visible()
    await bob.leave("40[04]|ERR_FAILED|503")


async def laws_and_operators(ann: Window, bob: Window, pictures: Path) -> None:
    await ann.open("/law/C%2042")
    await expect(ann.page.get_by_text("Adopted as it stands")).to_be_visible()
    await expect(ann.page.locator(".big")).to_have_text("3 votes")
    # Its first vote may have been on its way when the page was opened.
    assert [error for error in ann.errors if "404" not in error] == []
    ann.errors.clear()
    await ann.accessible()
    await ann.open("/laws")
    await expect(ann.page.get_by_role("link", name="C 42")).to_be_visible()
    await ann.open("/operators")
    await expect(ann.page.get_by_role("heading", name="Workers")).to_be_visible()
    await ann.accessible()
    await ann.page.screenshot(path=pictures / "operators.png", full_page=True)
    await bob.open("/elections")
    await expect(bob.page.get_by_text("No election has votes yet")).to_be_visible()
    await bob.open("/p/999999")
    await expect(bob.page.get_by_text("does not exist any more")).to_be_visible()
    await bob.leave("404")


async def encrypted_elections(ann: Window, bob: Window, settings: Settings, pictures: Path) -> None:
    await bob.open("/tallies")
    await expect(bob.page.get_by_text("No encrypted election yet")).to_be_visible()
    held = small_election("Town hall", 1, cast=5)
    described = described_as("Town hall", held.voting)
    async with tally(tally_config(settings)) as asked:
        assert await asked.store.put_election(described, [])
        await asked.create("Town hall")
        await ann.open("/tallies")
        await expect(ann.page.get_by_text("Queued")).to_be_visible()
        await ann.page.get_by_role("link", name="Town hall").click()
        await expect(ann.page.get_by_role("heading", level=1)).to_contain_text("Town hall")
        await expect(ann.page.get_by_role("progressbar", name="Multiply ballots")).to_be_visible()
        await expect(ann.page.get_by_text("Live", exact=True)).to_be_visible()
        # No worker is there; the page hears of the result all the same.
        result = Result(5, 0, held.counts, {}, ["guardian-1"]).document(described)
        await asked.store.put_published("Town hall", result)
    await expect(ann.page.get_by_text("Published: 5 ballots counted")).to_be_visible()
    await ann.accessible()
    await ann.page.screenshot(path=pictures / "tally.png", full_page=True)


async def closed_with_proof(bob: Window, poll_id: int, pictures: Path) -> None:
    await bob.open(f"/p/{poll_id}")
    await expect(bob.page.get_by_role("heading", name="Proof of completeness")).to_be_visible()
    await expect(bob.page.get_by_text(re.compile("Final result")).first).to_be_visible()
    await expect(bob.page.get_by_role("button", name="Vote", exact=True)).to_have_count(0)
    await bob.accessible()
    await bob.page.screenshot(path=pictures / "closed-phone.png", full_page=True)
