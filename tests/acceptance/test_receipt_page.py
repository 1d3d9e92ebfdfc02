"""The page that checks a receipt, in Chromium, from a saved file and without a network."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from playwright.async_api import expect

from streams.core.leaves import ACCEPTED, Leaf, commit
from streams.core.merkle import extend, inclusion_ranges, leaf_hash, root_of
from streams.gateway.handlers.pages import read_files
from streams.proof.notes import Signer
from streams.proof.receipts import LeafFields, OpeningFields, Receipt, read_receipt
from tests.acceptance.browser import browser_of
from tests.unit.proof.test_witness import SIGNER, notes, statement

STATIC = Path("streams/gateway/static").resolve()
PAGE = STATIC / "receipt.html"
SALT = bytes(range(32))


def receipt(size: int = 700, index: int = 421) -> dict[str, Any]:
    """A receipt of one leaf among many."""
    leaf = Leaf(ACCEPTED, 0, "law-é", "", commit(SALT, b"oui"))
    hashes = [leaf_hash(b"%d" % n) for n in range(size)]
    hashes[index] = leaf.hash()
    says = statement(size)
    [tree] = says.trees
    root = root_of(extend(0, b"", hashes)[0])
    path = [root_of(extend(0, b"", hashes[a:b])[0]) for a, b in inclusion_ranges(index, size)]
    [note] = notes(replace(says, trees=(replace(tree, root=root),)))
    made = Receipt(
        "scrutin-receipt/1",
        note,
        0,
        index,
        LeafFields.of(leaf),
        [step.hex() for step in path],
        OpeningFields(SALT.hex(), b"oui".hex()),
    )
    document: dict[str, Any] = msgspec.to_builtins(made)
    read_receipt(json.dumps(document).encode()).check([SIGNER.verifier])
    return document


async def test_a_receipt_is_checked_from_a_saved_page(tmp_path: Path) -> None:
    good = receipt()
    other = receipt(index=3)
    lies = {
        "the choice": {**good, "opening": {**good["opening"], "opening": b"non".hex()}},
        "the salt": {**good, "opening": {**good["opening"], "salt": bytes(32).hex()}},
        "the place": {**good, "index": 3},
        "the path": {**good, "path": other["path"]},
        "the tree": {
            **good,
            "checkpoint": good["checkpoint"].replace("law-1 oui 700", "law-1 oui 7"),
        },
    }
    async with browser_of() as browser:
        page = await browser.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        await page.goto(PAGE.as_uri())
        await page.fill("#key", SIGNER.verifier.text)

        async def shown(document: dict[str, Any]) -> Any:
            buffer = json.dumps(document).encode()
            await page.set_input_files(
                "#file", {"name": "r.json", "mimeType": "application/json", "buffer": buffer}
            )
            return page.locator("#answer")

        answer = await shown(good)
        await expect(answer).to_contain_text("Verdict: accepted")
        await expect(answer).to_contain_text("Contest: law-é")
        await expect(answer).to_contain_text("Choice: oui")
        for name, lie in lies.items():
            answer = await shown(lie)
            await expect(answer, name).to_contain_text("does not hold")
        closed = {name: value for name, value in good.items() if name != "opening"}
        await expect(await shown(closed)).to_contain_text("not shown by this receipt")
        await page.fill("#key", Signer.new(SIGNER.name).verifier.text)
        await expect(page.locator("#answer")).to_contain_text("did not sign")
        assert errors == []


def test_the_served_page_may_run_its_own_script_only() -> None:
    policy = read_files(STATIC)["receipt.html"].headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    with pytest.raises(KeyError):
        read_files(STATIC)["index.html"].headers["Content-Security-Policy"]
