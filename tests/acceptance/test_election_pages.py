"""Pages of large and unusual elections in a real browser, and the page that opens first."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Response, WebSocketRoute, expect

from streams.devstack import Stack
from streams.elections.definitions import Definitions, merged, read
from streams.elections.reports.drawings import ENGLISH
from streams.elections.store import write_definitions
from streams.load.programs import child_environment, gateway
from tests.acceptance.browser import Window, browser_of, window
from tests.acceptance.test_results_pages import Figures, bar
from tests.harness import database
from tests.integration.bridge_harness import scrutin
from tests.integration.gateway_harness import NO_LIMITS, SECRET
from tests.integration.sink_harness import own_database
from tests.unit.elections.maps.grid import Grid, collection, feature

REGIONS = 600
CANDIDATES = 500
MOST_BYTES = 150_000
ARABIC = "حزب الحرية"
LONG = "Marie-Antoinette " * 9


def elections() -> dict[str, list[dict[str, Any]]]:
    regions = [
        {"id": n, "region_code": f"R{n}", "region_name": f"Région {n}"}
        for n in range(1, REGIONS + 1)
    ]
    seats = [
        {"id": 10 * n + k, "election_id": 1, "region_id": n, "last_name": name, "party_id": k}
        for n in range(1, REGIONS + 1)
        for k, name in ((1, f"Roy {n}"), (2, f"Cyr {n}"))
    ]
    many = [
        {"id": 10_000 + n, "election_id": 2, "last_name": f"Candidate {n}"}
        for n in range(CANDIDATES)
    ]
    few = [
        {"id": 20_001, "election_id": 3, "last_name": ARABIC, "photo_url": "/static/icon.svg"},
        {"id": 20_002, "election_id": 3, "last_name": LONG, "photo_url": "https://a.example/b"},
    ]
    return {
        "political_parties": [
            {"id": 1, "party_code": "A", "party_name": "Ahead", "color": "#aa2233"},
            {"id": 2, "party_code": "B", "party_name": "Beyond"},
        ],
        "regions": regions,
        "elections": [
            {"id": 1, "election_name": "Assembly", "voting_method": "single_choice"},
            {"id": 2, "election_name": "Crowd", "voting_method": "single_choice"},
            {"id": 3, "election_name": "Tie", "voting_method": "single_choice"},
        ],
        "candidates": [*seats, *many, *few],
    }


def add_language(folder: Path) -> None:
    """A third language, as an operator adds one."""
    english = files("streams.gateway").joinpath("static", "language-en.js").read_text("utf-8")
    third = english.replace('name = "English"', 'name = "Esperanto"')
    third = third.replace('elections: "Elections"', 'elections: "Balotoj"')
    # The same file has the texts of the gateway.
    own = {"must have {least} to {most} characters": "havu {least} ĝis {most} signojn"}
    third += f"\nexport const server = {json.dumps(own, indent=2, ensure_ascii=False)};\n"
    pictures = {**asdict(ENGLISH), "votes": "{} voĉoj"}
    third += f"\nexport const pictures = {json.dumps(pictures, indent=2)};\n"
    folder.mkdir()
    (folder / "language-eo.js").write_text(third, encoding="utf-8")


@pytest.mark.timeout(300)
async def test_pages_of_large_elections(stack: Stack, tmp_path: Path) -> None:
    add_language(tmp_path / "words")
    async with own_database(stack) as settings:
        env = child_environment(
            stack.env(),
            POSTGRES_DB=settings.postgres_db,
            SCRUTIN_SECRET=SECRET,
            SCRUTIN_LANGUAGES_DIR=str(tmp_path / "words"),
            **NO_LIMITS,
        )
        db = await database(settings)
        try:
            await write_definitions(db, merged(Definitions(), read(elections())))
            figures = Figures(db)
            async with gateway(env, tmp_path) as program, browser_of() as browser:
                await program.ready()
                base = f"http://127.0.0.1:{program.port}"
                async with (
                    window(browser, base) as ann,
                    window(browser, base, dark=True, locale="fr-FR", phone=True) as bob,
                ):
                    await home(ann, figures, tmp_path)
                    await load_map(env, tmp_path)
                    await regions(ann, bob, figures, tmp_path)
                    await map_of_regions(ann, bob, figures, tmp_path)
                    await typed(env, "election", "map", "1", "--remove")
                    await expect(ann.page.locator(".map")).to_have_count(0)
                    await crowd(bob, figures, tmp_path)
                    await tie(ann, figures, tmp_path)
                    await languages(ann, bob)
        finally:
            await db.close()


async def home(ann: Window, figures: Figures, pictures: Path) -> None:
    """Polls, until an election is on; then that election with its countdown."""
    page = ann.page
    await ann.open("/")
    await expect(page.get_by_text("No poll yet")).to_be_visible()
    await figures.announce("election:1", "election")
    await figures.close_at("election:1", "2 hours")
    await figures.vote("election:1", [("11", 1, 2), ("12", 1, 1), ("22", 2, 2), ("6001", 600, 1)])
    await ann.open("/")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Assembly")
    await expect(page.get_by_role("timer")).to_have_text(re.compile(r"1:5\d:\d\d left"))


async def regions(ann: Window, bob: Window, figures: Figures, pictures: Path) -> None:
    """600 regions: one request, one socket, a page that is small, and a search."""
    sizes: list[int] = []
    asked: list[str] = []
    sockets: list[str] = []

    async def sized(answer: Response) -> None:
        asked.append(answer.url)
        sizes.append((await answer.request.sizes())["responseBodySize"])

    page = bob.page
    page.on("response", sized)
    page.on("websocket", lambda socket: sockets.append(socket.url))
    await bob.open("/election/1")
    await expect(page.locator("details.card")).to_have_count(REGIONS)
    await expect(page.get_by_text("La majorité est de 301 sièges sur 600")).to_be_visible()
    await expect(page.locator(".map [role=button]")).to_have_count(REGIONS - 2)
    await page.wait_for_load_state("networkidle")
    asked_of = [url.rpartition("/")[2] for url in asked if "/v2/contests/" in url]
    assert sorted(asked_of) == ["election%3A1", "map"]
    assert len(sockets) == 1
    assert 10_000 < sum(sizes) < MOST_BYTES, sorted(zip(sizes, asked, strict=True))[-5:]
    assert await page.evaluate("document.documentElement.scrollWidth") <= 390
    await page.screenshot(path=pictures / "many-regions-phone.png")
    page = ann.page
    await ann.open("/election/1")
    await expect(page.locator("details.card")).to_have_count(REGIONS)
    await expect(page.get_by_text("A majority is 301 of 600 seats")).to_be_visible()
    await expect(page.get_by_role("row", name="A · Ahead")).to_contain_text("2")
    await page.get_by_role("searchbox", name="Find a region").fill("region 59")
    await expect(page.locator("details.card:visible")).to_have_count(11)
    await expect(page.get_by_text("11 of 600 regions")).to_be_visible()
    await page.get_by_role("searchbox", name="Find a region").fill("Région 600")
    await page.locator("details.card:visible summary").click()
    await expect(bar(page.locator("details.card:visible"), "Roy 600 (A)")).to_contain_text("100%")
    await figures.vote("election:1", [("6002", 600, 3)])
    await expect(bar(page.locator("details.card:visible"), "Cyr 600 (B)")).to_contain_text("75%")
    await expect(page.locator(".big")).to_have_text("9 votes")
    first = page.locator("details.card:visible .bars li").first
    await expect(first).to_contain_text("Cyr 600")
    await page.screenshot(path=pictures / "many-regions.png")
    await page.emulate_media(media="print")
    await expect(page.get_by_role("searchbox")).to_be_hidden()
    await page.screenshot(path=pictures / "print.png")
    await page.emulate_media(media="screen")


async def typed(env: dict[str, str], *words: str) -> Any:
    """What a command prints."""
    done = await asyncio.to_thread(scrutin, env, *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def load_map(env: dict[str, str], folder: Path) -> None:
    """As an office does it; two regions have no shape, and a lake is no region."""
    lake = feature([[(-9, 43), (-8, 43), (-8, 44), (-9, 43)]], {"code": "Lake"})
    features = [*list(Grid(30, 20).features())[:-2], lake]
    file = folder / "regions.geojson"
    file.write_text(json.dumps(collection(features)))
    found = await typed(env, "election", "map", "1", str(file), "--property", "code")
    assert found["without_shape"] == ["R599", "R600"]
    assert (found["drawn"], found["without_region"]) == (REGIONS - 2, ["Lake"])


async def map_of_regions(ann: Window, bob: Window, figures: Figures, pictures: Path) -> None:
    """The map says what the list says, live, to eyes, keyboards and screen readers."""
    page = bob.page
    shapes = page.locator(".map [role=button]")
    await expect(shapes).to_have_count(REGIONS - 2)
    legend = page.locator(".legend")
    for text in ("A: 1", "B: 2", "Personne en tête: 597"):
        await expect(legend).to_contain_text(text)
    await expect(page.get_by_text("2 régions ne sont pas sur la carte.")).to_be_visible()
    third = page.locator(".map [aria-label^='Région 3,']")
    await expect(third).to_have_attribute("class", "none")
    await figures.vote("election:1", [("31", 3, 2)])
    await expect(third).to_have_attribute("aria-label", "Région 3, Roy 3 (A) · en tête, 2 votes")
    await expect(third).to_have_css("fill", "rgb(170, 34, 51)")  # The change of colour moves.
    await figures.vote("election:1", [("32", 3, 2)])
    await expect(third).to_have_attribute("aria-label", "Région 3, Égalité, 4 votes")
    await expect(third).to_have_attribute("fill", "url(#tied)")
    row = page.locator("details.card").nth(2).locator("summary")
    await expect(row).to_contain_text("Égalité")
    # One stop of the tab key; then arrow keys, and the list.
    assert await page.locator(".map [tabindex='0']").count() == 1
    first = page.locator(".map [aria-label^='Région 1,']")
    await first.focus()
    focused = "document.activeElement.getAttribute('aria-label')"
    for key, region in (("ArrowRight", 2), ("ArrowUp", 32), ("ArrowLeft", 31), ("ArrowDown", 1)):
        await page.keyboard.press(key)
        assert str(await page.evaluate(focused)).startswith(f"Région {region},"), key
    await page.keyboard.press("ArrowRight")
    await page.keyboard.press("Enter")
    await expect(page.locator("details.card").nth(1)).to_have_attribute("open", "")
    await expect(page.locator("details.card").nth(1).locator("summary")).to_be_focused()
    assert await page.evaluate("document.documentElement.scrollWidth") <= 390
    await page.screenshot(path=pictures / "map-phone.png", full_page=True)
    page = ann.page
    await page.emulate_media(reduced_motion="reduce")
    duration = "e => getComputedStyle(e).transitionDuration"
    assert await page.locator(".map [role=button]").first.evaluate(duration) == "0s"
    await page.locator(".map [aria-label^='Région 32,']").click()
    await page.get_by_role("button", name="Show in the list").click()
    await expect(page.locator("details.card").nth(31).locator("summary")).to_be_focused()
    await ann.accessible(".map")
    await page.locator(".map").screenshot(path=pictures / "map.png")
    await page.emulate_media(media="print")
    await expect(page.locator(".map > svg")).to_be_visible()
    await expect(page.get_by_role("button", name="Show in the list")).to_be_hidden()
    await page.locator(".map").screenshot(path=pictures / "map-print.png")
    await page.emulate_media(media="screen", reduced_motion="no-preference")


async def crowd(bob: Window, figures: Figures, pictures: Path) -> None:
    """500 candidates: the first are shown, and a button shows all."""
    page = bob.page
    await figures.announce("election:2", "election")
    await figures.vote("election:2", [("10499", None, 2), ("10001", None, 1)])
    await bob.open("/election/2")
    await expect(page.locator(".bars li:visible")).to_have_count(30)
    await expect(page.locator(".bars li").first).to_contain_text("Candidate 499")
    await page.get_by_role("button", name="Afficher les 500").click()
    await expect(page.locator(".bars li:visible")).to_have_count(CANDIDATES)


async def tie(ann: Window, figures: Figures, pictures: Path) -> None:
    """No votes, then a tie; names of any length and script; nobody leads."""
    page = ann.page
    await figures.announce("election:3", "election")
    await ann.open("/election/3")
    await expect(page.locator(".big")).to_have_text("0 votes")
    # A photo on a site that settings do not name would tell it who reads this.
    await expect(page.locator(".bars img.photo")).to_have_count(1)
    await expect(page.locator(".bars li").filter(has_text=ARABIC).locator("img")).to_be_visible()
    await figures.vote("election:3", [("20001", None, 1), ("20002", None, 1)])
    await expect(page.get_by_text(re.compile(f"Tied: .*{ARABIC}"))).to_be_visible()
    await expect(page.get_by_text("leading", exact=True)).to_have_count(0)
    await figures.time_line("election:3", {"20001": 3, "20002": 5})
    await expect(page.locator(".plot canvas")).to_be_visible()
    await page.get_by_text("As a table").click()
    await expect(page.locator(".plot .u-legend")).to_contain_text(ARABIC)
    await ann.accessible()
    await page.screenshot(path=pictures / "tie.png", full_page=True)
    assert await page.evaluate("document.documentElement.scrollWidth") <= 1100
    await dropped_network(ann, figures, pictures)


async def dropped_network(ann: Window, figures: Figures, pictures: Path) -> None:
    """A lost connection is said beside the last figures, and the page goes on from there."""
    page, connected, first = ann.page, True, []
    sockets: list[WebSocketRoute] = []

    def route(socket: WebSocketRoute) -> None:
        if not connected:
            return
        server = socket.connect_to_server()
        sockets.append(socket)
        told: list[str] = []

        def forward(message: str | bytes) -> None:
            told.append(json.loads(message)["type"])
            if len(told) == 1:
                first.append(told[0])
            socket.send(message)

        server.on_message(forward)

    await page.route_web_socket(re.compile("/socket"), route)
    await ann.open("/election/3")
    await expect(page.get_by_text("Live", exact=True)).to_be_visible()
    connected = False
    await sockets[0].close()
    await expect(page.get_by_text("Reconnecting…")).to_be_visible()
    await expect(page.locator(".big")).to_have_text("2 votes")
    await page.screenshot(path=pictures / "dropped.png")
    await figures.vote("election:3", [("20001", None, 1), ("20002", None, 1)])
    connected = True
    await expect(page.locator(".big")).to_have_text("4 votes")
    await expect(page.get_by_text("Live", exact=True)).to_be_visible()
    # It names the result that it has, so it never gets the whole again.
    assert "result" not in first
    await page.unroute_all()


async def languages(ann: Window, bob: Window) -> None:
    """A third language comes with one file; English and French have the same texts."""
    page = ann.page
    keys = "async (code) => Object.keys((await import(`/static/language-${code}.js`)).words).sort()"
    english = await page.evaluate(keys, "en")
    assert len(english) > 150
    assert await page.evaluate(keys, "fr") == english
    await page.get_by_role("button", name="Esperanto").click()
    await expect(page.get_by_role("link", name="Balotoj")).to_be_visible()
    assert await page.evaluate("document.documentElement.lang") == "eo"
    await ann.open("/new")
    await page.get_by_role("button", name="Create").click()
    await expect(page.locator("#error-title")).to_have_text("havu 1 ĝis 50 signojn")
    ann.errors = [text for text in ann.errors if "400" not in text]
    await ann.open("/election/3")
    drawn = await page.get_by_role("link", name="SVG").get_attribute("href")
    picture = f"async () => (await fetch('{drawn}')).text()"
    assert "4 voĉoj" in str(await page.evaluate(picture))
    await page.get_by_role("button", name="Français").click()
    await expect(page.get_by_role("link", name="Élections")).to_be_visible()
    await page.get_by_role("button", name="English").click()
    await expect(page.get_by_role("link", name="Elections")).to_be_visible()
    # What the gateway says is in the language of the page too.
    page = bob.page
    await bob.open("/new")
    async with page.expect_response("**/polls/") as answered:
        await page.get_by_role("button", name="Créer").click()
    assert (await (await answered.value).json())["title"] == "Bad Request"
    await expect(page.locator("#error-title")).to_have_text("doit avoir de 1 à 50 caractères")
    bob.errors = [text for text in bob.errors if "400" not in text]
