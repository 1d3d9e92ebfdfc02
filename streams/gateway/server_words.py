"""Texts of the gateway in the languages of its pages: problems, faults of forms, titles of pages.

The gateway has them in English. The file of a language, `language-CODE.js`, may have others in its
object `server`, and words of pictures in `pictures`; both are JSON. Status, type and title of a
problem are for programs and stay.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Final, TypeVar

import msgspec

from streams.elections.reports.drawings import ENGLISH as ENGLISH_PICTURES
from streams.elections.reports.drawings import DrawingWords
from streams.errors import SettingsError
from streams.gateway.problems import Problem

Kind = TypeVar("Kind")
ENGLISH: Final = "en"
_LINES: Final = re.MULTILINE | re.DOTALL
_HOLE: Final = re.compile(r"\\\{(\w+)\\\}")
_MAX_ACCEPTED: Final = 10


def read_words(name: str, content: bytes) -> dict[str, str]:
    """Texts of the gateway in the file of a language; none if it has none.

    Args:
        name: of the file.
        content: of the file.

    Raises:
        SettingsError: they are no JSON object of texts.
    """
    return _object_in(name, content, "server", dict[str, str]) or {}


def read_picture_words(name: str, content: bytes) -> DrawingWords | None:
    """Words of pictures in the file of a language; None if it has none.

    Args:
        name: of the file.
        content: of the file.

    Raises:
        SettingsError: they are not all, or have other places for what differs.
    """
    found = _object_in(name, content, "pictures", DrawingWords)
    for field in fields(ENGLISH_PICTURES) if found else ():
        own, known = getattr(found, field.name), getattr(ENGLISH_PICTURES, field.name)
        if isinstance(known, str) and _places(own) != _places(known):
            raise _unreadable(name, "pictures", f"{field.name} has other places than {known!r}")
    return found


def _places(text: str) -> list[str]:
    return re.findall(r"\{[^}]*\}?|\}", text)


def _object_in(name: str, content: bytes, which: str, kind: type[Kind]) -> Kind | None:
    found = re.search(rf"^export const {which} = (\{{.*?^\}});".encode(), content, _LINES)
    try:
        return msgspec.json.decode(found[1], type=kind) if found else None
    except msgspec.DecodeError as error:
        raise _unreadable(name, which, str(error)) from error


def _unreadable(name: str, which: str, why: str) -> SettingsError:
    return SettingsError(
        f"The texts of the gateway in a language cannot be read: {why}",
        where={"file": name},
        todo=f"Its object `{which}` is JSON, as in language-fr.js",
    )


class ServerWords:
    """Texts by language.

    Args:
        languages: code -> English text, with what differs in braces -> text.
    """

    def __init__(self, languages: Mapping[str, Mapping[str, str]]) -> None:
        self._languages = {ENGLISH, *languages}
        self._exact: dict[str, Mapping[str, str]] = dict(languages)
        self._patterns = {
            # The longest first: `Open {contest}` is also the beginning of another text.
            code: [
                (_pattern(text), words[text])
                for text in sorted(words, key=len, reverse=True)
                if "{" in text
            ]
            for code, words in languages.items()
        }

    def language_of(self, accepted: str) -> str:
        """The language for an `Accept-Language`; English if none fits."""
        weighed = []
        for number, part in enumerate(accepted.split(",")[:_MAX_ACCEPTED]):
            tag, _, weight = part.partition(";q=")
            code = tag.strip().partition("-")[0].lower()
            try:
                quality = float(weight or 1)
            except ValueError:
                quality = 0.0
            if code in self._languages and quality > 0:
                weighed.append((-quality, number, code))
        return min(weighed)[2] if weighed else ENGLISH

    def said(self, text: str, language: str) -> str:
        """A text in a language; as it is if the language does not have it."""
        words = self._exact.get(language, {})
        if text in words:
            return words[text]
        for pattern, own in self._patterns.get(language, ()):
            if found := pattern.fullmatch(text):
                return own.format(**found.groupdict())
        return text

    def localised(self, problem: Problem, accepted: str) -> Problem:
        """A problem in the language that the caller asks for."""
        language = self.language_of(accepted)
        if language == ENGLISH:
            return problem
        faults = {
            field: [self.said(fault, language) for fault in texts]
            for field, texts in problem.faults.items()
        }
        detail = self.said(problem.detail, language)
        for field, texts in problem.faults.items():
            if problem.detail == f"{field} {texts[0]}":
                detail = f"{field} {faults[field][0]}"
        headers = {**problem.headers, "Content-Language": language}
        return Problem(problem.status, detail, headers=headers, faults=faults)


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(_HOLE.sub(r"(?P<\1>.+)", re.escape(text)), re.DOTALL)
