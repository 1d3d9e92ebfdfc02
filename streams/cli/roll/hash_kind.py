"""Whether a cell of a roll is one hash of the roll's kind, and why not. Pure."""

from __future__ import annotations

import re
import unicodedata
from enum import StrEnum
from typing import Final

_HEX: Final = re.compile(r"[0-9A-Fa-f]+")
_SIZES: Final = frozenset({32, 40, 56, 64, 96, 128})
"""Digits of MD5, SHA-1, SHA-224, SHA-256, SHA-384 and SHA-512."""

_ROUNDED: Final = re.compile(r"[+-]?\d+[.,]?\d*E[+-]?\d+", re.IGNORECASE)
_MAX_BYTES: Final = 128
_NEVER: Final = frozenset("\"'`;,|<>{}[]=")
"""Signs of another format around a hash."""


class HashKind(StrEnum):
    """What a roll's entries are."""

    HEX = "hex"
    """Hexadecimal digits, in all entries the same number."""
    TEXT = "text"
    """Any text without blanks, quotes and separators, at most 128 bytes."""


class HashCheck:
    """Checks the entries of one roll. The first one fixes their length.

    Args:
        kind: of all entries.
    """

    def __init__(self, kind: HashKind = HashKind.HEX) -> None:
        self._hex = kind is HashKind.HEX
        self._size = 0

    def looks_right(self, cell: str) -> bool:
        """Whether a cell could be an entry, regardless of the entries so far."""
        if self._hex:
            return len(cell) in _SIZES and _HEX.fullmatch(cell) is not None
        return not _text_fault(cell)

    def fault(self, cell: str) -> str:
        """What is wrong with an entry; empty: nothing. The cell itself is not quoted."""
        if not self._hex:
            return _text_fault(cell)
        if len(cell) == self._size and _HEX.fullmatch(cell):
            return ""
        if not self._size and self.looks_right(cell):
            self._size = len(cell)
            return ""
        return self._hex_fault(cell)

    def _hex_fault(self, cell: str) -> str:
        if fault := _any_fault(cell):
            return fault
        if cell[:2] in {"0x", "0X", "\\x"}:
            return f"it begins with {cell[:2]}: export the digits alone"
        if _ROUNDED.fullmatch(cell):
            return "a spreadsheet has rounded it to a number: make the column text and export again"
        if not _HEX.fullmatch(cell):
            odd = next(c for c in cell if not _HEX.fullmatch(c))
            return (
                f"{odd!r} is no hexadecimal digit; if the entries of this roll are other texts, "
                "add --kind text"
            )
        if self._size:
            return f"it has {len(cell)} digits, and the first hash has {self._size}"
        return f"it has {len(cell)} digits, and a SHA-256 hash has 64"


def _text_fault(cell: str) -> str:
    if fault := _any_fault(cell):
        return fault
    if len(cell.encode(errors="surrogateescape")) > _MAX_BYTES:
        return f"it has more than {_MAX_BYTES} bytes"
    odd = next((c for c in cell if c.isspace() or c in _NEVER), "")
    return f"a hash has no {odd!r} in it" if odd else ""


def _any_fault(cell: str) -> str:
    if not cell:
        return "there is no hash"
    for sign in cell:
        if "\udc80" <= sign <= "\udcff":
            return "it is not UTF-8 (perhaps Latin-1 or Windows-1252): save the file as UTF-8"
        if unicodedata.category(sign) in {"Cf", "Cc", "Zl", "Zp"}:
            return f"it has an invisible character, U+{ord(sign):04X}"
    return ""
