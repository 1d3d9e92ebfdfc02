"""Maps from GeoJSON: what is drawn, what is left out and told, and what is refused."""

from __future__ import annotations

import gzip
import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from streams.elections.maps import geojson
from streams.elections.maps.geojson import (
    MAX_SENT_BYTES,
    SIDE,
    MapRefused,
    ReadMap,
    RegionMap,
    read_map,
)
from tests.unit.elections.maps.grid import STEPS, Grid, Position, collection, feature

SQUARE: list[Position] = [(0, 0), (2, 0), (2, 2), (0, 2), (0, 0)]
EAST: list[Position] = [(2, 0), (4, 0), (4, 2), (2, 2), (2, 0)]
REGIONS = {"N": 10, "S": 20}


def read(document: Any, regions: dict[str, int] = REGIONS, name: str = "code") -> ReadMap:
    return read_map(json.dumps(document).encode(), regions, name)


def drawn(found: ReadMap) -> RegionMap:
    return msgspec.json.decode(gzip.decompress(found.document), type=RegionMap)


def points(path: str) -> list[list[tuple[int, int]]]:
    """The rings of a path, which has steps from point to point."""
    rings = []
    for ring in re.findall(r"M([^z]*)z", path):
        begin, steps = ring.split("l")
        numbers = [int(n) for n in re.findall(r"-?\d+", steps)]
        x, y = map(int, begin.split())
        found = [(x, y)]
        for dx, dy in zip(numbers[::2], numbers[1::2], strict=True):
            x, y = x + dx, y + dy
            found.append((x, y))
        rings.append(found)
    return rings


def test_regions_are_drawn_by_their_code_and_the_rest_is_told() -> None:
    found = read(
        collection(
            [
                feature([SQUARE], {"code": "N", "name": "North"}),
                feature([EAST], {"code": "X"}),
                feature([EAST], None),
                {"type": "Feature", "properties": {"code": "S"}, "geometry": None},
            ]
        )
    )
    assert (found.drawn, found.without_shape) == (1, ("S",))
    assert found.without_region == ("X", "feature 2")
    made = drawn(found)
    assert list(made.regions) == ["10"]
    # A degree of longitude is as long as one of latitude near the equator.
    assert max(made.width, made.height) == SIDE
    assert abs(made.width - made.height) < 2
    # North is up, and a straight border has no points between its corners.
    assert set(points(made.regions["10"])[0]) == {
        *((0, 0), (made.width, 0), (0, made.height), (made.width, made.height)),
    }


def test_codes_may_be_numbers_and_a_region_may_have_parts_and_holes() -> None:
    hole: list[Position] = [(0.5, 0.5), (1, 0.5), (1, 1), (0.5, 1), (0.5, 0.5)]
    parts = {
        "type": "Feature",
        "properties": {"nr": 7},
        "geometry": {"type": "MultiPolygon", "coordinates": [[SQUARE, hole], [EAST]]},
    }
    again = feature([[(x, y + 3) for x, y in SQUARE]], {"nr": 7})
    found = read(collection([parts, again]), {"7": 7}, "nr")
    assert len(points(drawn(found).regions["7"])) == 4


def test_longitude_is_narrower_in_the_north() -> None:
    north = [(x, y + 59) for x, y in SQUARE]
    made = drawn(read(collection([feature([north], {"code": "N"})])))
    assert made.height == SIDE
    assert made.width == pytest.approx(SIDE / 2, abs=2)


def test_a_country_on_both_sides_of_the_180th_meridian_is_in_one_piece() -> None:
    west = [(x - 180, y) for x, y in SQUARE]
    east = [(x + 178, y) for x, y in SQUARE]
    found = read(collection([feature([west], {"code": "N"}), feature([east], {"code": "S"})]))
    made = drawn(found)
    assert made.width == SIDE
    assert max(x for x, _ in points(made.regions["20"])[0]) == SIDE // 2
    assert min(x for x, _ in points(made.regions["10"])[0]) == SIDE // 2


def test_six_hundred_regions_are_small_and_their_borders_meet() -> None:
    grid = Grid(30, 20)
    found = read(collection(list(grid.features())), {f"R{n}": n for n in range(1, 601)})
    assert (found.drawn, found.without_shape, found.without_region) == (600, (), ())
    assert len(found.document) <= MAX_SENT_BYTES
    borders: dict[frozenset[tuple[int, int]], int] = {}
    for path in drawn(found).regions.values():
        for ring in points(path):
            for a, b in zip(ring, ring[1:] + ring[:1], strict=True):
                if a != b:
                    edge = frozenset((a, b))
                    borders[edge] = borders.get(edge, 0) + 1
    # Only the coast has one side: a gap between two regions would have edges of its own.
    alone = [edge for edge, count in borders.items() if count % 2]
    assert len(borders) > 2000
    assert len(alone) <= 2 * (30 + 20) * STEPS
    inner = [
        edge
        for edge in alone
        if all(SIDE / 20 < x < SIDE * 19 / 20 and SIDE / 20 < y < SIDE * 0.7 for x, y in edge)
    ]
    assert inner == []


def test_a_region_smaller_than_the_grid_is_still_there() -> None:
    tiny: list[Position] = [(1, 1), (1.0001, 1), (1.0001, 1.0001), (1, 1)]
    made = drawn(
        read(collection([feature([SQUARE], {"code": "N"}), feature([tiny], {"code": "S"})]))
    )
    [ring] = points(made.regions["20"])
    assert len(ring) == 4


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"type": "Feature"}, "Invalid value 'Feature'"),
        (
            collection([{"type": "Feature", "properties": {}, "geometry": {"type": "Point"}}]),
            "Point",
        ),
        (collection([feature([SQUARE[:4]], {"code": "N"})]), "does not end where it begins"),
        (collection([feature([SQUARE[:3]], {"code": "N"})]), "length >= 4"),
        (collection([feature([[(0, 0), (1, 0), (1,), (0, 0)]], {"code": "N"})]), "length >= 2"),
        (
            collection([feature([[(x * 1e5, y) for x, y in SQUARE]], {"code": "N"})]),
            "no longitude and latitude",
        ),
        (collection([feature([[(0, 0), (1, 0), (0, 0), (0, 0)]], {"code": "N"})]), "no area"),
        (collection([feature([SQUARE], {"nr": "N"})]), "no feature has the code"),
        (
            {**collection([]), "crs": {"properties": {"name": "urn:ogc:def:crs:EPSG::3857"}}},
            "convert them",
        ),
    ],
)
def test_what_is_no_map_is_refused_with_the_reason(document: Any, told: str) -> None:
    with pytest.raises(MapRefused, match=re.escape(told)):
        read(document)


def test_the_refusal_names_the_properties_of_the_file() -> None:
    with pytest.raises(MapRefused) as refused:
        read(collection([feature([SQUARE], {"nr": "24001"})]))
    assert "nr (24001)" in str(refused.value.todo)
    assert "codes such as N, S" in str(refused.value.todo)


def test_a_map_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    square = collection([feature([SQUARE], {"code": "N"})])
    for name, limit in (("MAX_BYTES", 10), ("MAX_POINTS", 4), ("MAX_SENT_BYTES", 10)):
        with monkeypatch.context() as patched:
            patched.setattr(geojson, name, limit)
            with pytest.raises(MapRefused, match="more than"):
                read(square)
    many = collection([feature([SQUARE], {"code": "N"})] * (geojson.MAX_FEATURES + 1))
    with pytest.raises(MapRefused, match=f"length <= {geojson.MAX_FEATURES}"):
        read(many)


_coordinate = st.tuples(
    st.floats(-180, 180, allow_nan=False), st.floats(-90, 90, allow_nan=False)
).map(list)
_ring = st.lists(_coordinate, min_size=3, max_size=12).map(lambda ring: [*ring, ring[0]])


@given(st.lists(st.lists(_ring, min_size=1, max_size=3), min_size=1, max_size=4))
def test_any_rings_give_a_map_inside_its_picture(polygons: Any) -> None:
    features = [feature(rings, {"code": f"R{n}"}) for n, rings in enumerate(polygons)]
    regions = {f"R{n}": n for n in range(len(polygons))}
    points_of = [at for rings in polygons for ring in rings for at in ring]
    assume(all(len({round(at[axis], 6) for at in points_of}) > 1 for axis in (0, 1)))
    made = drawn(read(collection(features), regions))
    assert len(made.regions) == len(polygons)
    for path in made.regions.values():
        for ring in points(path):
            assert len(ring) >= 3
            assert all(-1 <= x <= made.width + 1 and -1 <= y <= made.height + 1 for x, y in ring)
