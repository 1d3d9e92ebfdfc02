"""Makes a PNG of an SVG from standard input. A program of its own: it holds the GIL while it draws.

It ends with 3 where this machine has no fonts, because names would be missing.
"""

import os
import sys

import resvg_py

NO_FONTS = 3
_HEAD = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 20" width="40" height="20">'


def main() -> int:
    """Read, draw and write."""
    os.nice(10)
    drawn = [resvg_py.svg_to_bytes(svg_string=f"{_HEAD}{text}</svg>") for text in ("", _letter())]
    if drawn[0] == drawn[1]:
        return NO_FONTS
    svg = sys.stdin.buffer.read().decode()
    sys.stdout.buffer.write(resvg_py.svg_to_bytes(svg_string=svg))
    return 0


def _letter() -> str:
    return '<text x="5" y="15" font-family="DejaVu Sans, Noto Sans, Arial, sans-serif">a</text>'


if __name__ == "__main__":
    sys.exit(main())
