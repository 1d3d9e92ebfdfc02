"""`python -m tests.bench.ballot_page`: a ballot encrypted in Chromium, also as slow as a phone.

Chromium stops the page's thread for a part of the time (`Emulation.setCPUThrottlingRate`): 4 stands
for a phone of the middle class, 6 for a cheap one. Every ballot is verified with all its proofs.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
from datetime import UTC, datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Annotated

import typer
from playwright.async_api import Page

import streams.gateway
from streams.tally.challenge import definition_of
from streams.tally.crypto.ballots import EncryptedBallot
from streams.tally.crypto.documents import from_json
from streams.tally.crypto.election import CryptoElection
from streams.tally.crypto.manifest import plain_manifest
from streams.tally.crypto.verify_ballot import verify_ballot
from tests.acceptance.browser import browser_of
from tests.bench.tally import CANDIDATES
from tests.small_election import begin_election
from tests.small_record import described

STATIC = Path(streams.gateway.__file__).with_name("static")
RATES = (1, 4, 6)
ENCRYPT = """async ([definition, choices]) => {
  const { encrypted } = await import("/encrypt.js");
  const begin = performance.now();
  const { ballot } = await encrypted(definition, "ballot", choices);
  return { taken: performance.now() - begin, ballot: JSON.stringify({ ...ballot, state: 1 }) };
}"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Log nothing."""


def bench(*, times: Annotated[int, typer.Option(min=1, help="Ballots at each speed.")] = 5) -> None:
    """Print milliseconds for a ballot of 10 candidates, medians, by how much slower the page is."""
    manifest = plain_manifest(
        "bench", {"mayor": CANDIDATES}, moment=datetime(2026, 1, 1, tzinfo=UTC)
    )
    voting = begin_election(manifest, random.Random(1), guardians=3, quorum=2)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(STATIC)))
    Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    definition = definition_of(described(voting))
    print(json.dumps(asyncio.run(_measure(address, definition, voting.election, times)), indent=2))
    server.shutdown()


async def _measure(
    address: str, definition: object, election: CryptoElection, times: int
) -> dict[str, float]:
    found = {}
    async with browser_of() as browser:
        page = await browser.new_page()
        await page.goto(f"{address}/style.css")
        session = await page.context.new_cdp_session(page)
        for rate in RATES:
            await session.send("Emulation.setCPUThrottlingRate", {"rate": rate})
            taken = [await _one(page, definition, election) for _ in range(times)]
            found[f"{rate} times slower, ms"] = statistics.median(taken)
    return found


async def _one(page: Page, definition: object, election: CryptoElection) -> float:
    choices = {"mayor": ["mayor-candidate-3-selection"]}
    done = await page.evaluate(ENCRYPT, [definition, choices])
    verify_ballot(from_json(EncryptedBallot, done["ballot"]), election)
    taken: float = done["taken"]
    return taken


if __name__ == "__main__":
    typer.run(bench)
