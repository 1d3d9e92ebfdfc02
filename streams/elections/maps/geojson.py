"""A map of regions from GeoJSON (RFC 7946), small enough for a page. Pure.

Coordinates are longitude and latitude. The map is equirectangular, with the width of a degree in
the middle of the map: true enough for a country, and lines of latitude stay level.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, Final

import msgspec

from streams.elections.maps.outlines import Outlines, Ring
from streams.errors import ScrutinError

MAX_BYTES: Final = 32 << 20
MAX_FEATURES: Final = 3000
MAX_POINTS: Final = 1_000_000
MAX_SENT_BYTES: Final = 40_000
"""Of a map as it is sent, compressed."""
SIDE: Final = 2000
"""Longer side of the grid."""
_AREAS: Final = tuple(2**n for n in range(15))
"""Doubled areas below which details are left out, in squares of the grid: the first that does."""
_NARROWEST: Final = 0.1
"""Of a degree of longitude, for maps that end at a pole."""
_SAME: Final = frozenset({"urn:ogc:def:crs:OGC:1.3:CRS84", "urn:ogc:def:crs:OGC::CRS84"})
_MAX_TOLD: Final = 5

_Position = Annotated[list[float], msgspec.Meta(min_length=2)]
_LinearRing = Annotated[list[_Position], msgspec.Meta(min_length=4)]
_Rings = list[_LinearRing]


class MapRefused(ScrutinError):
    """A file is no map of the election's regions."""


class _Polygon(msgspec.Struct, frozen=True, tag_field="type", tag="Polygon"):
    coordinates: _Rings


class _MultiPolygon(msgspec.Struct, frozen=True, tag_field="type", tag="MultiPolygon"):
    coordinates: list[_Rings]


class _Feature(msgspec.Struct, frozen=True, tag_field="type", tag="Feature"):
    geometry: _Polygon | _MultiPolygon | None
    properties: dict[str, Any] | None


class _Collection(msgspec.Struct, frozen=True, tag_field="type", tag="FeatureCollection"):
    features: Annotated[list[_Feature], msgspec.Meta(max_length=MAX_FEATURES)]
    crs: Any = None


class RegionMap(msgspec.Struct, frozen=True):
    """Shapes of regions, to be drawn in a picture of this size."""

    width: int
    height: int
    regions: dict[str, str]
    """Id of a region -> path as SVG has it, filled by the even-odd rule."""


@dataclass(frozen=True)
class ReadMap:
    """A map, and what has no place on it."""

    document: bytes
    """A :class:`RegionMap` as JSON, compressed by gzip."""
    drawn: int
    """Regions on the map."""
    without_shape: tuple[str, ...]
    """Codes of regions that the file does not have."""
    without_region: tuple[str, ...]
    """Shapes that are left out, by the property, because no region has that code."""


def read_map(content: bytes, regions: Mapping[str, int], property_name: str) -> ReadMap:
    """Read a map.

    Args:
        content: a feature collection of polygons.
        regions: code -> id of the regions of an election.
        property_name: of the features, with the code of the region.

    Raises:
        MapRefused: it is none, has no shape of any region, or is too large.
    """
    if len(content) > MAX_BYTES:
        raise _refused(f"it has more than {MAX_BYTES:,} bytes")
    try:
        found = msgspec.json.decode(content, type=_Collection)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _refused(str(error)) from error
    if found.crs is not None and _name_of(found.crs) not in _SAME:
        raise _refused("its coordinates are not longitude and latitude (WGS 84): convert them")
    shapes: dict[str, list[_LinearRing]] = {}
    strangers: dict[str, None] = {}
    for number, feature in enumerate(found.features):
        code = _text((feature.properties or {}).get(property_name))
        rings = list(_rings_of(feature))
        _check(rings, number)
        if code in regions:
            shapes.setdefault(code, []).extend(rings)
        elif rings:
            strangers[code or f"feature {number}"] = None
    if sum(len(ring) for rings in shapes.values() for ring in rings) > MAX_POINTS:
        raise _refused(f"it has more than {MAX_POINTS:,} points: simplify it")
    shapes = {code: rings for code, rings in shapes.items() if rings}
    if not shapes:
        raise _no_region(found.features, regions, property_name)
    return ReadMap(
        _drawn({str(regions[code]): rings for code, rings in shapes.items()}),
        len(shapes),
        tuple(sorted(regions.keys() - shapes.keys())),
        tuple(strangers),
    )


def _refused(why: str, todo: str = "") -> MapRefused:
    return MapRefused(f"The map cannot be used: {why}", todo=todo)


def _name_of(crs: Any) -> Any:
    properties = crs.get("properties") if isinstance(crs, dict) else None
    return properties.get("name") if isinstance(properties, dict) else None


def _text(value: Any) -> str:
    """A code as text; nothing for what can be none."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    return str(value).strip()


def _no_region(
    features: list[_Feature], regions: Mapping[str, int], property_name: str
) -> MapRefused:
    names = {name: value for f in features for name, value in (f.properties or {}).items()}
    shown = ", ".join(f"{name} ({_text(value)[:20]})" for name, value in sorted(names.items())[:20])
    codes = ", ".join(sorted(regions)[:_MAX_TOLD])
    return _refused(
        f"no feature has the code of a region in its property {property_name!r}",
        todo=f"Name the property with --property. Regions have codes such as {codes}; features "
        f"have {shown or 'no properties'}",
    )


def _rings_of(feature: _Feature) -> Iterator[_LinearRing]:
    if isinstance(feature.geometry, _Polygon):
        yield from feature.geometry.coordinates
    elif feature.geometry is not None:
        for polygon in feature.geometry.coordinates:
            yield from polygon


def _check(rings: Iterable[_LinearRing], number: int) -> None:
    for ring in rings:
        if ring[0] != ring[-1]:
            raise _refused(f"a ring of feature {number} does not end where it begins")
        if any(not (abs(at[0]) <= 180 and abs(at[1]) <= 90) for at in ring):
            raise _refused(
                f"feature {number} has a point that is no longitude and latitude",
                todo="Convert the file to WGS 84 (EPSG:4326)",
            )


def _drawn(shapes: Mapping[str, list[_LinearRing]]) -> bytes:
    """The most detailed map that is small enough."""
    width, height, rings = _projected(shapes)
    outlines = Outlines(rings)
    for area in _AREAS:
        simple = outlines.simplified(area)
        paths = {name: "".join(map(_path, each)) for name, each in simple.items()}
        document = msgspec.json.encode(RegionMap(width, height, paths))
        sent = gzip.compress(document, 9, mtime=0)
        if len(sent) <= MAX_SENT_BYTES:
            return sent
    raise _refused(f"it has more than {MAX_SENT_BYTES:,} bytes however simple it is drawn")


def _projected(
    shapes: Mapping[str, list[_LinearRing]],
) -> tuple[int, int, dict[str, list[Ring]]]:
    """Width, height and rings on the grid."""
    every = [ring for rings in shapes.values() for ring in rings]
    west = _west(every)
    lons = [_east_of(west, at[0]) for ring in every for at in ring]
    lats = [at[1] for ring in every for at in ring]
    right, low, high = max(lons), min(lats), max(lats)
    narrow = max(_NARROWEST, math.cos(math.radians((low + high) / 2)))
    wide, tall = (right - west) * narrow, high - low
    if not wide or not tall:
        raise _refused("its shapes have no area")
    scale = SIDE / max(wide, tall)

    def placed(ring: _LinearRing) -> Ring:
        return tuple(
            (round((_east_of(west, at[0]) - west) * narrow * scale), round((high - at[1]) * scale))
            for at in ring
        )

    return (
        max(1, round(wide * scale)),
        max(1, round(tall * scale)),
        {name: [placed(ring) for ring in rings] for name, rings in shapes.items()},
    )


def _west(rings: Iterable[_LinearRing]) -> float:
    """Where the map begins: behind the widest stretch of longitudes without a shape.

    A country on both sides of the 180th meridian has its shapes cut there (RFC 7946).
    """
    spans = sorted((min(at[0] for at in ring), max(at[0] for at in ring)) for ring in rings)
    reached = [spans[0][1]]
    for _, end in spans[1:]:
        reached.append(max(reached[-1], end))
    around = 360 + spans[0][0] - reached[-1]
    gaps = [(after[0] - end, after[0]) for end, after in zip(reached, spans[1:], strict=False)]
    widest, west = max(gaps, default=(0.0, 0.0))
    return west if widest > around else spans[0][0]


def _east_of(west: float, longitude: float) -> float:
    return longitude if longitude >= west else longitude + 360


def _path(ring: Ring) -> str:
    steps = [f"{b[0] - a[0]} {b[1] - a[1]}" for a, b in pairwise(ring)]
    # A minus separates numbers too.
    return f"M{ring[0][0]} {ring[0][1]}l{' '.join(steps)}z".replace(" -", "-")
