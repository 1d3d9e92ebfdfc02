"""Log lines of errors: the traceback in both formats, and nothing of a vote in it."""

from __future__ import annotations

import ast
import io
import json
import logging
import logging.config
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from streams.errors import ScrutinError
from streams.runtime.logs import configure_structlog, logging_config

STREAMS = Path(__file__).parents[3] / "streams"
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
VOTES = {"voter", "hash", "choice", "citizen", "nas", "body", "metadata"}
"""Words in the names of what says who voted what; `code` is that of an exit too."""
VOTER = "7c" * 32
CITIZEN = "123456789"


class DriverError(Exception):
    """Quotes the row in its message, as PostgreSQL's driver does."""


def fail(voter: str, citizen: str, choice: str) -> None:
    table = {"voter": voter, "choice": choice}
    try:
        table[voter]
    except KeyError as error:
        text = (
            f'duplicate key ({citizen}) "{choice}" (vote_hash)=({voter})\n'
            f"DETAIL:  Key (vote_hash)=({voter}) already exists with {choice}."
        )
        raise DriverError(text) from error


Given = bool | BaseException


def by_structlog(given: Given) -> None:
    structlog.stdlib.get_logger("test").error("it failed", exc_info=given)


def by_library(given: Given) -> None:
    logging.getLogger("library").error("it failed", exc_info=given)


@pytest.fixture
def lines() -> Iterator[Callable[[str], io.StringIO]]:
    """Sets logging up with a format and returns where its lines go; puts pytest's back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def set_up(log_format: str) -> io.StringIO:
        out = io.StringIO()
        config = logging_config("INFO", log_format)
        for handler in config["handlers"].values():
            handler["stream"] = out
        config["loggers"] = {}
        logging.config.dictConfig(config)
        configure_structlog()
        return out

    yield set_up
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize("flag", [True, False])
@pytest.mark.parametrize("write", [by_structlog, by_library])
def test_an_error_has_its_traceback_and_no_vote(
    lines: Callable[[str], io.StringIO],
    write: Callable[[Given], None],
    flag: bool,
    log_format: str,
) -> None:
    out = lines(log_format)
    try:
        fail(VOTER, CITIZEN, "oui")
    except DriverError as error:
        write(True if flag else error)
    text = out.getvalue()
    if log_format == "json":
        [line] = text.splitlines()
        document = json.loads(line)
        assert document["event"] == "it failed"
        assert "exc_info" not in document
        text = document["exception"]
    assert "Traceback (most recent call last)" in text
    assert "in fail\n" in text
    assert "test_logs.DriverError: duplicate key" in text
    assert "The above exception was the direct cause" in text
    assert VOTER not in text
    assert CITIZEN not in text
    assert "oui" not in text.replace('fail(VOTER, CITIZEN, "oui")', "")


def test_errors_in_a_group_are_formatted_too(
    lines: Callable[[str], io.StringIO],
) -> None:
    out = lines("json")
    try:
        raise ExceptionGroup("two failed", [ValueError(f"bad {VOTER}"), OSError(5, "no answer")])
    except ExceptionGroup as error:
        given = error
    structlog.stdlib.get_logger("test").error("it failed", exc_info=given)
    text = json.loads(out.getvalue())["exception"]
    assert "ValueError: bad [...]" in text
    assert "OSError: [Errno 5] no answer" in text


def test_messages_of_our_own_errors_stay_whole(lines: Callable[[str], io.StringIO]) -> None:
    out = lines("json")
    try:
        raise ScrutinError("The log was truncated", where={"topic": "votes.validation"})
    except ScrutinError:
        structlog.stdlib.get_logger("test").exception("it failed")
    text = json.loads(out.getvalue())["exception"]
    assert "The log was truncated" in text
    assert "votes.validation" in text


def test_no_log_line_is_given_a_voter_or_a_choice() -> None:
    calls = [
        node
        for path in STREAMS.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and (node.func.value.id, node.func.attr in LEVELS) == ("log", True)
    ]
    assert len(calls) > 50
    for call in calls:
        named = {word.arg for word in call.keywords}
        for node in ast.walk(call):
            if isinstance(node, ast.Name | ast.Attribute):
                named.add(node.id if isinstance(node, ast.Name) else node.attr)
        assert not {name for name in named if name and set(name.split("_")) & VOTES}, ast.unparse(
            call
        )
