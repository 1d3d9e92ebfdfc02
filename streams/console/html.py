"""The console's pages as HTML. Every value is escaped by :func:`tag`. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any
from urllib.parse import urlencode

from streams.console.sessions import Session


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


def table(heads: Sequence[str], rows: Iterable[Sequence[Content]]) -> Safe:
    """A table in a card that scrolls."""
    body = joined(tag("tr", *(tag("td", cell) for cell in row)) for row in rows)
    head = tag("thead", tag("tr", *(tag("th", name, scope="col") for name in heads)))
    return tag(
        "div",
        tag("table", head, tag("tbody", body)),
        class_="card scroll",
        tabindex="0",
        role="region",
        aria_label=heads[0],
    )


def form(session: Session, action: str, *content: Content) -> Safe:
    """A form that proves which session's page it is from."""
    proof = tag("input", type="hidden", name="csrf", value=session.csrf)
    return tag("form", proof, *content, method="post", action=action, class_="row")


def field(label: str, name: str, kind: str = "text", **more: str | bool) -> Safe:
    """A labelled input."""
    shown = tag("input", name=name, type=kind, required=True, autocomplete="off", **more)
    return tag("label", label, " ", shown, class_="field")


def button(text: str) -> Safe:
    """Sends its form."""
    return tag("button", text, type="submit")


_MENU = (
    ("/", "Overview"),
    ("/contests", "Contests"),
    ("/rejected", "Rejected votes"),
    ("/trail", "Trail"),
)


def page(
    title: str,
    *content: Content,
    session: Session | None = None,
    moves_to: str = "",
    script: bool = False,
) -> bytes:
    """A whole page.

    Args:
        title: of the page.
        content: below the title.
        session: of the operator who sees it; None before the login.
        moves_to: address that the browser goes to by itself.
        script: whether the page has charts.
    """
    head: list[Content] = [
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", http_equiv="refresh", content=f"0;url={moves_to}") if moves_to else None,
        tag("title", f"{title} · Scrutin console"),
        tag("link", rel="icon", href="/static/icon.svg", type="image/svg+xml"),
        tag("link", rel="stylesheet", href="/static/uplot.css"),
        tag("link", rel="stylesheet", href="/static/style.css"),
        tag("script", type="module", src="/static/console.js") if script else None,
    ]
    bar: list[Content] = [tag("span", "Scrutin console", class_="brand")]
    if session is not None:
        links = (tag("a", name, href=path) for path, name in _MENU)
        bar += [
            tag("nav", *links, aria_label="Main", class_="row"),
            tag(
                "div",
                tag("span", session.operator, class_="soft"),
                form(session, "/logout", button("Log out")),
                class_="row",
            ),
        ]
    body = tag(
        "body",
        tag("header", *bar, class_="bar"),
        tag("main", tag("h1", title), *content, class_="stack"),
    )
    return f"<!doctype html>{tag('html', tag('head', *head), body, lang='en')}".encode()


def notice(text: str, kind: str = "bad") -> Safe:
    """A sentence that must be seen."""
    return tag("p", text, class_=f"verdict {kind}", role="alert")


def login_page(*, by_key: bool, by_provider: bool, fault: str = "") -> bytes:
    """Where operators log in."""
    key = tag(
        "form",
        field("Name", "name"),
        field("Key", "key", "password"),
        button("Log in"),
        method="post",
        action="/login",
        class_="card",
    )
    provider = tag("p", tag("a", "Log in with your organisation's account", href="/login/provider"))
    return page(
        "Log in",
        notice(fault) if fault else None,
        key if by_key else None,
        provider if by_provider else None,
    )


def overview_page(session: Session) -> bytes:
    """Charts and tables, which the script fills."""
    charts = (
        ("rates", "Votes a second"),
        ("latency", "Latency in ms"),
        ("windows", "Votes by window"),
    )
    cards = (
        tag("section", tag("h2", title), tag("div", id=name, class_="plot"), class_="card")
        for name, title in charts
    )
    return page(
        "Overview",
        tag("p", id="state", class_="live", role="status"),
        *cards,
        tag(
            "section",
            tag("h2", "Waiting"),
            tag("div", id="waiting", class_="scroll"),
            class_="card",
        ),
        tag(
            "section",
            tag("h2", "Processes"),
            tag("div", id="processes", class_="scroll"),
            class_="card",
        ),
        session=session,
        script=True,
    )


VERBS = {
    "draft": ("open",),
    "open": ("close",),
    "closed": ("archive",),
    "not_enforced": ("archive",),
}
"""State of a contest -> what an operator may do to it."""


def contests_page(
    session: Session, rows: Sequence[Any], requests: Sequence[Any], said: str = ""
) -> bytes:
    """All contests, and requests that wait for a second operator."""

    def link(contest: str, verb: str) -> Safe:
        return tag("a", verb, href=f"/contests/{verb}?{_query(contest=contest)}")

    waiting = [
        (
            one.at.isoformat(timespec="seconds"),
            one.actor,
            f"{one.action} {one.subject}",
            _answer(session, one),
        )
        for one in requests
    ]
    shown = [
        (
            row.contest,
            row.title,
            row.state.replace("_", " "),
            f"{row.votes:,}",
            row.closes_at.isoformat(timespec="seconds") if row.closes_at else "by command",
            joined(link(row.contest, verb) for verb in VERBS.get(row.state, ())),
        )
        for row in rows
    ]
    return page(
        "Contests",
        notice(said, "good") if said else None,
        table(("Waiting for a second operator", "Asked by", "For", "Answer"), waiting)
        if waiting
        else None,
        table(("Contest", "Title", "State", "Votes", "Closes", "Actions"), shown),
        session=session,
    )


def _query(**values: str) -> str:
    return urlencode(values)


def _answer(session: Session, request: Any) -> Safe:
    number = tag("input", type="hidden", name="request", value=str(request.id))
    withdraw = form(session, "/requests/withdraw", number, button("Withdraw"))
    if request.actor == session.actor:
        return withdraw
    typed = field(f"Type {request.subject}", "typed")
    return joined((form(session, "/requests/confirm", number, typed, button("Confirm")), withdraw))


def act_page(session: Session, contest: str, verb: str, effect: str, fault: str = "") -> bytes:
    """What a change does, and the form that asks to type the contest's id."""
    return page(
        f"{verb.capitalize()} {contest}",
        notice(fault) if fault else None,
        notice(effect, "warn"),
        tag(
            "div",
            form(
                session,
                f"/contests/{verb}",
                tag("input", type="hidden", name="contest", value=contest),
                field(f"Type {contest} to go on", "typed"),
                button(verb.capitalize()),
            ),
            class_="card",
        ),
        tag("p", tag("a", "Back, and change nothing", href="/contests")),
        session=session,
    )


def rejected_page(
    session: Session, rows: Sequence[Any], contest: str, status: str, older: int | None
) -> bytes:
    """Rejected votes, without anything about who voted."""
    wanted = {"contest": contest, "status": status}
    search = tag(
        "form",
        tag("label", "Contest ", tag("input", name="contest", value=contest)),
        tag("label", "Status ", tag("input", name="status", value=status)),
        button("Show"),
        method="get",
        action="/rejected",
        class_="row",
    )
    heads = ("When", "Contest", "Status", "Reason", "Attempts", "Partition", "Offset", "Number")
    return page(
        "Rejected votes",
        search,
        tag("p", tag("a", "Export as CSV", href=f"/rejected.csv?{_query(**wanted)}")),
        table(heads, [[cell if cell is None else str(cell) for cell in row] for row in rows]),
        tag("p", tag("a", "Older", href=f"/rejected?{_query(**wanted, before=str(older))}"))
        if older is not None
        else None,
        session=session,
    )


def trail_page(session: Session, actions: Sequence[Any]) -> bytes:
    """Who did what."""
    rows = [
        (
            one.id,
            one.at.isoformat(timespec="seconds"),
            one.actor,
            one.action,
            one.subject,
            one.answers,
        )
        for one in actions
    ]
    return page(
        "Trail",
        table(("Number", "When", "Who", "Action", "Subject", "Answers"), rows),
        session=session,
    )
