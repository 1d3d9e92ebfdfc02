"""How soon a phone shows the first figure of a large election in Chromium, and with how many bytes.

The CPU is slowed down four times, and the network is that of a fast mobile phone. The time is that
of the page's own clock, from the navigation to the total of votes in the page.
"""

from __future__ import annotations

from statistics import median
from typing import Any, Final

from playwright.async_api import Browser

from streams.elections.definitions import Definitions, merged, read
from streams.elections.store import write_definitions
from streams.load.programs import child_environment, gateway
from tests.acceptance.browser import browser_of, window
from tests.acceptance.test_election_pages import elections
from tests.acceptance.test_results_pages import Figures
from tests.bench.figure import Figure, Found, Row, Run
from tests.harness import database
from tests.integration.gateway_harness import NO_LIMITS, SECRET
from tests.integration.sink_harness import own_database

TRIES: Final = 7
SLOWER: Final = 4
NETWORK: Final = {
    "offline": False,
    "latency": 60,
    "downloadThroughput": 9_000_000 / 8,
    "uploadThroughput": 1_500_000 / 8,
}
"""A fast mobile network: 9 Mbit/s, 60 ms."""
GOAL_S: Final = 1.5
GOAL_BYTES: Final = 150_000
PAGES: Final = {"600 regions": "/election/1", "500 candidates": "/election/2"}
_FIRST: Final = """
new Promise((done) => {
  const found = () => /\\d/.test(document.querySelector(".big")?.textContent || "");
  const look = () => { if (found()) { watch.disconnect(); done(performance.now()); } };
  const watch = new MutationObserver(look);
  watch.observe(document, { childList: true, characterData: true, subtree: true });
  look();
})
"""


async def measure(run: Run) -> Found:
    """Open each page several times, each in a browser without a cache."""
    found: Found = {"cpu_slower": SLOWER, "network": NETWORK}
    async with own_database(run.stack) as settings:
        db = await database(settings)
        env = child_environment(
            run.stack.env(),
            POSTGRES_DB=settings.postgres_db,
            SCRUTIN_SECRET=SECRET,
            **NO_LIMITS,
        )
        try:
            await write_definitions(db, merged(Definitions(), read(elections())))
            figures = Figures(db)
            for contest, choice in (("election:1", "11"), ("election:2", "10001")):
                await figures.announce(contest, "election")
                await figures.vote(contest, [(choice, None, 1)])
            async with gateway(env, run.directory) as program, browser_of() as browser:
                await program.ready()
                for name, path in PAGES.items():
                    run.say(f"{TRIES} times the page of {name}")
                    base = f"http://127.0.0.1:{program.port}"
                    found[name] = await _page(browser, base, path)
        finally:
            await db.close()
    return found


async def _page(browser: Browser, base: str, path: str) -> dict[str, Any]:
    times_s, sizes, asked, sockets = [], 0, 0, 0
    for _ in range(TRIES):
        async with window(browser, base, phone=True) as seen:
            page = seen.page
            session = await page.context.new_cdp_session(page)
            await session.send("Network.enable")
            await session.send("Network.emulateNetworkConditions", NETWORK)
            await session.send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
            got: list[tuple[str, float]] = []
            opened: list[str] = []
            session.on("Network.loadingFinished", lambda e, got=got: got.append(_size(e)))
            page.on("websocket", lambda socket, opened=opened: opened.append(socket.url))
            urls: list[str] = []
            page.on("request", lambda request, urls=urls: urls.append(request.url))
            await page.goto(base + path, wait_until="commit")
            times_s.append(await page.evaluate(_FIRST) / 1000)
            await page.wait_for_load_state("networkidle")
            sizes = max(sizes, round(sum(size for _, size in got)))
            asked = max(asked, len([url for url in urls if "/v2/contests/" in url]))
            sockets = max(sockets, len(opened))
    return {
        "first_figure_s": round(median(times_s), 3),
        "longest_s": round(max(times_s), 3),
        "bytes": sizes,
        "requests_for_results": asked,
        "sockets": sockets,
    }


def _size(event: dict[str, Any]) -> tuple[str, float]:
    return str(event["requestId"]), float(event["encodedDataLength"])


def rows(found: Found) -> list[Row]:
    """Lines for people."""
    return [
        row
        for name in PAGES
        for row in (
            Row(f"first figure, {name}", f"{found[name]['first_figure_s']:.2f} s", f"{GOAL_S} s"),
            Row(f"bytes, {name}", f"{found[name]['bytes']:,}", f"{GOAL_BYTES:,}"),
        )
    ]


FIGURE = Figure("page-first", measure, rows, usual=False)
