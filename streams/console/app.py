"""The console's application: the login before everything, and the pages behind it."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from importlib.resources import files
from typing import Any, Final
from urllib.parse import urlsplit

import structlog
from litestar import Litestar, Response, get, post
from litestar.datastructures import Cookie
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery
from litestar.response import Redirect, Stream
from litestar.types import ASGIApp, Message, Scope

from streams.adapters.postgres.connection import connected
from streams.console import html
from streams.console.open_id import PENDING_S, LoginRefused
from streams.console.sessions import Session
from streams.console.shared import LANGUAGE_COOKIE, Console
from streams.console.votes import STATUSES, rejected, rejected_csv
from streams.console.words import Reader, moment
from streams.control.trail import note_action, read_trail, waiting_requests
from streams.core.contests import ContestRefused
from streams.errors import ScrutinError
from streams.gateway.client_address import AnyRequest
from streams.gateway.handlers.pages import read_files, send_file
from streams.gateway.problems import Problem, problem_of
from streams.inspect.contests import ContestRow, effects_of, fetch_contests

log = structlog.get_logger(__name__)

STATIC: Final = ("icon.svg", "style.css", "uplot.css", "uplot.js")
_YEAR_S: Final = 365 * 24 * 3600
"""Files of the voters' pages that the console uses too."""
TRAIL_ROWS: Final = 500
_OPEN: Final = ("/login", "/language/", "/static/", "/live", "/ready")
_BACK: Final = frozenset({"/", "/login", "/contests", "/rejected", "/trail"})
"""Pages at which another language may be chosen and the same page comes again."""

_HEADERS: Final = [
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        b"connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    # With no-referrer, browsers would send forms with the origin `null`.
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]


def create_app(console: Console) -> ASGIApp:
    """The application."""

    async def before(request: AnyRequest) -> Response[Any] | None:
        path = request.url.path
        if request.method not in {"GET", "HEAD"}:
            await _check_origin(request)
        if path.startswith(_OPEN):
            return None
        session = console.session_of(request)
        if session is None:
            if path.endswith(".json"):
                raise Problem(401, "Log in")
            return Redirect("/login")
        if request.method == "POST":
            form = await request.form()
            if not session.sent_by_its_page(str(form.get("csrf", ""))):
                raise Problem(403, "This form is not from a page of your session")
        return None

    def on_error(request: AnyRequest, error: Exception) -> Response[bytes]:
        return _on_error(console.reader_of(request), request.url.path, error)

    async def headers(message: Message, _scope: Scope) -> None:
        if message["type"] == "http.response.start":
            own = {name for name, _ in message["headers"]}
            message["headers"] = [
                *message["headers"],
                *(each for each in _HEADERS if each[0] not in own),
            ]

    return Litestar(
        [*_logins(console), *_pages(console), *_actions(console)],
        before_request=before,
        before_send=[headers],
        exception_handlers={Exception: on_error},
        request_max_body_size=console.config.http.max_body_bytes,
        openapi_config=None,
        logging_config=None,
        debug=False,
    )


async def _check_origin(request: AnyRequest) -> None:
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise Problem(403, "This form is from another site")


def _on_error(reader: Reader, path: str, error: Exception) -> Response[bytes]:
    problem = problem_of(error, path)
    if problem is None and isinstance(error, ScrutinError):
        problem = Problem(503, error.what)
    if problem is None:
        log.error("a page failed", error=type(error).__name__, exc_info=error)
        problem = Problem(500, "The console failed")
    shown = html.problem_page(reader, problem.detail)
    return _html(shown, problem.status, headers=problem.headers)


def _html(
    content: bytes, status: int = 200, *, cookies: Sequence[Cookie] = (), **more: Any
) -> Response[bytes]:
    return Response(
        content, status_code=status, media_type="text/html", cookies=list(cookies), **more
    )


def _logins(console: Console) -> list[HTTPRouteHandler]:
    def login(request: AnyRequest, fault: str = "", status: int = 200) -> Response[bytes]:
        by_key, by_provider = bool(console.operators.entries), console.provider is not None
        reader = console.reader_of(request)
        shown = html.login_page(reader, by_key=by_key, by_provider=by_provider, fault=fault)
        return _html(shown, status)

    def welcome(request: AnyRequest, token: str) -> Response[bytes]:
        # A cookie for this site only is not sent when another site sends the browser on, so this
        # page does it.
        cookie = console.set_cookie(console.cookie, token)
        return _html(html.welcome_page(console.reader_of(request)), cookies=[cookie])

    @get("/login")
    async def login_form(request: AnyRequest) -> Response[bytes]:
        return login(request)

    @get("/language/{code:str}")
    async def choose_language(request: AnyRequest, code: FromPath[str]) -> Redirect:
        if code not in console.languages.names:
            raise Problem(404, "There is no such language")
        before = urlsplit(request.headers.get("referer", ""))
        # Back to the page, but to none of another site, and to no answer of a form.
        back = f"{before.path}?{before.query}" if before.path in _BACK else "/"
        cookie = console.set_cookie(LANGUAGE_COOKIE, code, samesite="lax", max_age=_YEAR_S)
        return Redirect(back, cookies=[cookie])

    @post("/login", status_code=200)
    async def login_by_key(request: AnyRequest) -> Response[bytes]:
        form = await request.form()
        token = await console.by_key(request, str(form.get("name", "")), str(form.get("key", "")))
        if token is None:
            return login(request, "The name or the key is wrong.", 403)
        return welcome(request, token)

    @get("/login/provider")
    async def to_provider(request: AnyRequest) -> Response[Any]:
        if console.provider is None:
            raise Problem(404, "There is no provider of logins")
        try:
            address, browser = await console.provider.begin()
        except LoginRefused as error:
            return login(request, str(error), 403)
        # The provider's site sends the browser back, so this cookie must come with it.
        cookie = console.set_cookie("scrutin-login", browser, samesite="lax", max_age=PENDING_S)
        return Redirect(address, cookies=[cookie])

    @get("/login/callback")
    async def from_provider(request: AnyRequest) -> Response[bytes]:
        if console.provider is None:
            raise Problem(404, "There is no provider of logins")
        browser = request.cookies.get("scrutin-login", "")
        try:
            operator = await console.provider.finish(dict(request.query_params), browser)
        except LoginRefused as error:
            return login(request, str(error), 403)
        return welcome(request, await console.begin(operator))

    @post("/logout")
    async def logout(request: AnyRequest) -> Redirect:
        console.sessions.end(request.cookies.get(console.cookie))
        return Redirect("/login", status_code=303)

    @get(["/live", "/ready"])
    async def live() -> str:
        return "ok"

    return [login_form, choose_language, login_by_key, to_provider, from_provider, logout, live]


def _pages(console: Console) -> list[HTTPRouteHandler]:
    postgres = console.config.deployment.postgres
    static = {name: console.files[name] for name in STATIC}
    static |= read_files(files("streams.console").joinpath("static"))

    @get("/static/{name:str}")
    async def file(request: AnyRequest, name: FromPath[str]) -> Response[bytes]:
        if name not in static:
            raise Problem(404, "No such file")
        return send_file(request, static[name])

    @get("/")
    async def overview(request: AnyRequest) -> Response[bytes]:
        return _html(html.overview_page(console.reader_of(request)))

    @get("/top.json")
    async def top() -> dict[str, Any]:
        return await console.top()

    @get("/rejected")
    async def rejected_votes(
        request: AnyRequest,
        contest: FromQuery[str] = "",
        status: FromQuery[str] = "",
        before: FromQuery[int] = 0,
    ) -> Response[bytes]:
        if status not in STATUSES:
            status = ""
        async with connected(postgres) as connection:
            rows, older = await rejected(connection, contest, status, before)
        reader = console.reader_of(request)
        return _html(html.rejected_page(reader, rows, contest, status, older))

    @get("/rejected.csv")
    async def rejected_file(
        request: AnyRequest, contest: FromQuery[str] = "", status: FromQuery[str] = ""
    ) -> Stream:
        actor = _session(console, request).actor
        async with connected(postgres) as connection:
            await note_action(connection, actor, "export rejected votes", contest)
        return Stream(
            rejected_csv(postgres, contest, status),
            media_type="text/csv",
            headers={"Content-Disposition": 'attachment; filename="rejected.csv"'},
        )

    @get("/contests")
    async def contests(request: AnyRequest) -> Response[bytes]:
        return await _contests(console, console.reader_of(request))

    @get("/trail")
    async def trail(request: AnyRequest) -> Response[bytes]:
        async with connected(postgres) as connection:
            actions = await read_trail(connection, TRAIL_ROWS)
        return _html(html.trail_page(console.reader_of(request), actions))

    return [file, overview, top, rejected_votes, rejected_file, contests, trail]


def _actions(console: Console) -> list[HTTPRouteHandler]:
    @get("/contests/{verb:str}")
    async def ask(
        request: AnyRequest, verb: FromPath[str], contest: FromQuery[str]
    ) -> Response[bytes]:
        row = await console.contest(contest)
        if verb not in html.VERBS.get(row.state, ()):
            raise Problem(409, f"{contest} is {row.state.replace('_', ' ')} now")
        return _html(html.act_page(console.reader_of(request), contest, verb, _effects(row, verb)))

    @post("/contests/{verb:str}")
    async def change(request: AnyRequest, verb: FromPath[str]) -> Response[bytes]:
        reader, form = console.reader_of(request), await request.form()
        contest = str(form.get("contest", ""))
        if form.get("typed") != contest and verb in html.ACTS:
            row = await console.contest(contest)
            fault = f"You did not type {contest}. Nothing was changed."
            shown = html.act_page(reader, contest, verb, _effects(row, verb), fault)
            return _html(shown, 422)
        actor = _session(console, request).actor
        return await _said(console, reader, console.changes.ask(actor, verb, contest))

    @post("/requests/confirm")
    async def confirm(request: AnyRequest) -> Response[bytes]:
        actor, form = _session(console, request).actor, await request.form()
        number, typed = _number(form.get("request")), str(form.get("typed", ""))
        done = console.changes.confirm(actor, number, typed)
        return await _said(console, console.reader_of(request), done)

    @post("/requests/withdraw")
    async def withdraw(request: AnyRequest) -> Response[bytes]:
        actor, form = _session(console, request).actor, await request.form()
        done = console.changes.withdraw(actor, _number(form.get("request")))
        return await _said(console, console.reader_of(request), done)

    return [ask, change, confirm, withdraw]


def _number(text: object) -> int:
    if not (isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 19):
        raise Problem(422, "This is not the number of a request")
    return int(text)


def _session(console: Console, request: AnyRequest) -> Session:
    found = console.session_of(request)
    if found is None:
        raise Problem(401, "Log in")
    return found


def _effects(row: ContestRow, verb: str) -> list[str]:
    closes = f"{moment(row.closes_at)} UTC" if row.closes_at else ""
    return effects_of({**row.as_dict(), "closes": closes}, verb)


async def _said(
    console: Console, reader: Reader, change: Awaitable[tuple[str, str]]
) -> Response[bytes]:
    try:
        contest, happened = await change
    except ContestRefused as error:
        raise Problem(409, error.what) from error
    return await _contests(console, reader, reader.say(happened, contest=contest))


async def _contests(console: Console, reader: Reader, said: str = "") -> Response[bytes]:
    postgres = console.config.deployment.postgres
    async with connected(postgres) as connection:
        rows = await fetch_contests(connection, postgres.where())
        waiting = await waiting_requests(connection)
    return _html(html.contests_page(reader, rows, waiting, said))
