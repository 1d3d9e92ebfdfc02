"""A country of many regions, drawn by the test: their borders meet and are not straight."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

Position = tuple[float, float]
STEPS = 12
"""Points of a border between two corners."""


class Grid:
    """Regions in columns and rows between longitudes -5 and 10, latitudes 42 and 51.

    Args:
        columns: of regions.
        rows: of regions.
        noise: how far borders stray, in parts of a region.
    """

    def __init__(self, columns: int, rows: int, noise: float = 0.12) -> None:
        self.columns, self.rows = columns, rows
        self._wide, self._tall, self._noise = 15 / columns, 9 / rows, noise
        self._rng = random.Random(600)
        self._corners: dict[tuple[int, int], Position] = {}
        self._borders: dict[tuple[tuple[int, int], tuple[int, int]], list[Position]] = {}

    def _strayed(self, x: float, y: float) -> Position:
        return (
            -5 + x * self._wide + self._rng.uniform(-1, 1) * self._noise * self._wide,
            42 + y * self._tall + self._rng.uniform(-1, 1) * self._noise * self._tall,
        )

    def _corner(self, at: tuple[int, int]) -> Position:
        if at not in self._corners:
            self._corners[at] = self._strayed(*at)
        return self._corners[at]

    def _border(self, start: tuple[int, int], end: tuple[int, int]) -> list[Position]:
        """From a corner up to the next, without that; the same for both regions."""
        if start > end:
            return [*reversed([*self._border(end, start), self._corner(start)])][:-1]
        if (start, end) not in self._borders:
            between = [
                self._strayed(
                    start[0] + (end[0] - start[0]) * n / STEPS,
                    start[1] + (end[1] - start[1]) * n / STEPS,
                )
                for n in range(1, STEPS)
            ]
            self._borders[start, end] = [self._corner(start), *between]
        return self._borders[start, end]

    def ring(self, column: int, row: int) -> list[Position]:
        """The closed ring of a region."""
        corners = [(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)]
        at = [(column + x, row + y) for x, y in corners]
        points = [p for n in range(4) for p in self._border(at[n], at[n + 1])]
        return [*points, points[0]]

    def features(self, name: str = "code") -> Iterator[dict[str, Any]]:
        """A feature for each region, with codes R1, R2, … row by row."""
        for number in range(self.columns * self.rows):
            row, column = divmod(number, self.columns)
            yield feature([self.ring(column, row)], {name: f"R{number + 1}"})


def feature(rings: list[list[Position]], properties: dict[str, Any] | None) -> dict[str, Any]:
    """A polygon."""
    return {
        "type": "Feature",
        "properties": properties,
        "geometry": {"type": "Polygon", "coordinates": rings},
    }


def collection(features: list[dict[str, Any]]) -> dict[str, Any]:
    """A whole file."""
    return {"type": "FeatureCollection", "features": features}
