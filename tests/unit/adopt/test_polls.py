"""The contests of adopted polls, and the addresses of their databases."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.control import ContestRoll, ContestState
from streams.adopt.counts import parse_database
from streams.adopt.dialects import AUDIT, POLL_COLUMNS, POLL_LOG, POLL_OPTIONS, POLLS, dialect
from streams.adopt.old_system import reader_schemas
from streams.adopt.polls import contest_of_poll
from streams.errors import ScrutinError
from streams.settings.configs import PostgresConfig

NOW_MS = 1_800_000_000_000


def poll(**fields: Any) -> dict[str, Any]:
    return {
        "id": 7,
        "title": "Lunch",
        "choices": ["12", "13"],
        "ends_ms": NOW_MS + 1,
        "active": True,
        **fields,
    }


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({}, ContestState.OPEN),
        ({"ends_ms": NOW_MS}, ContestState.CLOSED),
        # Its service closes a poll some seconds after its end, and never opens it again.
        ({"active": False}, ContestState.CLOSED),
    ],
)
def test_a_poll_is_open_until_its_end(fields: dict[str, Any], state: str) -> None:
    contest = contest_of_poll(poll(**fields), NOW_MS)
    assert (contest.id, contest.state, contest.choices, contest.roll) == (
        "poll:7",
        state,
        ["12", "13"],
        ContestRoll.OPEN,
    )
    assert contest.closes_ms == poll(**fields)["ends_ms"]


def test_a_title_that_no_contest_can_have_does_not_stop_an_adoption() -> None:
    assert contest_of_poll(poll(), NOW_MS).title == "Lunch"
    assert contest_of_poll(poll(title="a\nb"), NOW_MS).title == "poll:7"


def tables(*names: str) -> dict[str, dict[str, str]]:
    return {name: dict.fromkeys(POLL_COLUMNS[name], "text") for name in names}


def test_polls_need_their_three_tables() -> None:
    found = dialect("public", tables(POLLS, POLL_OPTIONS, POLL_LOG))
    assert found.polls
    assert found.tables == (POLLS, POLL_LOG, POLL_OPTIONS)
    with pytest.raises(ScrutinError, match="polls_votelog has no created_at, option_id_id"):
        dialect("public", tables(POLLS, POLL_OPTIONS))
    with pytest.raises(ScrutinError, match="no polls_poll"):
        dialect("public", tables(POLL_LOG))


def test_readers_find_the_statuses_that_the_audit_had() -> None:
    deployed = {AUDIT: {"vote": "text", "status": "text"}}
    assert reader_schemas(deployed, accepted=False) == ["reader_voting"]
    assert reader_schemas(deployed, accepted=True) == ["reader_api"]
    assert reader_schemas(tables(POLLS), accepted=False) == []


def test_an_address_of_a_database() -> None:
    ours = PostgresConfig("here", 5432, "scrutin", "scrutin", "secret")
    assert parse_database("", ours).postgres == ours
    named = parse_database("poll_db/old", ours)
    assert (named.postgres.database, named.schema, named.postgres.host) == (
        "poll_db",
        "old",
        "here",
    )
    far = parse_database("postgresql://ann:pw@there:5433/vote_db", ours)
    assert (far.postgres.host, far.postgres.port, far.postgres.user) == ("there", 5433, "ann")
    assert far.name == "there/vote_db/public"
