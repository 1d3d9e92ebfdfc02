"""The operators' console in a real browser: phone, desktop, light, dark, French and English."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.async_api import expect

from streams.devstack import Stack
from tests.acceptance.browser import Window, browser_of, window
from tests.harness import database
from tests.integration.sink_harness import own_database
from tests.integration.test_console import REJECTED, announce, console_of

ONE_WINDOW = "INSERT INTO vote_windows VALUES ('C-1', 'oui', '2026-11-29 20:00:00Z', 7)"


async def test_operators_use_the_console(stack: Stack, tmp_path: Path) -> None:
    async with own_database(stack) as settings:
        db = await database(settings)
        await db.execute(REJECTED)
        await db.execute(ONE_WINDOW)
        await db.close()
        await announce(settings, "C-1")
        async with console_of(stack, settings, tmp_path) as program, browser_of() as browser:
            base = f"http://127.0.0.1:{program.port}"
            async with (
                window(browser, base, phone=True, dark=True, locale="fr-CA") as ann,
                window(browser, base) as bob,
            ):
                await log_in(ann, "ann", ("Nom", "Clé", "Se connecter"))
                await log_in(bob, "bob", ("Name", "Key", "Log in"))
                await overview(ann, "Vue d’ensemble", "Mis à jour à")
                await overview(bob, "Overview", "Updated at")
                await four_eyes(ann, bob)
                await rejected_votes(ann, tmp_path / "rejected.csv")
                await trail(ann)
                await another_language(ann)


async def looks_well(one: Window) -> None:
    """Axe finds nothing, the page fits on the screen, and no time is broken."""
    await one.accessible()
    assert await one.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    broken = "[...document.querySelectorAll('time')].filter((t) => t.getClientRects().length > 1)"
    assert await one.page.evaluate(f"{broken}.length") == 0


async def log_in(one: Window, name: str, words: tuple[str, str, str]) -> None:
    await one.open("/contests")
    await looks_well(one)
    for label, value in zip(words, (name, f"{name}'s key"), strict=False):
        await one.page.get_by_label(label, exact=True).fill(value)
    await one.page.get_by_role("button", name=words[2]).click()
    await expect(one.page.locator("nav a")).to_have_count(4)


async def overview(one: Window, title: str, updated: str) -> None:
    await expect(one.page.locator("h1")).to_have_text(title)
    await expect(one.page.locator("#state")).to_contain_text(updated)
    await expect(one.page.locator(".plot canvas")).to_have_count(3)
    # Of one window, the axis shows a minute and not years.
    assert await one.page.evaluate("document.querySelector('#windows .u-over').clientWidth > 100")
    await looks_well(one)


async def four_eyes(ann: Window, bob: Window) -> None:
    """One asks on a phone, the other confirms; both type what they change."""
    await ann.page.get_by_role("link", name="Scrutins").click()
    await looks_well(ann)
    await ann.page.get_by_role("link", name="Ouvrir").click()
    await expect(ann.page.locator(".verdict")).to_have_text(
        "Ouvrir C-1 maintenant ? Les votes comptent dès maintenant."
    )
    await looks_well(ann)
    typed, ask = (
        ann.page.get_by_label("Saisissez C-1"),
        ann.page.get_by_role("button", name="Ouvrir"),
    )
    await typed.fill("C-2")
    await ask.click()
    await expect(ann.page.locator(".verdict").first).to_have_text(
        "Vous n’avez pas saisi C-1. Rien n’a changé."
    )
    await typed.fill("C-1")
    await ask.click()
    await expect(ann.page.locator(".verdict")).to_have_text(
        "C-1 : une deuxième personne doit confirmer."
    )
    await looks_well(ann)
    await bob.page.get_by_role("link", name="Contests").click()
    await looks_well(bob)
    await bob.page.get_by_label("Type C-1").fill("C-1")
    await bob.page.get_by_role("button", name="Confirm").click()
    await expect(bob.page.locator(".verdict")).to_have_text("C-1: its opening is in the log.")
    await expect(bob.page.locator("tbody tr").first).to_contain_text("open")
    # The other way round, and to the end.
    await bob.page.get_by_role("link", name="Close").click()
    await expect(bob.page.locator(".verdict")).to_contain_text("it cannot be reopened")
    await bob.page.get_by_label("Type C-1 to go on").fill("C-1")
    await bob.page.get_by_role("button", name="Close").click()
    await expect(bob.page.locator(".verdict")).to_have_text(
        "C-1: this waits for a second operator."
    )
    await ann.page.get_by_role("link", name="Scrutins").click()
    await ann.page.get_by_label("Saisissez C-1").fill("C-1")
    await looks_well(ann)
    await ann.page.get_by_role("button", name="Confirmer").click()
    await expect(ann.page.locator(".verdict")).to_have_text("C-1 : la clôture est dans le journal.")
    await expect(ann.page.get_by_role("link", name="Archiver")).to_be_visible()
    # A change that is not allowed any more is told in words.
    await ann.page.goto(f"{ann.base}/contests/open?contest=C-1")
    await expect(ann.page.locator(".verdict")).to_have_text("C-1 est clos.")
    await ann.leave("409|422")


async def rejected_votes(ann: Window, file: Path) -> None:
    await ann.open("/rejected")
    await expect(ann.page.locator("tbody tr")).to_have_count(100)
    await looks_well(ann)
    await ann.page.get_by_label("Statut").select_option("déjà voté")
    await ann.page.get_by_role("button", name="Afficher").click()
    await expect(ann.page.locator("main")).to_contain_text("Aucun n’a été trouvé.")
    await ann.page.get_by_label("Statut").select_option("non valable")
    await ann.page.get_by_role("button", name="Afficher").click()
    await ann.page.get_by_role("link", name="Plus anciens").click()
    await expect(ann.page.locator("tbody tr")).to_have_count(1)
    async with ann.page.expect_download() as download:
        await ann.page.get_by_role("link", name="Exporter en CSV").click()
    await (await download.value).save_as(file)
    lines = lines_of(file)
    assert (len(lines), lines[1].count("hash_unknown")) == (102, 1)


def lines_of(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines()


async def trail(ann: Window) -> None:
    await ann.page.get_by_role("link", name="Journal des actes").click()
    rows = ann.page.locator("tbody tr")
    for text in ("connexion", "demande d’ouvrir", "confirmation", "scrutin clos", "export des"):
        await expect(rows.filter(has_text=text).first).to_be_visible()
    await expect(rows.first.locator("time")).to_have_text(
        re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$")
    )
    await looks_well(ann)


async def another_language(ann: Window) -> None:
    """The operator's choice is kept, and the page stays."""
    await ann.page.get_by_role("link", name="English").click()
    await expect(ann.page.locator("h1")).to_have_text("Trail")
    await ann.page.get_by_role("link", name="Overview").click()
    await expect(ann.page.locator("#state")).to_contain_text("Updated at")
    await ann.page.get_by_role("button", name="Log out").click()
    await expect(ann.page.locator("h1")).to_have_text("Log in")
