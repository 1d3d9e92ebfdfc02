"""TotalsComparison of two counts: what differs, what is left out, and where counts are read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from schemas.control import ContestKind
from streams.adopt.compare import SourceTotals, compare
from streams.adopt.counts import CountSource, parse_source, read_count
from streams.errors import ScrutinError, ServiceUnavailable, SettingsError
from streams.settings.configs import PostgresConfig

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
OURS = PostgresConfig("db", 5432, "scrutin", "counter", "secret")


def count(totals: Mapping[tuple[str, str], int], *kinds: ContestKind, **more: Any) -> SourceTotals:
    kinds = kinds or tuple(ContestKind)
    return SourceTotals("a", totals, dict.fromkeys(kinds, "a table"), NOW, **more)


def test_every_choice_is_compared_and_zero_is_as_good_as_absent() -> None:
    old = count({("law-1", "oui"): 5, ("law-1", "non"): 0, ("election:1", "7"): 3})
    new = count({("law-1", "oui"): 5, ("election:1", "8"): 3})
    found = compare(old, new)
    assert [(d.contest, d.choice, d.more) for d in found.differences] == [
        ("election:1", "7", -3),
        ("election:1", "8", 3),
    ]
    assert len(found.rows) == 3
    assert not found.equal
    assert compare(old, old).equal


def test_a_kind_that_one_side_does_not_know_is_named_and_not_compared() -> None:
    old = count({("law-1", "oui"): 5}, ContestKind.LAW)
    new = count({("law-1", "oui"): 5, ("poll:1", "2"): 9, ("election:1", "2"): 0})
    found = compare(old, new)
    assert found.equal
    assert found.not_compared[0] == "contests of the kind poll: a has no totals of them"
    assert not any("election" in what for what in found.not_compared)


def test_two_counts_without_a_common_kind_are_not_equal() -> None:
    assert not compare(count({}, ContestKind.LAW), count({}, ContestKind.POLL)).equal


def test_the_age_is_that_of_the_last_change() -> None:
    assert count({}, changed=NOW - timedelta(seconds=90)).age_s == 90
    assert count({}, changed=NOW + timedelta(seconds=1)).age_s == 0
    assert count({}).age_s is None


@pytest.mark.parametrize(
    ("given", "database", "schema", "host"),
    [
        ("", "scrutin", "public", "db"),
        ("voting", "voting", "public", "db"),
        ("voting/old", "voting", "old", "db"),
        ("postgresql://reader:pa%40ss@elsewhere:6543/votes?schema=x", "votes", "x", "elsewhere"),
    ],
)
def test_databases_are_named_in_three_ways(
    given: str, database: str, schema: str, host: str
) -> None:
    found = parse_source(given, OURS)
    assert found.postgres is not None
    assert (found.postgres.database, found.schema, found.postgres.host) == (database, schema, host)
    if "reader" in given:
        assert (found.postgres.user, found.postgres.password) == ("reader", "pa@ss")
        assert "pa" not in found.name


def test_other_addresses_are_refused() -> None:
    with pytest.raises(SettingsError, match="Not a count"):
        parse_source("mysql://host/db", OURS)


PAGES: dict[str, Any] = {
    "/api/v1/results": [
        {"law_id": "l", "oui_count": 2, "non_count": 1, "updated_at": "2026-11-29T10:00:00"}
    ],
    "/api/v1/regions": [{"id": 1}, {"id": 2}],
    "/api/v1/elections": [{"id": 4}],
    "/api/v1/elections/4/regions/1/results": {
        "candidates": [{"candidate_id": 7, "votes": 5}],
        "updated_at": "2026-11-29T11:00:00Z",
    },
}


@pytest.fixture
async def api() -> AsyncIterator[TestServer]:
    async def answer(request: web.Request) -> web.Response:
        if request.path not in PAGES:
            return web.json_response({"detail": "none"}, status=404)
        return web.json_response(PAGES[request.path])

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    async with TestServer(app) as server:
        yield server


async def test_totals_over_http_and_what_the_api_lacks(api: TestServer) -> None:
    found = await read_count(parse_source(f"{api.make_url('/')}", OURS), "")
    assert found.totals == {("l", "oui"): 2, ("l", "non"): 1, ("election:4", "7"): 5}
    assert found.read.keys() == {ContestKind.LAW, ContestKind.ELECTION}
    assert found.changed == datetime(2026, 11, 29, 11, tzinfo=UTC)
    [left_out] = found.left_out
    assert left_out.endswith("/api/polls/get-list/: answers 404")


async def test_an_address_without_results_or_without_an_answer(api: TestServer) -> None:
    url = f"{api.make_url('/elsewhere')}"
    with pytest.raises(ScrutinError, match="shows no results"):
        await read_count(CountSource(url, url=url), "")
    port = api.port
    await api.close()
    with pytest.raises(ServiceUnavailable):
        await read_count(CountSource("x", url=f"http://127.0.0.1:{port}"), "")
