"""Texts of the gateway in other languages: all of them are there, and programs read the same."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from streams.errors import SettingsError
from streams.gateway import handlers
from streams.gateway.handlers.pages import read_site
from streams.gateway.problems import Problem, problem_response
from streams.gateway.server_words import read_picture_words, read_words

SAID_BY = {
    "Problem": 1,
    "Unavailable": 0,
    "Unconfirmed": 0,
    "LoginRefused": 0,
    "Faulty": 1,
    "fault_of": 1,
}
"""Names of calls -> which argument is a text for the caller."""
WORDS = read_site().words
COMPOSED = {"x x", "x. x."}
"""Texts that consist of others."""


def said_in(tree: ast.AST) -> Iterator[str]:
    """Texts that code says to callers, with `x` for what differs."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            at = SAID_BY.get(node.func.id)
            if at is not None and len(node.args) > at:
                yield from texts(node.args[at])


def texts(node: ast.expr) -> Iterator[str]:
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=values):
            yield "".join(str(v.value) if isinstance(v, ast.Constant) else "x" for v in values)
        case ast.IfExp(body=body, orelse=otherwise):
            yield from texts(body)
            yield from texts(otherwise)


def test_french_has_every_text_of_the_gateway() -> None:
    root = Path(handlers.__file__).parents[1]
    said = {text for path in root.rglob("*.py") for text in said_in(ast.parse(path.read_text()))}
    assert len(said) > 50
    assert {text for text in said - COMPOSED if WORDS.said(text, "fr") == text} == set()


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("", "en"),
        ("fr", "fr"),
        ("fr-CA,fr;q=0.9,en;q=0.8", "fr"),
        ("de, en;q=0.5, fr;q=0.7", "fr"),
        ("fr;q=0, en", "en"),
        ("fr;q=x, *", "en"),
    ],
)
def test_the_language_is_the_one_asked_for_most(accepted: str, language: str) -> None:
    assert WORDS.language_of(accepted) == language


def test_only_what_people_read_is_translated() -> None:
    fault = "must have 1 to 50 characters"
    problem = Problem(
        400, f"title {fault}", headers={"Retry-After": "2"}, faults={"title": [fault]}
    )
    french = WORDS.localised(problem, "fr")
    shown = json.loads(problem_response(french).content)
    assert shown["errors"] == {"title": ["doit avoir de 1 à 50 caractères"]}
    assert shown["detail"] == "title doit avoir de 1 à 50 caractères"
    assert (shown["status"], shown["type"]) == (400, "about:blank")
    assert french.headers == {"Retry-After": "2", "Content-Language": "fr"}
    assert WORDS.localised(problem, "en") is problem
    # Braces in what a caller sent are no holes.
    assert WORDS.said("No results for {law} {0}", "fr") == "Aucun résultat pour {law} {0}"


def test_a_language_without_such_texts_has_english_ones() -> None:
    static = files("streams.gateway").joinpath("static")
    assert read_words("language-en.js", static.joinpath("language-en.js").read_bytes()) == {}
    with pytest.raises(SettingsError, match="cannot be read"):
        read_words("language-eo.js", b"export const server = {\n  a: 1\n};\n")


def test_words_of_pictures_are_all_there_and_have_the_same_places() -> None:
    content = files("streams.gateway").joinpath("static", "language-fr.js").read_bytes()
    assert read_picture_words("language-fr.js", content) == read_site().pictures["fr"]
    for old, new in ((b'"votes": "{} votes"', b'"votes": "{n} votes"'), (b'"tied"', b'"tie"')):
        assert content.count(old) == 1
        with pytest.raises(SettingsError, match="cannot be read"):
            read_picture_words("language-fr.js", content.replace(old, new))
