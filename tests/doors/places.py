"""Every place where a value enters, found in the code itself."""

from __future__ import annotations

import asyncio
import inspect
import re
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import typer
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler, WebsocketRouteHandler
from litestar.routes import HTTPRoute

from schemas import codec
from streams.adapters.kafka.writer import LogWriter
from streams.adapters.redis import keys
from streams.adapters.redis.client import redis_client
from streams.cli import app, wire
from streams.console import app as console_app
from streams.console.shared import Console
from streams.core import live_totals
from streams.gateway.client_address import AnyRequest
from streams.gateway.handlers.live import Socket
from streams.gateway.handlers.pages import PAGES, read_site
from streams.gateway.handlers.poll_forms import PollForm
from streams.gateway.services import NoticeFeed, VoteQueue, handlers_and_calls
from streams.gateway.store import Store
from streams.gateway.subscriptions import Subscriptions
from streams.gateway.tally_service import TallyService
from streams.gateway.vote_calls import VoteCall
from streams.runtime.metrics import GatewayMetrics, process_registry
from streams.runtime.outages import OutageTracker, Retry
from streams.settings.build import console_config, gateway_config
from streams.settings.load import load_settings
from streams.settings.queues import AGGREGATION, INGRESS, POLL_UPDATES, TALLY_QUEUES, VALIDATION
from streams.tally.messages import PARTIAL, TALLY
from tests.doors import rules
from tests.doors.rules import Rule

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "doors.md"

_PARAMETER: Final = re.compile(r"\{(\w+:\w+)\}")
_READ: Final = re.compile(
    r"""headers\.(?:get|getall)\("([\w-]+)"|_header\(scope, b"([\w-]+)"|"""
    r""""([\w-]+)" in request.headers"""
)
_QUERIED: Final = re.compile(r"""query_params\.get\("(\w+)"\)""")
_FORM: Final = re.compile(r"""form\.get\("(\w+)\"""")
_GRANTED: Final = re.compile(
    r"GRANT (?:INSERT|UPDATE|DELETE)[^']*? ON ([\w, \n]+?) TO scrutin_operator", re.DOTALL
)


@dataclass(frozen=True)
class Door:
    """A place with a value, and what stands there."""

    kind: str
    place: str
    value: str
    rule: Rule


class Unguarded(Exception):
    """A value enters at a place for which no check is named."""


def _door(kind: str, rules_of: Mapping[str, Rule], place: str, value: str) -> Door:
    rule = rules_of.get(f"{place} {value}") or rules_of.get(value)
    if rule is None:
        raise Unguarded(f"{kind}: {place}, {value}: name its check in tests/doors/rules.py")
    return Door(kind, place, value, rule)


def served() -> tuple[list[BaseRouteHandler], list[VoteCall]]:
    """All that a gateway serves; nothing is connected."""

    async def make() -> tuple[list[BaseRouteHandler], list[VoteCall]]:
        config = gateway_config(load_settings({}))
        deployment = config.intake.deployment
        metrics, tracker = GatewayMetrics(process_registry()), OutageTracker(1)
        redis = redis_client(deployment.redis)
        store = Store(deployment.postgres, deployment.name)
        return handlers_and_calls(
            config,
            metrics,
            list,
            redis=redis,
            sink=VoteQueue(
                deployment.rabbit,
                queue=VALIDATION,
                retry=Retry(tracker, 1),
                confirm_timeout_s=1,
                on_blocked=lambda _: None,
            ),
            store=store,
            reads=store,
            subscriptions=Subscriptions(
                redis, store.standings, metrics, notices=NoticeFeed(store.poll_texts)
            ),
            tallies=TallyService(config.tally),
            writer=LogWriter(deployment.kafka.servers, outages=tracker),
            site=read_site(),
        )

    return asyncio.run(make())


def http_doors() -> list[Door]:
    """Routes of the gateway with their values, and the headers that its code reads."""
    handlers, calls = served()
    found = [
        _door("HTTP", rules.HTTP, place, value)
        for handler in handlers
        if isinstance(handler, HTTPRouteHandler)
        for place, value in _values_of(handler)
    ]
    for call in calls:
        place = f"POST {' or '.join(call.paths)}"
        fields = ("body of a vote", *call.body.__struct_fields__)
        found += [_door("HTTP", rules.HTTP, place, value) for value in fields]
    text = "\n".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "streams" / "gateway").rglob("*.py")
    )
    headers = {name for names in _READ.findall(text) for name in names if name}
    values = [
        *(f"header {name}" for name in sorted(headers)),
        "cookie scrutin_voter",
        *(f"query {name}" for name in sorted(set(_QUERIED.findall(text)))),
    ]
    return found + [_door("HTTP", rules.HTTP, "any request", value) for value in values]


def _values_of(handler: HTTPRouteHandler) -> Iterator[tuple[str, str]]:
    """Place and value of each door of a handler."""
    if handler.paths >= set(PAGES):
        yield from (("page", path) for path in PAGES if _PARAMETER.search(path))
        return
    [method] = map(str, handler.http_methods)
    place = f"{method} {' or '.join(sorted(handler.paths, key=lambda path: (len(path), path)))}"
    in_path = sorted({value for path in handler.paths for value in _PARAMETER.findall(path)})
    names = _signature(handler) - {value.partition(":")[0] for value in in_path}
    yield from ((place, value) for value in (*in_path, *sorted(names - {"data"})))
    if "data" in names:
        yield from ((place, value) for value in ("body of a poll", *PollForm.__struct_fields__))
    elif method == "POST" and not in_path:
        yield place, "body of a command"


def _signature(handler: BaseRouteHandler) -> set[str]:
    hints = typing.get_type_hints(handler.fn)
    plumbing = (AnyRequest, Socket)
    return {
        name
        for name in inspect.signature(handler.fn).parameters
        if name != "request" and hints.get(name) not in plumbing
    }


def console_doors() -> list[Door]:
    """What the operators' console reads: paths and queries in signatures, forms in the code."""
    config = console_config(load_settings({}))
    text = Path(console_app.__file__).read_text(encoding="utf-8")
    fields = {*_FORM.findall(text), "code", "state"}
    values = {
        value
        for route in console_app.create_app(Console(config)).routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        if str(handler.fn.__module__).startswith("streams.")
        for value in (
            *_PARAMETER.findall(route.path),
            *(
                _signature(handler)
                - {one.partition(":")[0] for one in _PARAMETER.findall(route.path)}
            ),
        )
    }
    return [_door("console", rules.CONSOLE, "any page", value) for value in sorted(values | fields)]


def socket_doors() -> list[Door]:
    """Paths of WebSockets, and what their clients send."""
    found = []
    for handler in served()[0]:
        if isinstance(handler, WebsocketRouteHandler):
            [path] = handler.paths
            found += [
                _door("WebSocket", rules.SOCKETS, path, value) for value in _PARAMETER.findall(path)
            ]
            found.append(_door("WebSocket", rules.SOCKETS, path, "messages"))
    return found


def message_doors() -> list[Door]:
    """Queues that Scrutin reads, with the fields of their messages."""
    votes = ("vote_hash", "law_id", "candidate_id", "election_id", "citizen_id", "choice")
    fields = {
        **dict.fromkeys((VALIDATION, AGGREGATION), ("body", *votes, "timestamp")),
        POLL_UPDATES: ("body", "voter_name", "poll_id", "option_id"),
        **dict.fromkeys(TALLY_QUEUES, ("command", "electionId")),
        TALLY: ("command", "electionId", "mode", "chunkSize"),
        PARTIAL: ("command", "electionId", "guardianId"),
    }
    read = {*INGRESS, *TALLY_QUEUES}
    if unknown := read - fields.keys():
        raise Unguarded(f"RabbitMQ: name the fields of {', '.join(sorted(unknown))}")
    return [
        _door("RabbitMQ", rules.MESSAGES, queue, field)
        for queue, several in fields.items()
        for field in several
    ]


def commands() -> Iterator[tuple[str, Any]]:
    """Every command of `scrutin` by its words, in alphabetical order.

    The order of a group depends on which of its modules was imported first.
    """
    wire([])

    def walk(command: Any, words: list[str]) -> Iterator[tuple[str, Any]]:
        if hasattr(command, "commands"):
            for name, each in sorted(command.commands.items()):
                yield from walk(each, [*words, name])
        else:
            yield " ".join(words), command

    yield from walk(typer.main.get_command(app), [])


def command_doors() -> list[Door]:
    """Every argument and option that takes a value."""
    found = []
    for words, command in commands():
        hints = typing.get_type_hints(inspect.unwrap(command.callback))
        for parameter in command.params:
            hint = hints.get(parameter.name)
            if hint is not None and hint is not bool:
                found.append(_door("command", rules.COMMANDS, words, parameter.name))
    return found


def record_doors() -> list[Door]:
    """Records of Kafka: who may write a topic may write any bytes."""
    names = [name for name in vars(codec) if name.startswith("decode_")]
    return [_door("Kafka", rules.RECORDS, "records", name) for name in names]


def redis_doors() -> list[Door]:
    """Keys and channels of Redis."""
    names = ["CHANNEL", "VALID_HASHES", *(n for n in vars(keys) if n.isupper())]
    assert live_totals.CHANNEL
    return [_door("Redis", rules.REDIS, "keys and channels", name) for name in names]


def table_doors() -> list[Door]:
    """Tables that others than workers may write, by sql/roles.sql."""
    text = (ROOT / "sql" / "roles.sql").read_text(encoding="utf-8")
    tables = {name.strip() for names in _GRANTED.findall(text) for name in names.split(",")} - {""}
    known = {**dict.fromkeys(_TALLY_TABLES, rules.OTHER_TABLES), **rules.TABLES}
    return [_door("PostgreSQL", known, "tables", name) for name in sorted(tables)]


_TALLY_TABLES: Final = (
    *("tally_elections", "guardian_backups", "encrypted_ballots", "ballot_votes", "decryptions"),
    *("compensated_decryptions", "election_jobs", "sealed_secrets", "election_round_votes"),
)


def doors() -> list[Door]:
    """All of them."""
    return [
        *http_doors(),
        *socket_doors(),
        *console_doors(),
        *message_doors(),
        *command_doors(),
        *record_doors(),
        *redis_doors(),
        *table_doors(),
        *(
            Door("metrics port", path, "path", rules.STATUS)
            for path in ("GET /metrics", "GET /live", "GET /ready")
        ),
    ]


def page() -> str:
    """The text of docs/doors.md."""
    lines = [
        "# Doors",
        "",
        "Every place where a value enters from outside, what it stands for, and the check that is",
        "made there. `python -m tests.doors` writes this page from the code. A place without a",
        "check is a red test (tests/unit/doors); so is a check that takes a bad value of its",
        "kind, and a request that is answered with 500 (tests/integration/test_doors.py). A value",
        "that is `ignored` decides nothing.",
        "",
        "| where | place | value | is a | checked by |",
        "| --- | --- | --- | --- | --- |",
    ]
    for door in doors():
        place = door.place if door.kind == "command" else f"`{door.place}`"
        lines.append(
            f"| {door.kind} | {place} | {door.value or 'path'} | {door.rule.what} |"
            f" `{door.rule.check}` |"
        )
    return "\n".join(lines) + "\n"
