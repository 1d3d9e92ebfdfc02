"""Texts that people read and type; pure."""

from __future__ import annotations

import unicodedata
from typing import Final

_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Control characters, formats (zero width, direction), halves of pairs, separators of lines."""
_JOINERS: Final = frozenset("\u200c\u200d")
"""Some scripts and emoji need them."""


def is_plain(text: str, *, joiners: bool = False, lines: bool = False) -> bool:
    """Whether a text shows all that it holds, in the order in which it holds it.

    Two names that look alike are then the same, and none of them changes a terminal or a page.

    Args:
        text: to check.
        joiners: whether it may hold characters that join letters, which a name may not.
        lines: whether it may have several lines.
    """
    if text.isascii() and text.isprintable():
        return True
    return all(
        unicodedata.category(c) not in _HIDDEN
        or (joiners and c in _JOINERS)
        or (lines and c in "\n\r\t")
        for c in text
    )


def seen_of(text: str) -> str:
    """What a reader sees of a text, in one line: hidden characters are left out.

    Characters that no XML document may hold (U+FFFE, U+FFFF) are left out too.
    """
    kept = []
    for c in text:
        if c in _JOINERS or (unicodedata.category(c) not in _HIDDEN and c not in "\ufffe\uffff"):
            kept.append(c)
        elif c.isspace():
            kept.append(" ")
    return "".join(kept)
