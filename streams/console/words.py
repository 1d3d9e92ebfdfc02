"""The console's languages: English in the code, and a file of texts for each other one.

A language is `console-CODE.json`: its own name and its direction, and the text for each English
text, with what differs in braces. What the gateway says too is in the gateway's files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Final, Literal

import msgspec

from streams.console.sessions import Session
from streams.errors import SettingsError
from streams.gateway.server_words import ENGLISH, ServerWords

_FILE: Final = re.compile(r"console-([a-z]{2,3})\.json")
_TODO: Final = "It has `name` and `words`, as streams/console/static/console-fr.json"


class LanguageFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of texts."""

    name: str
    """Of the language, in itself."""
    words: dict[str, str]
    """English text -> text."""
    direction: Literal["ltr", "rtl"] = "ltr"


class Languages:
    """The languages that the console speaks.

    Args:
        tables: code -> texts of the console.
        of_gateway: code -> texts of the gateway.
    """

    def __init__(
        self,
        tables: Mapping[str, LanguageFile],
        of_gateway: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self.tables = tables
        self.names = {ENGLISH: "English"} | {code: one.name for code, one in tables.items()}
        common = of_gateway or {}
        self.words = ServerWords(
            {code: {**common.get(code, {}), **one.words} for code, one in tables.items()}
        )

    def chosen(self, code: str, accepted: str) -> str:
        """The language for a choice of the operator's, or else for an `Accept-Language`."""
        return code if code in self.names else self.words.language_of(accepted)


def read_languages(
    further: str = "", of_gateway: Mapping[str, Mapping[str, str]] | None = None
) -> Languages:
    """The languages of the package, and those of a folder.

    Args:
        further: the folder; empty: none.
        of_gateway: code -> texts of the gateway.

    Raises:
        SettingsError: a file has another form.
    """
    folders = [files("streams.console").joinpath("static"), *([Path(further)] if further else ())]
    tables = {}
    for entry in (each for folder in folders for each in folder.iterdir()):
        if (code := _FILE.fullmatch(entry.name)) is None:
            continue
        try:
            tables[code[1]] = msgspec.json.decode(entry.read_bytes(), type=LanguageFile)
        except msgspec.MsgspecError as error:
            raise SettingsError(
                f"The texts of the console in a language cannot be read: {error}",
                where={"file": entry.name},
                todo=_TODO,
            ) from error
    return Languages(tables, of_gateway)


@dataclass(frozen=True)
class Reader:
    """Who sees a page, and in which language."""

    languages: Languages
    language: str = ENGLISH
    session: Session | None = None
    """None before the login."""

    def say(self, text: str, /, **given: object) -> str:
        """A text in the reader's language, with values in its holes."""
        said = self.languages.words.said(text, self.language)
        return said.format(**given) if given else said

    def number(self, count: int) -> str:
        """A number with the language's separator of thousands."""
        return f"{count:,}".replace(",", self.say(","))

    @property
    def direction(self) -> str:
        """Of the language's script."""
        table = self.languages.tables.get(self.language)
        return "ltr" if table is None else table.direction


def moment(at: datetime) -> str:
    """A time in UTC, to the second."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
