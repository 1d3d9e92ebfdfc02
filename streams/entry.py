"""What the entry points that are not the CLI have in common."""

from __future__ import annotations

import gc
import sys

from streams.errors import SettingsError
from streams.settings import Settings, load_settings


def entry_settings() -> Settings:
    """The settings of this process, or one readable line and a named exit code."""
    try:
        return load_settings()
    except SettingsError as error:
        print(f"scrutin: {error}", file=sys.stderr)  # noqa: T201 - logging needs the settings
        print(f"exit {int(error.exit_code)} {error.exit_code.name}", file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_code)


def spare_startup() -> None:
    """Leave out what the start has loaded when Python looks for cycles; before the work begins."""
    gc.freeze()


def spare_collections() -> None:
    """Let Python look for cycles seldom; before the work begins.

    Thousands of votes are alive at any time, none of them in a cycle: looking after every 700
    objects, as is the default, takes a tenth of the CPU. Where little is alive, what waits in
    cycles would be most of the memory that grows.
    """
    spare_startup()
    gc.set_threshold(50_000, 20, 100)
