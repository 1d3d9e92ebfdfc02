"""`python -m tests.bench.bundle`: a published count checked as a stranger does, in both verifiers.

The verifier runs as `python3 -I -S` of the machine with an empty environment, so without any
package; the page is opened from a file in headless Chromium.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from tests.acceptance.browser import browser_of, window
from tests.acceptance.test_verify_page import PAGE, verdict
from tests.bench.cpu import memory_mib
from tests.small_bundle import KEY, LAW, SmallCount

_CHECK = (
    "import re, runpy, sys; sys.argv = sys.argv[1:]\n"
    "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
    "except SystemExit as end: assert not end.code\n"
    "print(re.search('VmHWM:.* ([0-9]+)', open('/proc/self/status').read())[1], file=sys.stderr)"
)


def bundle(
    votes: Annotated[int, typer.Option(min=1000, help="Votes in the bundle.")] = 100_000,
    python: Annotated[str, typer.Option(help="Of the machine.")] = "/usr/bin/python3",
) -> None:
    """Write a bundle with 20 checkpoints, check it both ways, and print what that took."""
    with tempfile.TemporaryDirectory(prefix="scrutin-bundle-") as parent:
        count = SmallCount(votes, every=votes // 20)
        folder = count.write(Path(parent) / "bundle", [LAW])
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        found = {
            "votes": votes,
            "leaves": sum(map(len, count.leaves)),
            "checkpoints": len(count.notes),
            "megabytes": round(size / 1e6, 1),
            "python": _python(python, folder),
            "chromium": asyncio.run(_browser(folder)),
        }
    print(json.dumps(found, indent=2))


def _python(python: str, folder: Path) -> dict[str, Any]:
    verifier = PAGE.with_name("verify.py")
    words = [python, "-I", "-S", "-c", _CHECK, str(verifier), str(folder), "--key"]
    before = os.times()
    done = subprocess.run(
        [*words, KEY.verifier.text], env={}, capture_output=True, text=True, check=True
    )
    after = os.times()
    assert "Faults\n  none" in done.stdout, done.stdout
    cpu_s = sum(after[2:4]) - sum(before[2:4])
    return {"cpu_s": round(cpu_s, 2), "peak_mib": round(int(done.stderr) / 1024, 1)}


async def _browser(folder: Path) -> dict[str, Any]:
    async with browser_of() as browser, window(browser, PAGE.as_uri()) as page:
        session = await browser.new_browser_cdp_session()
        await page.open("")
        before = await session.send("SystemInfo.getProcessInfo")
        said, faults = await verdict(page, folder=folder)
        after = await session.send("SystemInfo.getProcessInfo")
        pages = [one["id"] for one in after["processInfo"] if one["type"] == "renderer"]
        peak_mib = max(memory_mib(pid)[1] for pid in pages)
    assert faults == ["none"], said
    cpu_s = sum(one["cpuTime"] for one in after["processInfo"])
    cpu_s -= sum(one["cpuTime"] for one in before["processInfo"])
    return {"cpu_s": round(cpu_s, 2), "peak_mib": round(peak_mib, 1)}


if __name__ == "__main__":
    typer.run(bundle)
