"""Pages of laws and elections in a real browser, on figures that the test writes itself."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest
from playwright.async_api import Locator, Page, expect

from schemas.control import Conduct, SeatRules, Withdrawal
from streams.devstack import Stack
from streams.elections.definitions import Definitions, merged, read
from streams.elections.store import write_definitions
from streams.load.programs import child_environment, gateway
from streams.proof.checkpoints import Checkpoint
from streams.proof.notes import COSIGNATURE, Signer
from streams.proof.store import add_cosignatures, take_checkpoint
from tests.acceptance.browser import Window, browser_of, window
from tests.harness import database
from tests.integration.gateway_harness import NO_LIMITS, SECRET
from tests.integration.sink_harness import own_database

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "follow.js"
ELECTIONS: dict[str, list[dict[str, Any]]] = {
    "political_parties": [
        {"id": 1, "party_code": "A", "party_name": "Ahead"},
        {"id": 2, "party_code": "B", "party_name": "Beyond"},
    ],
    "regions": [
        {"id": 10, "region_code": "N", "region_name": "North"},
        {"id": 20, "region_code": "S", "region_name": "South"},
    ],
    "elections": [
        {"id": 1, "election_name": "President", "voting_method": "single_choice"},
        {"id": 2, "election_name": "Assembly", "voting_method": "single_choice"},
        {"id": 3, "election_name": "Mayor", "voting_method": "ranked_choice"},
        {"id": 4, "election_name": "Chair", "voting_method": "single_choice"},
        {"id": 5, "election_name": "Council", "voting_method": "ranked_choice"},
        {"id": 6, "election_name": "Lists", "voting_method": "single_choice"},
    ],
    "candidates": [
        {"id": 1, "election_id": 1, "last_name": "Roy", "party_id": 1},
        {"id": 2, "election_id": 1, "last_name": "Cyr", "party_id": 2},
        {"id": 11, "election_id": 2, "region_id": 10, "last_name": "Ann", "party_id": 1},
        {"id": 12, "election_id": 2, "region_id": 10, "last_name": "Ben", "party_id": 2},
        {"id": 21, "election_id": 2, "region_id": 20, "last_name": "Cid", "party_id": 1},
        {"id": 22, "election_id": 2, "region_id": 20, "last_name": "Dee", "party_id": 2},
        {"id": 31, "election_id": 3, "last_name": "First"},
        {"id": 32, "election_id": 3, "last_name": "Second"},
        {"id": 33, "election_id": 3, "last_name": "Third"},
        {"id": 41, "election_id": 4, "last_name": "Roy"},
        {"id": 42, "election_id": 4, "last_name": "Cyr"},
        {"id": 51, "election_id": 5, "last_name": "Ott"},
        {"id": 52, "election_id": 5, "last_name": "Pim"},
        {"id": 53, "election_id": 5, "last_name": "Quo"},
        {"id": 61, "election_id": 6, "last_name": "Eve", "party_id": 1},
        {"id": 62, "election_id": 6, "last_name": "Flo", "party_id": 1},
        {"id": 63, "election_id": 6, "last_name": "Guy", "party_id": 2},
    ],
}


class Figures:
    """Counted votes and contests, as workers write them."""

    def __init__(self, db: asyncpg.Connection) -> None:
        self._db = db
        self._number = 0

    async def vote(self, contest: str, choices: Iterable[tuple[str, int | None, int]]) -> None:
        """Count (choice, region, votes)."""
        for choice, region, votes in choices:
            for _ in range(votes):
                self._number += 1
                await self._db.execute(
                    "INSERT INTO vote_audit (vote_hash, voter_hash, contest, choice, metadata,"
                    ' "timestamp", processed_timestamp, source_partition, source_offset,'
                    " source_index) VALUES ($1, $1, $2, $3, $4, now(), now(), 0, $5, 0)",
                    *(f"hash-{self._number}", contest, choice),
                    *(json.dumps({"region_id": region}), self._number),
                )
            await self._db.execute(
                "INSERT INTO contest_results AS r (contest_id, choice, votes) VALUES ($1, $2, $3)"
                " ON CONFLICT (contest_id, choice) DO UPDATE SET votes = r.votes + $3",
                *(contest, choice, votes),
            )

    async def announce(self, contest: str, kind: str, conduct: Conduct | None = None) -> None:
        """Open a contest."""
        held = None if conduct is None else msgspec.json.encode(conduct).decode()
        await self._db.execute(
            "INSERT INTO contests (contest_id, kind, title, state, roll, command_id, number,"
            " conduct) SELECT $1, $2, coalesce(min(election_name), $1), 'open', 'redis', $3::bytea,"
            " 1, $4::text::jsonb FROM elections WHERE contest_id = $1",
            *(contest, kind, b"open" + contest.encode(), held),
        )

    async def close_at(self, contest: str, left: str) -> None:
        """Let a contest close when an interval has passed."""
        await self._db.execute(
            "UPDATE contests SET closes_at = now() + $2::text::interval WHERE contest_id = $1",
            *(contest, left),
        )

    async def time_line(self, contest: str, votes: dict[str, int]) -> None:
        """Votes in windows of the last minutes."""
        await self._db.executemany(
            "INSERT INTO vote_windows (contest, choice, window_start, votes)"
            " VALUES ($1, $2, date_trunc('minute', now()) - make_interval(mins => $3), $4)",
            [(contest, choice, ago, n) for choice, n in votes.items() for ago in (1, 2)],
        )

    async def sign(self) -> Checkpoint:
        """A checkpoint with the signatures of two witnesses."""
        made = await take_checkpoint(self._db, Signer.new("votes.example.org"))
        assert made is not None
        witnesses = [Signer.new(f"w{number}.example", COSIGNATURE) for number in (1, 2)]
        lines = "".join(witness.line(made.note.body, 1) for witness in witnesses)
        seen = Checkpoint.parse(made.note.text() + lines)
        assert len(await add_cosignatures(self._db, seen, [w.verifier for w in witnesses])) == 2
        return made

    async def close(self, contest: str, *, enforced: bool = True) -> None:
        """Close a contest; if it is enforced its result is final."""
        command = contest.encode()
        await self._db.execute(
            "INSERT INTO control_commands (command_id, number, kind, record, partitions, enforced,"
            " issued_by, issued_at) VALUES ($1, 2, 'contests', '', 1, $2, 'test', now())",
            *(command, enforced),
        )
        await self._db.execute(
            "INSERT INTO control_progress (command_id, partition, log_id, source_offset)"
            " VALUES ($1, 0, 'log', 9)",
            command,
        )
        await self._db.execute("INSERT INTO contest_closings VALUES ($1, $2)", command, contest)
        await self._db.execute(
            "UPDATE contests SET state = 'closed', closed_by = $2 WHERE contest_id = $1",
            *(contest, command),
        )


@pytest.mark.timeout(300)
async def test_pages_of_results(stack: Stack, tmp_path: Path) -> None:
    async with own_database(stack) as settings:
        env = child_environment(
            stack.env(), POSTGRES_DB=settings.postgres_db, SCRUTIN_SECRET=SECRET, **NO_LIMITS
        )
        db = await database(settings)
        try:
            await write_definitions(db, merged(Definitions(), read(ELECTIONS)))
            figures = Figures(db)
            async with gateway(env, tmp_path) as program, browser_of() as browser:
                await program.ready()
                base = f"http://127.0.0.1:{program.port}"
                async with (
                    window(browser, base) as ann,
                    window(browser, base, dark=True, locale="fr-FR", phone=True) as bob,
                ):
                    await laws(ann, bob, figures, tmp_path)
                    await country_wide(ann, figures, tmp_path)
                    await by_region(ann, figures, tmp_path)
                    await ranked(ann, bob, figures, tmp_path)
                    await held(ann, bob, figures, tmp_path)
                    await several_seats(ann, figures, tmp_path)
                    await unknown_names(ann, figures)
                    await reference(ann, tmp_path)
                    await ann.open("/election/3")
                    await expect(ann.page.get_by_text("Live", exact=True)).to_be_visible()
                    await ann.page.screenshot(path=tmp_path / "fed.png")
                    program.send(signal.SIGSTOP)
                    await expect(ann.page.locator(".live.old")).to_contain_text("figures of")
                    await ann.page.screenshot(path=tmp_path / "frozen.png")
                    await ann.accessible()
                    program.send(signal.SIGCONT)
                    await expect(ann.page.get_by_text("Live", exact=True)).to_be_visible()
                    await database_outage(stack, ann, bob, figures)
        finally:
            await db.close()


async def database_outage(stack: Stack, ann: Window, bob: Window, figures: Figures) -> None:
    """Watchers stay connected, are told that the figures are old, and see the next vote."""
    sockets: list[str] = []
    for one in (ann, bob):
        one.page.on("websocket", lambda socket: sockets.append(socket.url))
        await one.open("/election/3")
        await expect(one.page.locator(".live.on")).to_be_visible()
    await asyncio.to_thread(stack.pause, "postgres")
    try:
        await expect(ann.page.locator(".live.old")).to_contain_text("Not live figures of")
        await expect(bob.page.locator(".live.old")).to_contain_text("Pas en direct chiffres de")
        await expect(bar(ann.page, "Second")).to_contain_text("5 · 55.6%")
    finally:
        await asyncio.to_thread(stack.resume, "postgres")
    await expect(ann.page.locator(".live.on")).to_be_visible()
    await figures.vote("election:3", [("31", None, 2)])
    for one in (ann, bob):
        await expect(bar(one.page, "First")).to_contain_text("6 · 54")
        await expect(one.page.locator(".live.on")).to_be_visible()
    assert len(sockets) == 2


async def reference(ann: Window, pictures: Path) -> None:
    """The API can be read, searched and tried in a browser."""
    page = ann.page
    await ann.open("/api")
    await page.get_by_role("searchbox").fill("one contest, of any kind")
    operation = page.locator("details:visible").filter(has_text="/v2/contests/{contest}").first
    await operation.locator("summary").click()
    await operation.get_by_label("contest (path)").fill("L-1")
    await operation.get_by_role("button", name="Try it").click()
    await expect(operation.get_by_role("status")).to_contain_text('"total_votes": 4')
    await ann.accessible()
    await page.screenshot(path=pictures / "api.png")
    asked = "async (path) => (await (await fetch(path)).json())"
    assert (await page.evaluate(asked, "/asyncapi.json"))["asyncapi"].startswith("3.")
    assert (await page.evaluate(asked, "/openapi.json"))["openapi"].startswith("3.")


def bar(within: Page | Locator, name: str) -> Locator:
    """The bar of one choice."""
    return within.locator(".bars li").filter(has_text=re.compile(rf"^{re.escape(name)}"))


def region_of(page: Page, name: str) -> Locator:
    """The part of a region, which is open while there are few."""
    return page.locator("details.card").filter(has=page.locator(".region", has_text=name))


def seat_of(page: Page, name: str) -> Locator:
    """The card of a seat."""
    return page.locator("section.card").filter(has=page.get_by_role("heading", name=name))


async def laws(ann: Window, bob: Window, figures: Figures, pictures: Path) -> None:
    await figures.announce("L-1", "law")
    await figures.vote("L-1", [("oui", None, 1), ("non", None, 3)])
    signed = await figures.sign()
    await ann.open("/law/L-1")
    place = f"4 votes, tree head {signed.root.hex()[:16]}…, signed "
    await expect(seat_of(ann.page, "Signed in a public log")).to_contain_text(
        re.compile(rf"{place}.*\d:\d\d:\d\d.*, 2 witnesses\..*To check it: save the signed text")
    )
    text = ann.page.get_by_role("link", name="The signed text")
    assert await text.get_attribute("href") == "/v2/checkpoints/1"
    await expect(ann.page.get_by_text("Rejected as it stands")).to_be_visible()
    await expect(ann.page.get_by_text("Voting is open; the figures change")).to_be_visible()
    await expect(ann.page.get_by_text(re.compile("last updated"))).to_be_visible()
    await expect(bar(ann.page, "Against")).to_contain_text("leading")
    example = EXAMPLE.read_text(encoding="utf-8").replace("export function", "function")
    followed = "new Promise((show) => follow(location.origin, 'L-1', show))"
    seen = await ann.page.evaluate(f"async () => {{ {example}; return await {followed}; }}")
    assert [(one["id"], one["votes"]) for one in seen["choices"]] == [("non", 3), ("oui", 1)]
    # The colour of a bar does not say who wins.
    fill = "e => getComputedStyle(e).backgroundColor"
    good = "getComputedStyle(document.documentElement).getPropertyValue('--good')"
    assert await bar(ann.page, "Against").locator(".fill").evaluate(fill) != (
        await ann.page.evaluate(good)
    )
    await ann.accessible()
    await ann.page.screenshot(path=pictures / "law.png", full_page=True)
    await figures.close("L-1", enforced=False)
    await expect(ann.page.get_by_text("closing is not enforced here")).to_be_visible()
    await expect(ann.page.get_by_role("heading", name="Proof of completeness")).to_have_count(0)
    await bob.open("/law/L-1")
    await expect(bob.page.get_by_text("applique pas ici")).to_be_visible()
    await bob.accessible()
    await bob.page.screenshot(path=pictures / "not-enforced.png", full_page=True)


async def country_wide(ann: Window, figures: Figures, pictures: Path) -> None:
    """Each candidate once, and regions move with the country."""
    page = ann.page
    await figures.announce("election:1", "election")
    await figures.vote("election:1", [("1", 10, 1), ("2", 20, 2)])
    await ann.open("/election/1")
    country = seat_of(page, "All regions")
    north, south = (region_of(page, name) for name in ("North", "South"))
    await expect(bar(country, "Cyr (B)")).to_contain_text("2 · 66.7%")
    await expect(bar(country, "Roy (A)")).to_have_count(1)
    await expect(bar(north, "Roy (A)")).to_contain_text("1 · 100%")
    await expect(bar(south, "Cyr (B)")).to_contain_text("2 · 100%")
    await figures.vote("election:1", [("1", 10, 4)])
    await expect(page.locator(".big")).to_have_text("7 votes")
    await expect(bar(north, "Roy (A)")).to_contain_text("5 · 100%")
    await expect(bar(country, "Roy (A)")).to_contain_text("leading")
    await expect(page.get_by_text("elected", exact=True)).to_have_count(0)
    await ann.accessible()
    await page.screenshot(path=pictures / "country.png", full_page=True)


async def by_region(ann: Window, figures: Figures, pictures: Path) -> None:
    """Shares are those of the region; the country has parties, not a list of all candidates."""
    page = ann.page
    await figures.announce("election:2", "election")
    await figures.vote("election:2", [("11", 10, 3), ("12", 10, 1), ("21", 20, 2), ("22", 20, 3)])
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await ann.open("/election/2")
    await expect(bar(region_of(page, "North"), "Ann (A)")).to_contain_text("3 · 75%")
    await expect(bar(region_of(page, "South"), "Dee (B)")).to_contain_text("3 · 60%")
    assert len([url for url in asked if "/v2/contests/" in url]) == 1, "one request a page"
    await expect(page.locator(".bars")).to_have_count(2)
    await expect(page.get_by_role("columnheader", name="Leads in")).to_be_visible()
    await expect(page.get_by_role("row", name=re.compile("^A "))).to_contain_text("55.6%")
    await figures.close("election:2")
    await expect(page.get_by_text("Final result").first).to_be_visible()
    await expect(bar(region_of(page, "North"), "Ann (A)")).to_contain_text("elected")
    await expect(page.get_by_role("columnheader", name="Seats")).to_be_visible()
    await ann.accessible()
    await page.screenshot(path=pictures / "regions.png", full_page=True)


async def ranked(ann: Window, bob: Window, figures: Figures, pictures: Path) -> None:
    """The last round is the result: who leads by first choices does not lead."""
    page = ann.page
    await figures.announce("election:3", "election")
    await figures.vote("election:3", [("31", None, 4), ("32>33", None, 3), ("33>32", None, 2)])
    await ann.open("/election/3")
    await expect(bar(page, "Second")).to_contain_text("5 · 55.6%")
    await expect(bar(page, "Second")).to_contain_text("leading")
    await expect(bar(page, "First")).not_to_contain_text("leading")
    await expect(bar(page, "Third")).to_contain_text("out in round 1")
    await expect(page.get_by_text("First choices are not the result")).to_be_visible()
    await page.get_by_text("All rounds").click()
    await expect(page.get_by_role("row", name="Second")).to_contain_text("3")
    await ann.accessible()
    await page.screenshot(path=pictures / "ranked.png", full_page=True)
    await bob.open("/election/3")
    await expect(bob.page.get_by_text("Les premiers choix ne sont pas le résultat")).to_be_visible()
    await bob.accessible()
    wide = await bob.page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 390, "the page is wider than a phone"
    await bob.page.screenshot(path=pictures / "ranked-phone.png", full_page=True)


async def held(ann: Window, bob: Window, figures: Figures, pictures: Path) -> None:
    """Hidden until it is closed; then it says who withdrew, and why nobody is elected."""
    conduct = Conduct(
        hidden=True,
        turnout_quorum="1/2",
        eligible=10,
        seed_commitment="ab" * 32,
        withdrawn=(Withdrawal("42", "withdrawn on Tuesday"),),
    )
    await figures.announce("election:4", "election", conduct)
    await figures.vote("election:4", [("41", None, 2), ("42", None, 1), (">", None, 1)])
    await ann.open("/election/4")
    await expect(ann.page.get_by_text("The result is shown once voting has closed")).to_be_visible()
    await expect(ann.page.get_by_text("Turnout: 4 of 10 voters, 40%")).to_be_visible()
    await expect(bar(ann.page, "Roy")).to_be_hidden()
    await ann.accessible()
    await ann.page.screenshot(path=pictures / "hidden.png", full_page=True)
    await figures.close("election:4")
    await expect(bar(ann.page, "Roy")).to_contain_text("2 · 100%")
    await expect(ann.page.get_by_text("The quorum is not reached")).to_be_visible()
    await expect(ann.page.get_by_text("Cyr: withdrawn on Tuesday.")).to_be_visible()
    await expect(ann.page.get_by_text("not revealed yet (SHA-256 abab")).to_be_visible()
    await expect(ann.page.get_by_text("1 vote for candidates who do not stand")).to_be_visible()
    await expect(ann.page.get_by_text("elected", exact=True)).to_have_count(0)
    await ann.accessible()
    await ann.page.screenshot(path=pictures / "quorum.png", full_page=True)
    await bob.open("/election/4")
    await expect(bob.page.get_by_text(re.compile("Le quorum n.est pas atteint"))).to_be_visible()


async def several_seats(ann: Window, figures: Figures, pictures: Path) -> None:
    """Each who is elected is marked; votes have decimal places; lists have seats."""
    page = ann.page
    council = Conduct(seats=SeatRules("stv_scottish", 2))
    await figures.announce("election:5", "election", council)
    await figures.vote("election:5", [("51>52", None, 7), ("52", None, 3), ("53", None, 4)])
    await figures.close("election:5")
    await ann.open("/election/5")
    for name in ("Ott", "Pim"):
        await expect(bar(page, name)).to_contain_text("elected")
    await expect(bar(page, "Quo")).not_to_contain_text("elected")
    await page.get_by_text("All rounds").click()
    await expect(page.get_by_role("row", name="Pim")).to_contain_text("5")
    await ann.accessible()
    await page.screenshot(path=pictures / "council.png", full_page=True)
    lists = SeatRules("dhondt", 3, lists={"61": "1", "62": "1", "63": "2"})
    await figures.announce("election:6", "election", Conduct(seats=lists))
    await figures.vote("election:6", [("61", None, 5), ("62", None, 2), ("63", None, 3)])
    await figures.close("election:6")
    await ann.open("/election/6")
    for name in ("Eve (A)", "Flo (A)", "Guy (B)"):
        await expect(bar(page, name)).to_contain_text("elected")
    seats = page.get_by_role("row", name=re.compile("^A ")).first
    await expect(seats).to_contain_text("2")
    await expect(page.get_by_text("A majority is 2 of 3 seats.")).to_be_visible()
    await ann.accessible()
    await page.screenshot(path=pictures / "lists.png", full_page=True)


async def unknown_names(ann: Window, figures: Figures) -> None:
    """A page of nothing does not look like an official one."""
    for path, told in (
        ("/law/Give%20me%20your%20vote", "No such law is known here"),
        ("/law/election:1", "No such law is known here"),
        ("/election/99", "No such election is known here"),
        ("/tally/none", "No such encrypted election is known here"),
    ):
        await ann.open(path)
        await expect(ann.page.get_by_role("heading", level=1)).to_contain_text(told)
        await expect(ann.page.locator("main")).not_to_contain_text("your vote")
    await ann.open("/tallies")
    await expect(ann.page.get_by_text("has not been audited")).to_be_visible()
    await ann.open("/law/L-new")
    await expect(ann.page.get_by_text("No such law is known here")).to_be_visible()
    await figures.vote("L-new", [("oui", None, 1)])
    await expect(ann.page.get_by_role("heading", level=1)).to_have_text("Law L-new")
    assert [error for error in ann.errors if "404" not in error] == []
    ann.errors.clear()
