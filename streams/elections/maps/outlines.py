"""Outlines of regions on a grid, simplified so that neighbours still meet. Pure.

A border that two regions share is one arc, which both simplify to the same line: no gap opens
between them. Arcs end where three borders meet.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final

Point = tuple[int, int]
Ring = tuple[Point, ...]
"""Without the first point again at the end."""
_FEWEST: Final = 3
"""Points of a ring that has an area."""
_NEVER: Final = float("inf")


class Outlines:
    """The outlines of all regions, from which simpler ones are made.

    Args:
        rings: of each region, holes too.
    """

    def __init__(self, rings: Mapping[str, Sequence[Sequence[Point]]]) -> None:
        distinct = {name: [_distinct(ring) for ring in each] for name, each in rings.items()}
        self._bounds = {name: _rectangle(each) for name, each in distinct.items()}
        every = {
            name: [ring for ring in each if len(ring) >= _FEWEST] for name, each in distinct.items()
        }
        ends = _junctions(ring for each in every.values() for ring in each)
        self._arcs: dict[Ring, list[float]] = {}
        """Points of an arc -> the doubled area that is lost with each of them."""
        self._rings = {
            name: [[self._known(arc) for arc in _arcs(ring, ends)] for ring in each]
            for name, each in every.items()
        }

    def _known(self, arc: Ring) -> tuple[Ring, bool]:
        """An arc in one direction, whichever region has it; whether that is the other one."""
        turned = arc[::-1]
        key = min(arc, turned)
        if key not in self._arcs:
            self._arcs[key] = _weights(key)
        return key, key != arc

    def simplified(self, area: float) -> dict[str, list[Ring]]:
        """Rings without the points that change less than this doubled area, and without islands
        that have less; every region keeps one ring."""
        kept = {
            key: tuple(p for p, weight in zip(key, weights, strict=True) if weight >= area)
            for key, weights in self._arcs.items()
        }
        found = {}
        for name, rings in self._rings.items():
            drawn = [_joined(ring, kept) for ring in rings]
            sized = sorted(((_area(ring), ring) for ring in drawn), reverse=True)
            large = [ring for size, ring in sized if size >= max(area, 1)]
            first = [ring for size, ring in sized[:1] if size]
            found[name] = large or first or [self._bounds[name]]
        return found


def _distinct(ring: Sequence[Point]) -> Ring:
    """A ring without points that follow themselves, nor the first one at the end."""
    kept = [at for before, at in zip((None, *ring), ring, strict=False) if at != before]
    while len(kept) > 1 and kept[-1] == kept[0]:
        kept.pop()
    return tuple(kept)


def _rectangle(rings: Sequence[Ring]) -> Ring:
    """Around all rings: what is smaller than the grid is shown as one of its squares."""
    xs, ys = ([point[axis] for ring in rings for point in ring] for axis in (0, 1))
    left, top, right, bottom = min(xs), min(ys), max(xs), max(ys)
    right, bottom = max(right, left + 1), max(bottom, top + 1)
    return ((left, top), (right, top), (right, bottom), (left, bottom))


def _junctions(rings: Iterable[Ring]) -> set[Point]:
    """Points where rings part: their neighbours there are not the same."""
    neighbours: dict[Point, tuple[Point, Point]] = {}
    found = set()
    for ring in rings:
        for before, at, after in zip(ring[-1:] + ring, ring, ring[1:] + ring[:1], strict=False):
            pair = (before, after) if before < after else (after, before)
            if neighbours.setdefault(at, pair) != pair:
                found.add(at)
    return found


def _arcs(ring: Ring, ends: set[Point]) -> list[Ring]:
    """A ring in pieces from junction to junction; a ring without any is one piece."""
    cuts = [n for n, point in enumerate(ring) if point in ends]
    if not cuts:
        # Where it begins must not depend on the region that has it.
        cuts = [ring.index(min(ring))]
    turned = ring[cuts[0] :] + ring[: cuts[0]]
    at = [cut - cuts[0] for cut in cuts] + [len(ring)]
    closed = (*turned, turned[0])
    return [closed[start : end + 1] for start, end in pairwise(at)]


def _joined(ring: Sequence[tuple[Ring, bool]], kept: Mapping[Ring, Ring]) -> Ring:
    points: list[Point] = []
    for key, turned in ring:
        arc = kept[key]
        points += (arc[::-1] if turned else arc)[:-1]
    return tuple(points)


def _weights(arc: Ring) -> list[float]:
    """For each point the area above which it is left out (Visvalingam and Whyatt, 1993).

    The ends stay, and of a closed arc two more, so that it keeps an area.
    """
    weights = [_NEVER] * len(arc)
    fixed = {0, len(arc) - 1, *(_corners(arc) if arc[0] == arc[-1] else ())}
    before = list(range(-1, len(arc) - 1))
    after = list(range(1, len(arc) + 1))

    def lost(n: int) -> int:
        return _doubled(arc[before[n]], arc[n], arc[after[n]])

    heap = [(lost(n), n) for n in range(len(arc)) if n not in fixed]
    heapq.heapify(heap)
    current = {n: area for area, n in heap}
    least = 0
    while heap:
        area, n = heapq.heappop(heap)
        if current.get(n) != area:
            continue
        del current[n]
        # A point is not left out before one that was worth less.
        weights[n] = least = max(least, area)
        left, right = before[n], after[n]
        after[left], before[right] = right, left
        for each in (left, right):
            if each in current:
                current[each] = lost(each)
                heapq.heappush(heap, (current[each], each))
    return weights


def _corners(arc: Ring) -> tuple[int, int]:
    """The point that is farthest from the beginning, and the one farthest from both."""
    x, y = arc[0]
    far = max(range(len(arc)), key=lambda n: (arc[n][0] - x) ** 2 + (arc[n][1] - y) ** 2)
    third = max(range(len(arc)), key=lambda n: _doubled(arc[0], arc[n], arc[far]))
    return far, third


def _doubled(a: Point, b: Point, c: Point) -> int:
    """Twice the area of a triangle."""
    return abs((b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1]))


def _area(ring: Ring) -> int:
    """Twice the area of a ring."""
    following = ring[1:] + ring[:1]
    return abs(sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(ring, following, strict=True)))
