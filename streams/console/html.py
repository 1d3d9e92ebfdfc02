"""The console's pages as HTML. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlencode

from streams.console.elements import (
    Content,
    Safe,
    button,
    field,
    form,
    joined,
    scrolling,
    session_of,
    table,
    tag,
    when,
)
from streams.console.votes import STATUSES
from streams.console.words import Reader
from streams.elections.contest_result import ContestPhase
from streams.inspect.top import LATENCY_NAMES, RATE_NAMES

_MENU = (
    ("/", "Overview"),
    ("/contests", "Contests"),
    ("/rejected", "Rejected votes"),
    ("/trail", "Trail"),
)


def page(
    reader: Reader, title: str, *content: Content, moves_to: str = "", script: bool = False
) -> bytes:
    """A whole page.

    Args:
        reader: who sees it; the menu is shown after the login.
        title: of the page, in the reader's language.
        content: below the title.
        moves_to: address that the browser goes to by itself.
        script: whether the page has charts.
    """
    say = reader.say
    head: list[Content] = [
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", http_equiv="refresh", content=f"0;url={moves_to}") if moves_to else None,
        tag("title", f"{title} · {say('Scrutin console')}"),
        tag("link", rel="icon", href="/static/icon.svg", type="image/svg+xml"),
        tag("link", rel="stylesheet", href="/static/uplot.css"),
        tag("link", rel="stylesheet", href="/static/style.css"),
        tag("link", rel="stylesheet", href="/static/console.css"),
        tag("script", type="module", src="/static/console.js") if script else None,
    ]
    bar: list[Content] = [tag("span", say("Scrutin console"), class_="brand")]
    if reader.session is not None:
        links = (
            tag("a", say(name), href=path, aria_current="page" if say(name) == title else False)
            for path, name in _MENU
        )
        bar += [
            tag("nav", *links, aria_label=say("Main menu")),
            tag(
                "div",
                tag("span", reader.session.operator, class_="soft"),
                form(reader, "/logout", button(say("Log out"), "plain")),
                class_="row",
            ),
        ]
    bar.append(
        tag(
            "div",
            *(
                tag("a", name, href=f"/language/{code}", lang=code, hreflang=code)
                for code, name in reader.languages.names.items()
                if code != reader.language
            ),
            class_="row small",
        )
    )
    body = tag(
        "body",
        tag("header", *bar, class_="bar"),
        tag("main", tag("h1", title), *content, class_="stack"),
    )
    whole = tag("html", tag("head", *head), body, lang=reader.language, dir=reader.direction)
    return f"<!doctype html>{whole}".encode()


def notice(text: str, kind: str = "bad") -> Safe:
    """A sentence that must be seen."""
    return tag("p", text, class_=f"verdict {kind}", role="alert")


def problem_page(reader: Reader, text: str) -> bytes:
    """Why nothing was done."""
    say = reader.say
    back = tag("p", tag("a", say("Back"), href="/"))
    return page(reader, say("Not done"), notice(say(text)), back)


def welcome_page(reader: Reader) -> bytes:
    """After the login; the browser goes on by itself."""
    say = reader.say
    link = tag("p", tag("a", say("Go on"), href="/"))
    return page(reader, say("Welcome"), link, moves_to="/")


def login_page(reader: Reader, *, by_key: bool, by_provider: bool, fault: str = "") -> bytes:
    """Where operators log in."""
    say = reader.say
    key = tag(
        "form",
        field(say("Name"), "name"),
        field(say("Key"), "key", "password"),
        button(say("Log in")),
        method="post",
        action="/login",
        class_="card",
    )
    with_account = say("Log in with your organisation's account")
    return page(
        reader,
        say("Log in"),
        notice(say(fault)) if fault else None,
        key if by_key else None,
        tag("p", tag("a", with_account, href="/login/provider")) if by_provider else None,
    )


OF_SCRIPT = (
    "votes",
    "queue {name}",
    "validation",
    "aggregation",
    "reviews",
    "mirror",
    "worker",
    "bridge",
    "gateway",
    "tally",
    "unknown",
    "no answer: {why}",
    "{name}, median",
    "{name}, 99 %",
    *(phase.replace("_", " ") for phase in ContestPhase),
    "Contest",
    "Phase",
    "Votes",
    "Ahead",
    "Counted up to",
    "Where",
    "Messages or records",
    "Process",
    "Kind",
    "Ready",
    "Faults",
    "yes",
    "no",
    "Time",
    "Updated at {time}",
    "The console does not answer: {why}",
)
"""Texts that the script shows."""


def overview_page(reader: Reader) -> bytes:
    """Charts and tables, which the script fills."""
    say = reader.say
    charts = (
        ("rates", "Votes a second"),
        ("latency", "Latency in ms"),
        ("windows", "Votes by window"),
    )
    cards = (
        tag("section", tag("h2", say(title)), tag("div", id=name, class_="plot"), class_="card")
        for name, title in charts
    )
    tables = (
        tag(
            "section",
            tag("h2", say(title)),
            scrolling(say(title), tag("div", id=name)),
            class_="card",
        )
        for name, title in (
            ("results", "Results"),
            ("waiting", "Waiting"),
            ("processes", "Processes"),
        )
    )
    words = {
        "said": {text: say(text) for text in OF_SCRIPT},
        "rates": {name: say(text) for name, text in RATE_NAMES.items()},
        "latencies": {name: say(text) for name, text in LATENCY_NAMES.items()},
    }
    return page(
        reader,
        say("Overview"),
        tag("p", id="state", class_="live", role="status", data_words=json.dumps(words)),
        next(tables),
        *cards,
        *tables,
        script=True,
    )


VERBS = {
    "draft": ("open",),
    "open": ("close",),
    "closed": ("archive",),
    "not_enforced": ("archive",),
}
"""State of a contest -> what an operator may do to it."""
ACTS = {"open": "Open {contest}", "close": "Close {contest}", "archive": "Archive {contest}"}
_BUTTONS = {"open": "Open", "close": "Close", "archive": "Archive"}


def contests_page(
    reader: Reader, rows: Sequence[Any], requests: Sequence[Any], said: str = ""
) -> bytes:
    """All contests, and requests that wait for a second operator."""
    say = reader.say

    def link(contest: str, verb: str) -> Safe:
        address = f"/contests/{verb}?{_query(contest=contest)}"
        return tag("a", say(_BUTTONS[verb]), href=address)

    waiting = [
        (when(one.at), one.actor, f"{say(one.action)} {one.subject}", _answer(reader, one))
        for one in requests
    ]
    shown = [
        (
            row.contest,
            row.title,
            say(row.state.replace("_", " ")),
            reader.number(row.votes),
            when(row.closes_at) if row.closes_at else say("by command"),
            joined(link(row.contest, verb) for verb in VERBS.get(row.state, ())),
        )
        for row in rows
    ]
    heads = ("Contest", "Title", "State", "Votes", "Closes (UTC)", "Actions")
    asked = ("Asked at (UTC)", "Asked by", "For", "Answer")
    return page(
        reader,
        say("Contests"),
        notice(said, "good") if said else None,
        table(say("Waiting for a second operator"), map(say, asked), waiting, titled=True)
        if waiting
        else None,
        table(say("Contests"), map(say, heads), shown),
    )


def _query(**values: str) -> str:
    return urlencode(values)


def _answer(reader: Reader, request: Any) -> Safe:
    say = reader.say
    number = tag("input", type="hidden", name="request", value=str(request.id))
    withdraw = form(reader, "/requests/withdraw", number, button(say("Withdraw"), "plain"))
    if request.actor == session_of(reader).actor:
        return withdraw
    typed = field(say("Type {contest}", contest=request.subject), "typed")
    confirm = form(reader, "/requests/confirm", number, typed, button(say("Confirm")))
    return joined((confirm, withdraw))


def act_page(
    reader: Reader, contest: str, verb: str, effects: Iterable[str], fault: str = ""
) -> bytes:
    """What a change does, sentence by sentence, and the form that asks to type the contest's id."""
    say = reader.say
    typed = field(say("Type {contest} to go on", contest=contest), "typed")
    given = tag("input", type="hidden", name="contest", value=contest)
    return page(
        reader,
        say(ACTS[verb], contest=contest),
        notice(say(fault)) if fault else None,
        notice(" ".join(map(say, effects)), "warn"),
        tag(
            "div",
            form(reader, f"/contests/{verb}", given, typed, button(say(_BUTTONS[verb]))),
            class_="card",
        ),
        tag("p", tag("a", say("Back, and change nothing"), href="/contests")),
    )


def rejected_page(
    reader: Reader, rows: Sequence[Any], contest: str, status: str, older: int | None
) -> bytes:
    """Rejected votes, without anything about who voted."""
    say = reader.say
    wanted = {"contest": contest, "status": status}
    options = {"": say("all")} | {str(each): say(each) for each in STATUSES}
    statuses = [
        tag("option", text, value=value, selected=value == status)
        for value, text in options.items()
    ]
    search = tag(
        "form",
        tag("label", say("Contest"), " ", tag("input", name="contest", value=contest)),
        tag("label", say("Status"), " ", tag("select", *statuses, name="status")),
        button(say("Show")),
        method="get",
        action="/rejected",
        class_="filter card",
    )
    heads = ("Rejected at (UTC)", "Contest", "Status", "Reason", "Attempts", "Place in the log")
    shown = [
        (when(at), of, say(is_status), say(why or ""), attempts, ":".join(map(str, place)))
        for at, of, is_status, why, attempts, *place in rows
    ]
    export = tag("a", say("Export as CSV"), href=f"/rejected.csv?{_query(**wanted)}")
    return page(
        reader,
        say("Rejected votes"),
        search,
        tag("p", export),
        table(say("Rejected votes"), map(say, heads), shown)
        if shown
        else tag("p", say("None were found."), class_="soft"),
        tag("p", tag("a", say("Older"), href=f"/rejected?{_query(**wanted, before=str(older))}"))
        if older is not None
        else None,
    )


def trail_page(reader: Reader, actions: Sequence[Any]) -> bytes:
    """Who did what."""
    say = reader.say
    rows = [
        (one.id, when(one.at), one.actor, say(one.action), one.subject, one.answers)
        for one in actions
    ]
    heads = ("Number", "When (UTC)", "Who", "Action", "Subject", "Answers request")
    return page(reader, say("Trail"), table(say("Trail"), map(say, heads), rows))
