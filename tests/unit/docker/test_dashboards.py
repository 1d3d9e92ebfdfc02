"""Grafana's dashboards: every panel says what it shows, in which unit, and where from."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

FILES = sorted((Path(__file__).parents[3] / "docker" / "grafana" / "dashboards").glob("*.json"))
DASHBOARDS = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in FILES}
PANELS = [
    pytest.param(panel, id=f"{name}-{panel['id']}")
    for name, dashboard in DASHBOARDS.items()
    for panel in dashboard["panels"]
]
COLUMNS = 24


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_explains_itself(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"] == {"type": "prometheus", "uid": "${source}"}


@pytest.mark.parametrize("panel", PANELS)
def test_each_query_of_a_panel_is_told_apart(panel: dict[str, Any]) -> None:
    letters = [target["refId"] for target in panel["targets"]]
    assert len(set(letters)) == len(letters) > 0
    legends = [target["legendFormat"] for target in panel["targets"]]
    assert len(set(legends)) == len(legends)


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)
def test_ids_and_titles_are_unique(dashboard: dict[str, Any]) -> None:
    for name in ("id", "title"):
        values = [panel[name] for panel in dashboard["panels"]]
        assert len(set(values)) == len(values)


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)
def test_no_panel_covers_another(dashboard: dict[str, Any]) -> None:
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    for place in places:
        assert place["x"] >= 0 < place["w"]
        assert place["y"] >= 0 < place["h"]
        assert place["x"] + place["w"] <= COLUMNS
    for one, other in combinations(places, 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)
def test_the_source_is_a_variable(dashboard: dict[str, Any]) -> None:
    variables = {one["name"]: one for one in dashboard["templating"]["list"]}
    assert variables["source"]["type"] == "datasource"
    assert variables["source"]["query"] == "prometheus"


def test_dashboards_find_one_another() -> None:
    assert len({dashboard["uid"] for dashboard in DASHBOARDS.values()}) == len(FILES) == 4
    for dashboard in DASHBOARDS.values():
        assert [link["tags"] for link in dashboard["links"]] == [dashboard["tags"]]


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)
def test_openings_and_closings_are_marked(dashboard: dict[str, Any]) -> None:
    """By the time that is the metric's value."""
    notes = dashboard["annotations"]["list"]
    assert [note["name"] for note in notes] == ["Openings", "Closings"]
    for note, change in zip(notes, ("opened", "closed"), strict=True):
        assert note["useValueForTime"] is True
        metric = "scrutin_contest_changed_timestamp_seconds"
        assert note["expr"] == f'{metric}{{change="{change}"}} * 1000'


def test_the_count_is_shown_for_chosen_contests() -> None:
    dashboard = DASHBOARDS["count"]
    variables = {one["name"]: one for one in dashboard["templating"]["list"]}
    assert variables["contest"]["query"] == "label_values(current_vote_totals, law_id)"
    by_contest = [
        target["expr"]
        for panel in dashboard["panels"]
        for target in panel["targets"]
        if "by (law_id" in target["expr"]
    ]
    chosen = [expr for expr in by_contest if 'law_id=~"$contest"' in expr]
    assert len(chosen) >= 3
