"""What the bench makes of its figures."""

from __future__ import annotations

import re

import pytest
import typer

from tests.bench import growth
from tests.bench.__main__ import FIGURES, choose
from tests.bench.compare import ratios
from tests.bench.figure import Found
from tests.bench.growth_plot import curves, draw


def test_ratios_are_of_runs_that_follow_each_other() -> None:
    def run(per_s: int, worker_us: float, bridge_us: float, p99_s: float) -> Found:
        return {
            "votes_per_s": per_s,
            "raw_drain_per_s": 400,
            "cpu_us_per_vote": {"worker": worker_us, "bridge": bridge_us, "redis": 0.0},
            "latency": {"p50": 0.04, "p99": p99_s},
        }

    found = ratios(
        {
            "this": [run(300, 10, 5, 0.25), run(100, 12, 6, 0.5)],
            "other": [run(200, 20, 5, 0.5), run(100, 12, 12, 0.5)],
        }
    )
    assert found["votes a second"] == [1.5, 1.0]
    assert found["this tree's votes a second beside the raw drain"] == [0.75, 0.25]
    assert found["the other's beside the raw drain"] == [0.5, 0.25]
    assert (found["latency, p50"], found["latency, p99"]) == ([1.0, 1.0], [0.5, 1.0])
    assert found["CPU a vote, worker"] == [0.5, 1.0]
    assert found["CPU a vote, all"] == [0.6, 0.75]
    # A process that used nothing has no ratio.
    assert found["CPU a vote, redis"] == []


def test_figures_are_chosen_by_name() -> None:
    assert [figure.name for figure in choose(["stage", "restore"], long=False)] == [
        "stage",
        "restore",
    ]
    assert [figure.name for figure in choose([], long=False)] == ["throughput", "latency"]
    assert choose([], long=True) == list(FIGURES.values())
    with pytest.raises(typer.BadParameter, match="no figure 'stages'"):
        choose(["stages"], long=False)


def test_growth_is_a_median_of_pairs() -> None:
    def took(worker: float, postgres: float) -> dict[str, dict[str, float]]:
        return {"cpu_us_per_vote": {"worker": worker, "postgres": postgres}}

    # A machine that became slower was so for both of a pair.
    size = {
        "rounds": [took(40.0, 12.0), took(90.0, 21.0), took(50.0, 14.0)],
        "empty": [took(40.0, 10.0), took(80.0, 20.0), took(40.0, 10.0)],
    }
    assert growth.ratios(size) == (pytest.approx(1.11), pytest.approx(1.2))


def test_growth_is_drawn() -> None:
    sizes = [
        {"size": 0, "cpu_us_per_vote": {"worker": 30.0, "postgres": 10.0}},
        {"size": 1_000_000, "cpu_us_per_vote": {"worker": 32.0, "postgres": 12.0}},
    ]
    assert curves(sizes) == {"whole chain": [40.0, 44.0], "PostgreSQL": [10.0, 12.0]}
    drawing = draw(sizes)
    assert re.findall(r">([^<\n]+)</text>", drawing) == [
        *("votes counted before", "µs", "none", "1 million"),
        *("40.0", "44.0", "whole chain", "10.0", "12.0", "PostgreSQL"),
    ]
    # The most is at the top, and both curves end at the right.
    assert re.findall(r'points="[^ ]+ ([^"]+)"', drawing) == ["490.0,20.0", "490.0,187.3"]
