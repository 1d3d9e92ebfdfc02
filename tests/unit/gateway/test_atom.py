"""The feed: what RFC 4287 demands, stable ids, and addresses of pages."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from xml.etree import ElementTree

import pytest

from streams.gateway.atom import ContestChange, atom_feed, page_of
from streams.gateway.handlers.pages import read_site

NOW = datetime(2026, 11, 29, 20, tzinfo=UTC)
ATOM = "{http://www.w3.org/2005/Atom}"


def entry(event: str, key: str = "k", title: str = "A & <B>\x00") -> ContestChange:
    return ContestChange("election:7", title, event, key, NOW)


def ids(feed: bytes) -> list[str | None]:
    found = ElementTree.fromstring(feed)
    return [each.findtext(f"{ATOM}id") for each in found.iter(f"{ATOM}entry")]


def test_every_required_element_is_there() -> None:
    events = [entry("corrected"), entry("final"), entry("closed"), entry("opened")]
    feed = ElementTree.fromstring(atom_feed(events, "https://v.example", "/v2/feed", "Scrutin"))
    for part in [feed, *feed.iter(f"{ATOM}entry")]:
        for name in ("id", "title", "updated"):
            assert part.findtext(f"{ATOM}{name}"), name
    assert feed.findtext(f"{ATOM}author/{ATOM}name") == "Scrutin"
    first = next(feed.iter(f"{ATOM}entry"))
    assert first.findtext(f"{ATOM}title") == "A & <B>: the final result was corrected"
    links = {link.get("rel"): link.get("href") for link in first.iter(f"{ATOM}link")}
    assert links == {
        "alternate": "https://v.example/election/7",
        "related": "https://v.example/v2/contests/election%3A7",
    }
    assert len(list(feed.iter(f"{ATOM}entry"))) == 4


def test_ids_are_of_the_change_and_not_of_the_address() -> None:
    events = [entry("final"), entry("opened"), entry("opened", "2")]
    one = ids(atom_feed(events, "https://a.example", "/v2/feed", "x"))
    other = ids(atom_feed(events, "https://b.example", "/v2/contests/election%3A7/feed", "y"))
    assert one == other
    assert len(set(one)) == 3


@pytest.mark.parametrize("event", ["opened", "closed", "final", "corrected"])
def test_a_feed_speaks_the_readers_language(event: str) -> None:
    said = partial(read_site().words.said, language="fr")
    feed = atom_feed([entry(event)], "http://h", "/v2/feed", "Scrutin", language="fr", said=said)
    root = ElementTree.fromstring(feed)
    assert root.get("{http://www.w3.org/XML/1998/namespace}lang") == "fr"
    title = root.findtext(f"{ATOM}entry/{ATOM}title") or ""
    assert title.startswith(("A & <B>: le vote est ", "A & <B>: le résultat "))


def test_an_empty_feed_is_one() -> None:
    feed = ElementTree.fromstring(atom_feed([], "http://h", "/v2/feed", "Scrutin"))
    assert feed.findtext(f"{ATOM}updated") == "1970-01-01T00:00:00+00:00"


@pytest.mark.parametrize(
    ("contest", "path"),
    [("poll:7", "/p/7"), ("election:E 1", "/election/E%201"), ("L/1", "/law/L%2F1")],
)
def test_pages(contest: str, path: str) -> None:
    assert page_of(contest) == path
