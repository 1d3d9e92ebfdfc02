"""The attacks that there are, and what is called a finding."""

from __future__ import annotations

from dataclasses import replace

from tests.hostile.attacks import ATTACKS, DOORS, KINDS
from tests.hostile.broken import BOUNDS
from tests.hostile.running import Result

WELL = Result(
    attack="http: slow",
    connections=60,
    votes=400,
    p99_alone_ms=20.0,
    p99_ms=60.0,
    memory_mib={"gateway": 128, "bridge": 3, "rabbitmq": 512},
    cpu_percent={"gateway": 50.0, "hostile": 90.0},
    hostile_mib=10.0,
    honest_errors=[],
    lost=0,
    longest_s=30.0,
    left=0,
    told=[],
)


def test_every_kind_of_client_is_played_at_every_door() -> None:
    played = [each.name for each in ATTACKS]
    assert sorted(played) == sorted(f"{door}: {kind}" for door in DOORS for kind in KINDS)
    assert all(each.clients >= len(each.runs) for each in ATTACKS)
    assert {each.attack for each in BOUNDS.values()} <= set(played)


def test_a_result_within_all_bounds_has_no_finding() -> None:
    assert WELL.findings() == []


def test_every_bound_that_is_passed_is_a_finding() -> None:
    for worse, finding in (
        (replace(WELL, votes=0), "no honest vote was answered"),
        (replace(WELL, p99_ms=60.1), "honest p99 60.1 ms instead of 20.0 ms"),
        (replace(WELL, memory_mib={"gateway": 129}), "gateway grew by 129 MiB"),
        (replace(WELL, memory_mib={"bridge": 129}), "bridge grew by 129 MiB"),
        (replace(WELL, memory_mib={"rabbitmq": 513}), "rabbitmq grew by 513 MiB"),
        (replace(WELL, honest_errors=["a vote was answered 503"]), "a vote was answered 503"),
        (replace(WELL, lost=1), "1 votes lost, 0 connections left"),
        (replace(WELL, left=2), "0 votes lost, 2 connections left"),
        (replace(WELL, told=["40 guesses were answered"]), "40 guesses were answered"),
    ):
        assert worse.findings() == [finding]
    assert replace(WELL, p99_ms=500.0).findings(slowdown=None) == []


def test_where_a_bound_is_missing_only_not_to_notice_it_is_a_finding() -> None:
    hurt = replace(WELL, p99_ms=500.0, honest_errors=["a vote was answered 503"], without="guesses")
    assert hurt.findings() == ["the missing bound of guesses was not noticed"]
    assert hurt.name == "http: slow, without the bound of guesses: not noticed"
    for shows in (replace(hurt, left=1), replace(hurt, told=["40 guesses were answered"])):
        assert shows.findings() == []
        assert shows.name.endswith(": noticed")
