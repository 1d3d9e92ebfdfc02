"""Elements of the console's pages. Every value is escaped by :func:`tag`. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape

from streams.console.sessions import Session
from streams.console.words import Reader, moment


class Safe(str):
    """HTML that is not escaped again."""

    __slots__ = ()


Content = str | Safe | int | None
_VOID = frozenset({"input", "link", "meta"})


def tag(name: str, /, *content: Content, **attributes: str | bool) -> Safe:
    """An element. Attributes named after words of Python end with `_`; False leaves one out."""
    given = "".join(
        f" {key.rstrip('_').replace('_', '-')}"
        + ("" if value is True else f'="{escape(str(value))}"')
        for key, value in attributes.items()
        if value is not False
    )
    inner = "".join(one if isinstance(one, Safe) else escape(str(one)) for one in _shown(content))
    return Safe(f"<{name}{given}>" if name in _VOID else f"<{name}{given}>{inner}</{name}>")


def _shown(content: Iterable[Content]) -> Iterable[str | int]:
    return (one for one in content if one is not None)


def joined(parts: Iterable[Content]) -> Safe:
    """Elements one after the other."""
    return Safe("".join(p if isinstance(p, Safe) else escape(str(p)) for p in _shown(parts)))


def table(
    name: str, heads: Iterable[str], rows: Iterable[Sequence[Content]], *, titled: bool = False
) -> Safe:
    """A table in a card, in which it scrolls; `titled` shows its name too."""
    names = list(heads)
    body = joined(
        tag(
            "tr",
            *(
                tag("td", cell, role="cell", data_label=head)
                for head, cell in zip(names, row, strict=True)
            ),
            role="row",
        )
        for row in rows
    )
    columns = (tag("th", head, scope="col", role="columnheader") for head in names)
    # Roles, because on a phone each row is a block.
    content = tag(
        "table",
        tag("thead", tag("tr", *columns, role="row"), role="rowgroup"),
        tag("tbody", body, role="rowgroup"),
        role="table",
    )
    shown = tag("h2", name) if titled else None
    return tag("section", shown, scrolling(name, content), class_="card")


def scrolling(name: str, content: Safe) -> Safe:
    """A part that scrolls by itself, also by keyboard."""
    return tag("div", content, class_="scroll", tabindex="0", role="region", aria_label=name)


def form(reader: Reader, action: str, *content: Content) -> Safe:
    """A form that proves which session's page it is from."""
    proof = tag("input", type="hidden", name="csrf", value=session_of(reader).csrf)
    return tag("form", proof, *content, method="post", action=action, class_="row")


def session_of(reader: Reader) -> Session:
    """The session of a page behind the login."""
    if reader.session is None:
        raise ValueError("This page is behind the login")
    return reader.session


def field(label: str, name: str, kind: str = "text", **more: str | bool) -> Safe:
    """A labelled input."""
    shown = tag("input", name=name, type=kind, required=True, autocomplete="off", **more)
    return tag("label", label, " ", shown, class_="field")


def button(text: str, kind: str = "") -> Safe:
    """Sends its form."""
    return tag("button", text, type="submit", class_=kind)


def when(at: datetime) -> Safe:
    """A time that stays on one line."""
    return tag("time", moment(at), datetime=at.isoformat(timespec="seconds"))
