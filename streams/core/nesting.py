"""How deeply JSON is nested. Pure.

Parsers stop at a depth that differs between Python versions and with the stack in use: about 900
levels in Python 3.11, tens of thousands in 3.14. The reason for a rejection must not depend on it,
and recursion over a parsed value must not fail there.
"""

from __future__ import annotations

import re
from typing import Final

MAX_DEPTH: Final = 200
"""Deeper text is refused before it is parsed. Every supported Python parses this depth."""

_TOKEN: Final = re.compile(rb'"(?:[^"\\]+|\\.)*"?|[\[{]|[\]}]', re.DOTALL)


def too_deep(text: bytes) -> bool:
    """Whether lists and objects are nested deeper than :data:`MAX_DEPTH`, in JSON or in junk."""
    if text.count(b"[") + text.count(b"{") <= MAX_DEPTH:
        return False
    depth = 0
    for token in _TOKEN.finditer(text):
        sign = token[0]
        if sign in {b"[", b"{"}:
            depth += 1
            if depth > MAX_DEPTH:
                return True
        elif sign in {b"]", b"}"}:
            depth -= 1
    return False
