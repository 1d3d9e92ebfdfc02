"""`python -m tests.tools.screenshots FOLDER`: pictures of the pages, on figures of its own.

Every page is taken on a phone and a desktop, light and dark, in French and English.
"""

from __future__ import annotations

import json
import sys
import tempfile
from itertools import product
from pathlib import Path
from typing import Any, Final

import uvloop
from playwright.async_api import expect

from streams.devstack import Stack
from streams.elections.definitions import Definitions, merged, read
from streams.elections.maps.geojson import read_map
from streams.elections.store import write_definitions, write_map
from streams.load.programs import child_environment, gateway
from tests.acceptance.browser import browser_of, window
from tests.acceptance.test_results_pages import ELECTIONS, Figures
from tests.harness import database
from tests.integration.gateway_harness import NO_LIMITS, SECRET
from tests.integration.sink_harness import own_database
from tests.unit.elections.maps.grid import Position, collection, feature

PAGES: Final = {
    "home": "/",
    "law": "/law/C-42",
    "president": "/election/1",
    "assembly-final": "/election/2",
    "mayor-ranked": "/election/3",
    "lists": "/election/6",
    "embed": "/embed/election:1",
    "new-poll": "/new",
    "not-found": "/law/none",
}
NORTH: Final[list[Position]] = [(0, 50), (2, 49.6), (4, 50.2), (4, 52), (1, 52.4), (0, 50)]
SOUTH: Final[list[Position]] = [(0, 50), (2, 49.6), (4, 50.2), (4.4, 48), (0.6, 47.8), (0, 50)]


async def fill(db: Any, figures: Figures) -> None:
    """An evening in the middle of an election."""
    await figures.announce("C-42", "law")
    await figures.vote("C-42", [("oui", None, 31), ("non", None, 24)])
    await figures.announce("election:1", "election")
    await figures.close_at("election:1", "2 hours")
    await figures.vote("election:1", [("1", 10, 21), ("2", 10, 18), ("1", 20, 11), ("2", 20, 17)])
    await figures.time_line("election:1", {"1": 16, "2": 17})
    await figures.announce("election:2", "election")
    await figures.vote("election:2", [("11", 10, 9), ("12", 10, 7), ("21", 20, 4), ("22", 20, 8)])
    await figures.close("election:2")
    shapes = collection(
        [feature([ring], {"code": code}) for code, ring in (("N", NORTH), ("S", SOUTH))]
    )
    found = read_map(json.dumps(shapes).encode(), {"N": 10, "S": 20}, "code")
    await write_map(db, "election:2", found.document)
    await figures.announce("election:3", "election")
    await figures.vote("election:3", [("31", None, 8), ("32>33", None, 6), ("33>32", None, 4)])
    await figures.announce("election:6", "election")
    await figures.vote("election:6", [("61", None, 5), ("62", None, 2), ("63", None, 3)])


async def take(stack: Stack, folder: Path, scratch: Path) -> int:
    """Take all pictures; returns how many there are."""
    taken = 0
    async with own_database(stack) as settings:
        env = child_environment(
            stack.env(), POSTGRES_DB=settings.postgres_db, SCRUTIN_SECRET=SECRET, **NO_LIMITS
        )
        db = await database(settings)
        try:
            await write_definitions(db, merged(Definitions(), read(ELECTIONS)))
            await fill(db, Figures(db))
            async with gateway(env, scratch) as program, browser_of() as browser:
                await program.ready()
                base = f"http://127.0.0.1:{program.port}"
                for phone, dark, locale in product(
                    (False, True), (False, True), ("en-GB", "fr-FR")
                ):
                    look = "-".join(
                        ("phone" if phone else "desktop", "dark" if dark else "light", locale[:2])
                    )
                    async with window(browser, base, dark=dark, locale=locale, phone=phone) as seen:
                        for name, path in PAGES.items():
                            await seen.open(path)
                            await expect(seen.page.locator("main h1")).to_be_visible()
                            await seen.page.wait_for_load_state("networkidle")
                            picture = folder / f"{name}-{look}.png"
                            await seen.page.screenshot(path=picture, full_page=True)
                            taken += 1
                        # A page that is not there is an error to the browser.
                        seen.errors.clear()
        finally:
            await db.close()
    return taken


def main(folder: Path) -> None:
    """Take all pictures on a stack of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="scrutin-pictures-") as scratch:
        stack = Stack(Path(scratch) / "stack", environ={})
        try:
            stack.up()
            taken = uvloop.run(take(stack, folder, Path(scratch)))
        finally:
            stack.down()
    print(f"{taken} pictures in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
