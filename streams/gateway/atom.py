"""Changes of contests as an Atom feed (RFC 4287). Pure."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import quote
from xml.etree import ElementTree

from streams.core.keys import ELECTION_PREFIX
from streams.core.polls import POLL_PREFIX
from streams.core.texts import seen_of
from streams.messages.timestamps import EPOCH

MEDIA_TYPE: Final = "application/atom+xml"
_NAMESPACE: Final = "http://www.w3.org/2005/Atom"
_WORDS: Final = {
    "opened": "voting has opened",
    "closed": "voting has closed",
    "final": "the result is final",
    "corrected": "the final result was corrected",
}


@dataclass(frozen=True)
class ContestChange:
    """One entry."""

    contest: str
    title: str
    event: str
    key: str
    """Tells it from another change of the same kind."""
    at: datetime


def page_of(contest: str) -> str:
    """The path of a contest's page."""
    for prefix, folder in ((ELECTION_PREFIX, "election"), (POLL_PREFIX, "p")):
        if contest.startswith(prefix):
            return f"/{folder}/{quote(contest.removeprefix(prefix), safe='')}"
    return f"/law/{quote(contest, safe='')}"


def atom_feed(
    changes: Sequence[ContestChange],
    base: str,
    path: str,
    title: str,
    *,
    language: str = "en",
    said: Callable[[str], str] = str,
) -> bytes:
    """The feed.

    Args:
        changes: the newest first.
        base: the gateway's address, without a path.
        path: of the feed.
        title: of the feed.
        language: of its texts.
        said: gives a text in that language.
    """
    feed = ElementTree.Element("feed", {"xmlns": _NAMESPACE, "xml:lang": language})
    _add(feed, "id", _id(base, path))
    _add(feed, "title", title)
    _add(feed, "updated", (changes[0].at if changes else EPOCH).isoformat())
    author = ElementTree.SubElement(feed, "author")
    _add(author, "name", "Scrutin")
    ElementTree.SubElement(feed, "link", rel="self", type=MEDIA_TYPE, href=base + path)
    for change in changes:
        entry = ElementTree.SubElement(feed, "entry")
        # Without the address: the same entry by two names of the host is one entry.
        _add(entry, "id", _id(change.contest, change.event, change.key))
        happened = said(_WORDS[change.event])
        _add(entry, "title", f"{change.title}: {happened}")
        _add(entry, "updated", change.at.isoformat())
        document = f"{base}/v2/contests/{quote(change.contest, safe='')}"
        for relation, kind, href in (
            ("alternate", "text/html", base + page_of(change.contest)),
            ("related", "application/json", document),
        ):
            ElementTree.SubElement(entry, "link", rel=relation, type=kind, href=href)
        ElementTree.SubElement(entry, "category", term=change.event)
        _add(entry, "summary", f"{happened.capitalize()}.")
    written: bytes = ElementTree.tostring(feed, encoding="utf-8", xml_declaration=True)
    return written


def _add(parent: ElementTree.Element, name: str, text: str) -> None:
    ElementTree.SubElement(parent, name).text = seen_of(text)


def _id(*parts: str) -> str:
    return uuid.uuid5(uuid.NAMESPACE_URL, "scrutin:" + "\0".join(parts)).urn
