"""What `make chaos` runs, leaves out and remembers."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from tests.faults.__main__ import plan, read, shard_of
from tests.faults.registry import HEAVY_VOTES, LIGHT_VOTES, Scenario, scenarios
from tests.faults.running import Result
from tests.faults.world import World


async def nothing(world: World) -> None:
    """Nothing."""


ONE = Scenario("one", "a", nothing)
TWO = Scenario("two", "b", nothing, heavy=True)
THREE = Scenario("three", "b", nothing)
ALL = [ONE, TWO, THREE]


def planned(only: list[str], *, seeds: int = 0, votes: int = 0) -> list[tuple[str, int, int]]:
    return [task.key for task in plan(ALL, only, seeds=seeds, first_seed=1, votes=votes)]


def test_heavy_scenarios_have_more_votes_and_seeds_and_first_seeds_come_first() -> None:
    assert planned([])[:4] == [
        ("one", 1, LIGHT_VOTES),
        ("two", 1, HEAVY_VOTES),
        ("three", 1, LIGHT_VOTES),
        ("two", 2, HEAVY_VOTES),
    ]
    assert len(planned([])) == 7


def test_scenarios_are_chosen_by_name_or_group() -> None:
    assert {name for name, _, _ in planned(["b"])} == {"two", "three"}
    assert planned(["one", "three"], seeds=2, votes=100) == [
        ("one", 1, 100),
        ("three", 1, 100),
        ("one", 2, 100),
        ("three", 2, 100),
    ]


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(typer.BadParameter, match="four"):
        planned(["one", "four"])


def test_shards_are_disjoint_and_complete() -> None:
    tasks = planned([])
    parts = [tasks[shard_of(f"{i}/3")[0] - 1 :: 3] for i in (1, 2, 3)]
    assert sorted(key for part in parts for key in part) == sorted(tasks)


@pytest.mark.parametrize("text", ["", "1", "0/2", "3/2", "a/b", "1/2/3", "-1/2"])
def test_a_shard_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is not"):
        shard_of(text)


def test_results_are_read_back_and_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    result = Result("one", 1, 20_000, outcome="wrong", findings=["lost: 1"], exits={"31": 2})
    file.write_text(result.to_json() + "\n" + result.to_json()[:40])
    assert read(file) == {result.key: result}
    assert read(tmp_path / "absent") == {}


def test_every_scenario_says_what_happens() -> None:
    known = scenarios()
    assert len({one.name for one in known}) == len(known) > 20
    assert all(one.about.endswith(".") for one in known)
