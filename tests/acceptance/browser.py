"""A real browser for the tests of the pages."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright, expect

from streams.devstack.packages import which

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 60_000
PHONE = {"width": 390, "height": 844}


@asynccontextmanager
async def browser_of() -> AsyncIterator[Browser]:
    chromium = which("chromium")
    assert chromium is not None
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=str(chromium), args=ARGUMENTS)
        yield browser
        await browser.close()


class Window:
    """A page in a browser of its own, whose errors are collected."""

    def __init__(self, page: Page, base: str) -> None:
        self.page = page
        self.base = base
        self.errors: list[str] = []
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._said)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(f"{message.text}: {message.location.get('url', '')}")

    async def open(self, path: str) -> None:
        await self.page.goto(self.base + path)

    async def leave(self, expected: str) -> None:
        """Leave the page, and fail on an error that the pattern does not match.

        The report of an answer may come after the text that the page makes of it, and none comes
        after the page is left.
        """
        await self.page.goto("about:blank")
        assert [error for error in self.errors if not re.search(expected, error)] == []
        self.errors.clear()

    async def accessible(self, within: str | None = None) -> None:
        """Fail on anything that the rules of WCAG 2 A and AA find.

        Args:
            within: a part of the page; None: all of it.
        """
        results = await Axe().run(
            self.page, within, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
        )
        assert results.violations_count == 0, results.generate_report()


@asynccontextmanager
async def window(
    browser: Browser, base: str, *, dark: bool = False, locale: str = "en-GB", phone: bool = False
) -> AsyncIterator[Window]:
    context = await browser.new_context(
        locale=locale,
        color_scheme="dark" if dark else "light",
        viewport=PHONE if phone else {"width": 1100, "height": 900},
    )
    context.set_default_timeout(PATIENCE_MS)
    made = Window(await context.new_page(), base)
    yield made
    await context.close()
    assert made.errors == [], made.errors


expect.set_options(timeout=PATIENCE_MS)
