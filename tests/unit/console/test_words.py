"""The console in another language: its table has every text of the pages, and every refusal."""

from __future__ import annotations

import ast
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest

from schemas.verdicts import UNREPORTED, Reason, Status
from streams.console import html
from streams.console.changes import DONE
from streams.console.sessions import Session
from streams.console.words import LanguageFile, Languages, Reader, read_languages
from streams.control.trail import OperatorAction
from streams.errors import SettingsError
from streams.inspect.contests import effects_of
from streams.messages.fields import MalformedReason
from tests.unit.gateway.test_server_words import said_in

CONSOLE = Path(html.__file__).parent
FOUND = read_languages()
FRENCH = FOUND.tables["fr"].words
AT = datetime(2026, 11, 30, tzinfo=UTC)
DATA = {"ann", "console:ann", "console:bob", "C-1", "A title", "5", "7", "0", "Test", "English"}
"""Values that the pages show, and names of languages."""


def texts_of(page: bytes) -> set[str]:
    """All that is shown or read out."""
    found: set[str] = set()

    class Reading(HTMLParser):
        def handle_data(self, data: str) -> None:
            found.add(data.strip())

        def handle_starttag(self, _: str, attrs: list[tuple[str, str | None]]) -> None:
            found.update(value or "" for name, value in attrs if name == "aria-label")

    Reading().feed(page.decode().removeprefix("<!doctype html>"))
    return {text for text in found if re.search("[A-Za-z]", text)}


def every_page(reader: Reader) -> list[bytes]:
    requests = [
        OperatorAction(7, AT, f"console:{who}", f"ask to {verb}", "C-1", None, None)
        for who, verb in (("ann", "open"), ("bob", "close"), ("bob", "archive"))
    ]
    rows = [
        SimpleNamespace(contest="C-1", title="A title", state=state, votes=5, closes_at=at)
        for state, at in (
            *(("draft", None), ("open", AT), ("closed", None)),
            *(("not_enforced", None), ("archived", None)),
        )
    ]
    one = {"contest_id": "C-1", "title": "C-1", "votes": 5, "closes": "C-1"}
    effects = [
        (verb, effects_of({**one, "enforced": enforced}, verb))
        for verb in html.VERBS["draft"] + html.VERBS["open"] + html.VERBS["closed"]
        for enforced in (True, False)
    ]
    rejected = [
        (AT, "C-1", status, reason, 0, 0, 7, 0)
        for status in html.STATUSES
        for reason in (*({*Reason} - {Reason.REPLAY, Reason.OLD_EPOCH}), *MalformedReason)
    ]
    actions = ("log in", "export rejected votes", "confirm", "withdraw", "reset", "roll load")
    states = ("draft", "open", "closed", "archived")
    trail = [
        OperatorAction(5, AT, "console:ann", action, "C-1", None, 7)
        for action in (*actions, "roll add", "roll withdraw", *(f"contest {one}" for one in states))
    ]
    refused = "The name or the key is wrong."
    return [
        html.login_page(reader, by_key=True, by_provider=True, fault=refused),
        html.welcome_page(reader),
        html.problem_page(reader, "The console failed"),
        html.overview_page(reader),
        html.contests_page(reader, rows, requests, reader.say(DONE["open"], contest="C-1")),
        *(html.act_page(reader, "C-1", verb, told) for verb, told in effects),
        html.rejected_page(reader, rejected, "", "", 7),
        html.rejected_page(reader, [], "", "invalid", None),
        html.trail_page(reader, trail),
    ]


def test_every_text_of_every_page_is_in_the_table_of_a_language() -> None:
    """In a language in which each text is its English one in brackets."""
    words = {text: f"[{text}]" for text in FRENCH}
    marked = Languages({"xx": LanguageFile("Test", words, "rtl")})
    reader = Reader(marked, "xx", Session("ann", "proof", 0, 0))
    for page in every_page(reader):
        plain = {t for t in texts_of(page) if not re.fullmatch(r"(\[.*\][ :·]*|C-1 ?)+", t)}
        assert plain - DATA == set()
        assert b'<html lang="xx" dir="rtl">' in page


def test_each_text_of_the_script_is_sent_with_the_page() -> None:
    script = (CONSOLE / "static" / "console.js").read_text(encoding="utf-8")
    used = set(re.findall(r'\bt\("([^"]+)"', script))
    heads = set(
        re.findall(r'"([^"]+)"', " ".join(re.findall(r'table\(by\("\w+"\), (\[.*?\])', script)))
    )
    assert len(used) > 5 < len(used | heads)
    assert used | heads <= set(html.OF_SCRIPT) <= FRENCH.keys()


def test_every_refusal_is_in_the_table() -> None:
    said = {text for path in CONSOLE.glob("*.py") for text in said_in(ast.parse(path.read_text()))}
    assert len(said) > 15
    assert {text for text in said if FOUND.words.said(text, "fr") == text} == {"x is x now"}
    for state in ("draft", "open", "closed", "not enforced", "archived"):
        assert FOUND.words.said(f"C-1 is {state} now", "fr").startswith("C-1 est ")


def test_a_text_of_another_language_has_the_same_holes() -> None:
    for text, said in FRENCH.items():
        assert sorted(re.findall(r"\{\w+\}", text)) == sorted(re.findall(r"\{\w+\}", said)), text
    assert set(Status) - UNREPORTED == set(html.STATUSES)


def test_a_third_language_is_one_file(tmp_path: Path) -> None:
    (tmp_path / "console-eo.json").write_text('{"name": "Esperanto", "words": {"Trail": "Spuro"}}')
    found = read_languages(str(tmp_path))
    assert set(found.names) == {"en", "fr", "eo"}
    session = Session("ann", "proof", 0, 0)
    shown = html.trail_page(Reader(found, found.chosen("", "eo, fr;q=0.5"), session), [])
    assert b"<h1>Spuro</h1>" in shown
    assert b'href="/language/fr"' in shown
    (tmp_path / "console-eo.json").write_text('{"name": "Esperanto", "wrods": {}}')
    with pytest.raises(SettingsError, match="cannot be read"):
        read_languages(str(tmp_path))


def test_a_choice_is_before_the_browsers_language() -> None:
    assert FOUND.chosen("", "fr-CA, en;q=0.5") == "fr"
    assert FOUND.chosen("en", "fr") == "en"
    assert FOUND.chosen("xx", "de") == "en"


def test_numbers_have_the_languages_separator() -> None:
    assert Reader(FOUND).number(1_234_567) == "1,234,567"
    assert Reader(FOUND, "fr").number(1_234) == "1\u202f234"
