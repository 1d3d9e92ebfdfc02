"""The page that checks a bundle, opened from a file, in a real browser."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
from playwright.async_api import expect

from schemas.control import (
    Conduct,
    Lot,
    MajorityOf,
    Overvote,
    RankedRules,
    TieBreak,
    Withdrawal,
    WithdrawnVotes,
)
from streams.elections.definitions import (
    CandidateDefinition,
    Definitions,
    ElectionDefinition,
    Region,
)
from streams.elections.published import of_election
from tests.acceptance.browser import Window, browser_of, window
from tests.small_bundle import KEY, LAW, RANKED, SmallCount, edit_document, edit_lines

PAGE: Final = Path(__file__).parents[2] / "proof" / "verify.html"
VECTORS: Final = json.loads((PAGE.parent / "vectors.json").read_text(encoding="utf-8"))
NAMES: Final = ("11", "12", "13", "14", "15")

SAME_AS_BROWSER: Final = """async (texts) => {
  for (const text of texts) {
    const own = hex(sha256(utf8(text)));
    const theirs = hex(new Uint8Array(await crypto.subtle.digest("SHA-256", utf8(text))));
    if (own !== theirs) return `hash of ${text.length} characters`;
  }
  return "";
}"""
BOTH_WAYS: Final = """async ([notes, log, witness]) => {
  const found = [];
  for (const note of notes) {
    const point = new Checkpoint(note), raw = point.signatures[0].raw.subarray(4);
    for (const key of log.map(keyOf)) {
      found.push(await holds(key.raw, raw, utf8(point.body)));
      found.push(await holdsByNumbers(key.raw, raw, utf8(point.body)));
      found.push(await holdsByNumbers(key.raw, raw, utf8(point.body + "x")));
    }
    found.push(await point.signedBy(keyOf(witness)));
  }
  return found;
}"""
COUNTED: Final = """(cases) => cases.flatMap(([entry, result]) => {
  const totals = new Map(Object.entries(result.totals));
  const all = [...totals.values()].reduce((a, b) => a + b, 0);
  const boxes = boxesOf(entry, result.seats, totals);
  return entry.seats.flatMap((seat, n) => {
    const ranked = entry.method === "ranked";
    const found = new Seat(entry, seat, boxes[n]).count(ranked, result.final, all);
    return Object.entries(found)
      .filter(([field, value]) => plain(value) !== plain(result.seats[n][field]))
      .map(([field, value]) => [field, value, result.seats[n][field], entry]);
  });
})"""


def random_count(rng: random.Random) -> list[Any]:
    """An election with any rules, and its count by the product."""
    pick = rng.choice
    rules = RankedRules(
        overvote=str(pick(list(Overvote))),
        max_skipped_ranks=pick((None, 0, 1)),
        exhaust_on_duplicate=pick((True, False)),
        max_ranks=pick((None, None, 2, 3)),
        full_ranking=rng.random() < 0.1,
        until_two_remain=pick((True, False)),
        max_rounds=pick((None, None, 1, 2)),
        batch_elimination=pick((True, False)),
        min_votes=pick((0, 0, 2)),
        majority_of=str(pick(list(MajorityOf))),
        tie_break=str(pick(list(TieBreak))),
        undeclared_write_in=pick((None, "13")),
    )
    tied = rng.sample(NAMES, 2)
    conduct = Conduct(
        blank_ballots=True,
        withdrawn_votes=str(pick(list(WithdrawnVotes))),
        withdrawn=tuple(Withdrawal(n, "dead") for n in rng.sample(NAMES, pick((0, 0, 1)))),
        lots_by_hand=rng.random() < 0.3,
        lots=tuple(Lot(tuple(tied), name, elects) for name in tied[:1] for elects in (True, False)),
        winner_quorum=pick((None, "1/2")),
        turnout_quorum=pick((None, "1/4")),
        eligible=pick((None, 30)),
    )
    regional = pick((True, False))
    method = pick(("ranked_choice", "ranked_choice", "single_choice"))
    known = Definitions(
        regions={n: Region(n, str(n), str(n), None) for n in (1, 2)},
        elections={
            1: ElectionDefinition(
                1, "C", "C", None, None, None, method, rules=rules, conduct=conduct
            )
        },
        candidates={
            int(n): CandidateDefinition(
                int(n), 1, (1 if n < "14" else 2) if regional else None, None, None, n, None, None
            )
            for n in NAMES
        },
    )
    marks = (*NAMES, "", "=", "11=12", "12=15")
    ballots = [
        (
            ">".join(rng.choices(marks, k=rng.randint(0, 4))).rstrip(">") or ">",
            pick((None, "1", "2")),
            rng.randint(1, 3),
        )
        for _ in range(rng.randint(0, 12))
    ]
    final = pick((True, False))
    made = of_election({"contest": "election:1"}, known, known.elections[1], ballots, final=final)
    counted: list[Any] = json.loads(msgspec.json.encode([made.about, made.result]))
    return counted


@asynccontextmanager
async def opened() -> AsyncIterator[Window]:
    async with browser_of() as browser, window(browser, PAGE.as_uri()) as page:
        await page.open("")
        yield page


async def verdict(page: Window, **files: Path) -> tuple[str, list[str]]:
    """Choose files, by the id of their field, and check; the verdict and the kinds of faults."""
    await page.open("")
    await page.page.get_by_label("Key of the log").fill(KEY.verifier.text)
    for field, file in files.items():
        await page.page.locator(f"#{field}").set_input_files(file)
    await page.page.get_by_role("button", name="Check", exact=True).click()
    end = page.page.locator("#verdict")
    await expect(end).to_have_text(re.compile("holds|differs|cannot be read"))
    faults = await page.page.locator("#faults li").all_inner_texts()
    return await end.inner_text(), [fault.partition(":")[0] for fault in faults]


async def test_it_computes_as_the_browser_and_the_product_do() -> None:
    rng = random.Random(5)
    cases = [random_count(rng) for _ in range(400)]
    async with opened() as page:
        lengths = [0, 1, 3, 55, 56, 63, 64, 65, 119, 120, 1000]
        assert await page.page.evaluate(SAME_AS_BROWSER, ["é" * n + "a" * n for n in lengths]) == ""
        keys = VECTORS["keys"]
        arguments = [VECTORS["checkpoints"], keys["log"], keys["witnesses"][0]]
        first, second = [True, True, False], [False, False, False]
        assert await page.page.evaluate(BOTH_WAYS, arguments) == [
            *(*first, *second, True),
            *(*first, *second, True),
            *(*second, *first, True),
        ]
        assert await page.page.evaluate(COUNTED, cases) == []


def other_rounds(value: Any) -> None:
    value[RANKED]["seats"][0]["rounds"][0]["votes"]["11"] += 1


def another_page(folder: Path) -> None:
    (folder / "README.md").write_text("All is well.", encoding="utf-8")


TAMPERED: Final[dict[str, Callable[[Path], None]]] = {
    "leaf_changed": lambda folder: edit_lines(
        folder, "leaves/0.jsonl", lambda rows: rows[20].update(commitment="0" * 64)
    ),
    "leaf_removed": lambda folder: edit_lines(folder, "leaves/0.jsonl", lambda rows: rows.pop(20)),
    "leaf_added": lambda folder: edit_lines(
        folder, "leaves/1.jsonl", lambda rows: rows.append(rows[3])
    ),
    "opening_differs": lambda folder: edit_lines(
        folder,
        "leaves/0.jsonl",
        lambda rows: next(row for row in rows if "salt" in row).update(salt="00" * 32),
    ),
    "bad_signature": lambda folder: edit_lines(
        folder,
        "checkpoints.jsonl",
        lambda rows: rows[-1].update(note=rows[-1]["note"].replace(" 1\n", " 9\n")),
    ),
    "checkpoint_order": lambda folder: edit_lines(
        folder, "checkpoints.jsonl", lambda rows: rows.reverse()
    ),
    "recount_differs": lambda folder: edit_document(folder, "results.json", other_rounds),
    "file_changed": another_page,
}


async def test_a_bundle_is_checked_from_a_file(tmp_path: Path) -> None:
    count = SmallCount(weighted=True)
    folder = count.write(tmp_path / "bundle", [LAW])
    receipt, kept, others = (tmp_path / name for name in ("mine.json", "kept.txt", "other.txt"))
    receipt.write_text(json.dumps(count.receipt(1, 7)), encoding="utf-8")
    kept.write_text(count.notes[1], encoding="utf-8")
    others.write_text(SmallCount(seed=3).notes[1], encoding="utf-8")
    async with opened() as page:
        await page.accessible()
        said, faults = await verdict(page, folder=folder, receipts=receipt, others=kept)
        assert (said, faults) == ("All that could be checked holds.", ["none"])
        checked = "\n".join(await page.page.locator("#checked li").all_inner_texts())
        assert f"{sum(map(len, count.leaves))} leaves in trees" in checked
        assert "2 seats counted again" in checked
        assert "mine.json" in checked
        await page.accessible()
        assert (await verdict(page, receipts=receipt))[1] == ["none"]
        assert (await verdict(page, folder=folder, others=others))[1] == ["split_view"]
        receipt.write_text(
            json.dumps(count.receipt(1, 7) | {"opening": count.receipt(1, 8)["opening"]})
        )
        assert (await verdict(page, receipts=receipt))[1] == ["opening_differs"]
        for kind, tamper in TAMPERED.items():
            changed = Path(shutil.copytree(folder, tmp_path / kind))
            tamper(changed)
            assert (await verdict(page, folder=changed))[1][0] == kind
