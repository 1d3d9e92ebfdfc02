"""Draws the figure `growth` as SVG: `python -m tests.bench.growth_plot FIGURES.json GROWTH.svg`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

_WIDTH: Final = 640
_HEIGHT: Final = 300
_LEFT: Final = 60
_RIGHT: Final = 150
_TOP: Final = 20
_BOTTOM: Final = 50
_COLOURS: Final = {"whole chain": "#1f4e79", "PostgreSQL": "#b5541c"}


def curves(sizes: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
    """CPU a vote by size, in microseconds."""
    return {
        "whole chain": [sum(one["cpu_us_per_vote"].values()) for one in sizes],
        "PostgreSQL": [one["cpu_us_per_vote"]["postgres"] for one in sizes],
    }


def draw(sizes: Sequence[dict[str, Any]]) -> str:
    """One curve for the whole chain and one for PostgreSQL, from 0 upwards."""
    found = curves(sizes)
    most = max(max(values) for values in found.values())
    step = (_WIDTH - _LEFT - _RIGHT) / max(1, len(sizes) - 1)

    def at(number: int, value: float) -> tuple[float, float]:
        height = _HEIGHT - _TOP - _BOTTOM
        return _LEFT + number * step, _HEIGHT - _BOTTOM - value / most * height

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
        ' font-family="sans-serif" font-size="13">',
        "<title>CPU a vote, by votes counted before</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
        f'<line x1="{_LEFT}" y1="{_HEIGHT - _BOTTOM}" x2="{_WIDTH - _RIGHT}"'
        f' y2="{_HEIGHT - _BOTTOM}" stroke="#888"/>',
        f'<text x="{_LEFT}" y="{_HEIGHT - 10}">votes counted before</text>',
        f'<text x="8" y="{_TOP - 5}">µs</text>',
    ]
    for number, one in enumerate(sizes):
        x, _ = at(number, 0)
        label = f"{one['size'] // 1_000_000} million" if one["size"] else "none"
        parts.append(f'<text x="{x:.0f}" y="{_HEIGHT - 30}" text-anchor="middle">{label}</text>')
    for name, values in found.items():
        places = [at(number, value) for number, value in enumerate(values)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        colour = _COLOURS[name]
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [
            f'<text x="{x:.1f}" y="{y - 7:.1f}" text-anchor="middle" fill="{colour}">{v:.1f}</text>'
            for (x, y), v in zip(places, values, strict=True)
        ]
        x, y = places[-1]
        parts.append(f'<text x="{x + 30:.0f}" y="{y + 4:.0f}" fill="{colour}">{name}</text>')
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    figures, drawing = map(Path, sys.argv[1:])
    drawing.write_text(draw(json.loads(figures.read_text())["growth"]["sizes"]))
