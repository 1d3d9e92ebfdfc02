"""The words that Scrutin's prose does not use, each with what to write instead.

`python -m tests.tools.prose` reads comments, docstrings and string literals of Python, comments of
SQL and JavaScript, and the whole text of every other file that people read. It prints file, line,
word and replacement, and ends with 1 if it found any.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]

REPLACEMENTS: Final[Mapping[str, str]] = {
    r"whoever": "who; the reader, the caller, anyone who",
    r"whatever becomes? of": "regardless of what happens to",
    r"what (?:became|becomes) of": "the outcome of",
    r"what of (?:it|them)": "which part of",
    r"what is not so": "what is wrong; the difference",
    r"anew": "again; rebuilt",
    r"(?:is|are|was|were|be|been|being) away": "is unavailable; does not answer",
    r"stay(?:s|ed)? away": "is absent; stays unavailable",
    r"the services before": "the replaced services",
    r"of ours": "our; Scrutin's",
    r"of theirs": "their",
    r"(?:tell|tells|told|telling) of": "report; describe",
    r"heed(?:s|ed|ing)?": "on_notice; follow",
    r"stand ?still|(?:stands|stood|standing) still": "pause; stall; stop",
    r"regimes?": "rules; VotingRules",
    r"timekeepers?": "contest scheduler",
    r"spellings?": "name; form",
    r"doubtful": "unconfirmed",
    r"for good": "permanently; finally",
    r"of whose": "whose",
    r"let(?:s|ting)? go of": "release",
    r"in hand": "in progress; held; in flight",
    r"(?<!look\x20)(?<!looks\x20)(?<!looked\x20)(?<!looking\x20)at it": "working on it; running",
    r"put(?:s|ting)? away": "archive",
    r"surplus votes?": "already-counted vote",
    r"last words": "final windows",
    r"commonest": "most common",
    r"as ever": "as before; unchanged",
    r"for want of": "because there is no",
    r"onlookers?": "observer",
    r"mend(?:s|ed|ing)?": "fix; repair",
    r"tally desk": "tally service",
    r"(?:our|its|their) own words": "our errors; translated",
    r"in our words": "translated into our errors",
    r"orderly end": "graceful shutdown",
    r"troubled": "degraded",
}
"""Pattern -> what to write. Patterns match whole words, in any case and across line ends."""

_BANNED: Final = re.compile(
    "|".join(rf"\b(?:{pattern})\b".replace(" ", r"\s+") for pattern in REPLACEMENTS),
    flags=re.IGNORECASE,
)
_EACH: Final = {
    re.compile(rf"(?:{pattern})".replace(" ", r"\s+"), flags=re.IGNORECASE): instead
    for pattern, instead in REPLACEMENTS.items()
}

CODE: Final = "\0"
"""Stands for a character that is not prose, so that no phrase is found across it."""

_TEXTS: Final = (".md", ".yaml", ".yml", ".json", ".html", ".toml", ".in", ".example", "Makefile")
_TEXT_FILES: Final = {"Dockerfile", "Dockerfile.dockerignore", "run"}
_THIS: Final = {"tests/tools/prose.py", "tests/unit/test_prose.py"}


@dataclass(frozen=True)
class Finding:
    """A word that is not used."""

    path: str
    line: int
    """From 1."""
    word: str
    instead: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.word!r}: write: {self.instead}"


def check(path: str, text: str) -> list[Finding]:
    """Find the words in one file; the path says in which language it is."""
    prose = _prose_of(path, text)
    return [
        Finding(path, prose.count("\n", 0, found.start()) + 1, word, _instead(found[0]))
        for found in _BANNED.finditer(prose)
        for word in [" ".join(found[0].split())]
    ]


def files(root: Path) -> Iterator[str]:
    """Files that are in the repository, or would be added to it, and that people read."""
    run = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(run, cwd=root, check=True, capture_output=True, text=True, timeout=60)
    for path in sorted(set(done.stdout.splitlines())):
        if path not in _THIS and _is_read(path) and (root / path).is_file():
            yield path


def main(root: Path = ROOT) -> int:
    """Check all files; returns the exit code."""
    found = [one for path in files(root) for one in check(path, (root / path).read_text("utf-8"))]
    for one in found:
        print(one)
    if found:
        print(f"prose: {len(found)} words to replace", file=sys.stderr)
    return 1 if found else 0


def _is_read(path: str) -> bool:
    return path.endswith((".py", ".sql", ".js", *_TEXTS)) or Path(path).name in _TEXT_FILES


def _instead(word: str) -> str:
    return next(instead for pattern, instead in _EACH.items() if pattern.fullmatch(word))


def _prose_of(path: str, text: str) -> str:
    """The text with code, quotes and comment signs blanked, so that offsets and lines stay."""
    if path.endswith(".py"):
        return _python(text)
    if path.endswith(".sql"):
        return _kept(text, re.compile(r"--[^\n]*|'(?:[^']|'')*'"), r"^--")
    if path.endswith(".js"):
        pattern = r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`"
        return _kept(text, re.compile(pattern, re.DOTALL), r"^//|^/\*|^\s*\*")
    return re.sub(r"^\s*#+", _spaces, text, flags=re.MULTILINE)


def _python(text: str) -> str:
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    blank = _blank(text)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        begin = starts[token.start[0] - 1] + token.start[1]
        end = starts[token.end[0] - 1] + token.end[1]
        kind = tokenize.tok_name[token.type]
        if token.type == tokenize.COMMENT:
            blank[begin : begin + len(token.string)] = " " + token.string[1:]
        elif token.type == tokenize.STRING:
            body = re.sub(r"^[a-zA-Z]*(\"\"\"|'''|\"|')|(\"\"\"|'''|\"|')$", _spaces, token.string)
            blank[begin : begin + len(token.string)] = body.replace("\\n", "  ")
        # From Python 3.12 on an f-string is several tokens.
        elif kind in {"FSTRING_START", "FSTRING_END"}:
            blank[begin:end] = " " * (end - begin)
        elif kind == "FSTRING_MIDDLE":
            blank[begin:end] = text[begin:end].replace("\\n", "  ")
    return "".join(blank)


def _kept(text: str, prose: re.Pattern[str], signs: str) -> str:
    blank = _blank(text)
    for found in prose.finditer(text):
        body = re.sub(signs, _spaces, found[0], flags=re.MULTILINE)
        blank[found.start() : found.end()] = body
    return "".join(blank)


def _blank(text: str) -> list[str]:
    return [each if each.isspace() else CODE for each in text]


def _spaces(found: re.Match[str]) -> str:
    return " " * len(found[0])


if __name__ == "__main__":
    sys.exit(main())
