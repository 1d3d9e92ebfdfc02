"""Checks of what is typed, before any service is asked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, TypeVar

import typer

from streams.core.keys import is_contest_name
from streams.core.texts import is_plain
from streams.errors import SettingsError

T = TypeVar("T", str, list[str], str | None, list[str] | None)

MAX_ARGUMENT: Final = 4096
MAX_NUMBER: Final = 2**31 - 1
"""Of whole numbers."""
LONGEST_S: Final = 1e9


def check_arguments(arguments: Sequence[str]) -> None:
    """Check what is the same for all arguments of a command.

    Raises:
        SettingsError: one is too long, or holds characters that nobody sees.
    """
    for number, argument in enumerate(arguments, 1):
        if len(argument) > MAX_ARGUMENT:
            fault = f"is longer than {MAX_ARGUMENT:,} characters"
        elif not is_plain(argument, joiners=True):
            fault = "holds control characters or characters without width"
        else:
            continue
        raise SettingsError(f"Argument {number} {fault}", todo="Type it instead of pasting it")


def contest_name(given: T) -> T:
    """Names of contests, or of elections without their prefix."""
    for name in [given] if isinstance(given, str) else given or ():
        if not (is_contest_name(name) and is_plain(name)):
            raise typer.BadParameter("this cannot be the name of a contest")
    return given


def file_name(given: str) -> str:
    """A name that files are called after."""
    if not given or given.startswith(".") or "/" in given or not given.isprintable():
        raise typer.BadParameter("this cannot be the name of a file")
    return given


def finite(given: float) -> float:
    """A number that a clock or a rate can have."""
    if not math.isfinite(given) or given > LONGEST_S:
        raise typer.BadParameter(f"write a number up to {LONGEST_S:,.0f}")
    return given
