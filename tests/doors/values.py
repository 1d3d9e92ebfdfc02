"""Bad values, by what a value stands for. Every check refuses all of its kind."""

from __future__ import annotations

from typing import Final

HIDDEN: Final = {
    "U+0000": "a\0b",
    "control character": "a\x1b[2Jb",
    "line feed": "a\nb",
    "zero width": "a\u200bb",
    "direction": "a\u202eb",
    "half of a pair": "a\ud800b",
}
"""Texts that do not show what they hold."""
ENDLESS: Final = {"a million characters": "x" * 1_000_000}
NUMBERS: Final = {
    "negative": "-1",
    "huge": "9" * 40,
    "NaN": "nan",
    "infinite": "inf",
    "no number": "1e",
    "U+0000": "1\0",
}
WORDS: Final = {**HIDDEN, **ENDLESS, "empty": "", "unknown": "no such word"}

BAD: Final[dict[str, dict[str, str]]] = {
    "contest": {**HIDDEN, **ENDLESS, "one byte over the bound": "é" * 132 + "x"},
    # Votes may come later in a contest of any name.
    "room": {
        "U+0000": HIDDEN["U+0000"],
        **ENDLESS,
        "one byte over the bound": "é" * 132 + "x",
    },
    "id": {**HIDDEN, **ENDLESS, "one byte over the bound": "é" * 128},
    "name": {**HIDDEN, **ENDLESS, "empty": ""},
    "text": {**HIDDEN, **ENDLESS},
    "lines": {k: v for k, v in {**HIDDEN, **ENDLESS}.items() if k != "line feed"},
    "hash": {**HIDDEN, **ENDLESS, "one byte over the bound": "é" * 64 + "x"},
    "wire id": {
        **{label: HIDDEN[label] for label in ("U+0000", "half of a pair")},
        **ENDLESS,
        "one byte over the bound": "é" * 128,
    },
    "wire hash": {
        **{label: HIDDEN[label] for label in ("U+0000", "half of a pair")},
        **ENDLESS,
        "one byte over the bound": "é" * 64 + "x",
        "empty": "",
    },
    "number": NUMBERS,
    "seconds": NUMBERS,
    "date": {
        **{k: f"2030-01-01{v}" for k, v in HIDDEN.items()},
        **ENDLESS,
        "no such day": "2030-02-30",
        "no such offset": "2030-01-01T00:00+99:00",
        "NaN": "nan",
        "a number": "9" * 40,
    },
    "wire date": {
        "U+0000": "2030-01-01\0",
        **ENDLESS,
        "no such day": "2030-02-30",
        "no such offset": "2030-01-01T00:00+99:00",
        "NaN": "nan",
        "a number": "9" * 40,
    },
    "word": WORDS,
    "secret": WORDS,
    "file": {**HIDDEN, **ENDLESS, "nowhere": "/nowhere/at/all"},
    "address": {**HIDDEN, **ENDLESS},
    "ignored": {**HIDDEN, **ENDLESS},
}
"""What a value stands for -> label -> bad value. What is `ignored` decides nothing and is not kept:
it may be anything, and breaks nothing. Messages of deployed publishers (`wire`) may hold characters
that nobody sees, as they always could; where such a text is shown, they are replaced."""

BODIES: Final[dict[str, bytes]] = {
    "empty": b"",
    "no JSON": b"{",
    "U+0000": b'{"a": "\0"}',
    "half of a pair": b'{"electionId": "\\ud800", "law_id": "\\ud800", "nas": "\\ud800"}',
    "not UTF-8": b'{"electionId": "\xff\xfe", "law_id": "\xff"}',
    "NaN": b'{"electionId": NaN}',
    "a list": b"[]",
    "a number": b"9" * 5000,
    "a list as text": b'{"electionId": [], "nas": [], "title": [], "mode": []}',
    "nested deeply": b"[" * 30_000 + b"]" * 30_000,
    "nested objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "a million characters": b'"' + b"x" * 1_000_000 + b'"',
}
