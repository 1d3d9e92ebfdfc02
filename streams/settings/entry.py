"""Settings for the entry points other than the CLI."""

from __future__ import annotations

import sys

from streams.errors import SettingsError
from streams.settings.load import load_settings
from streams.settings.model import Settings


def entry_settings() -> Settings:
    """Load this process's settings; on an error print it and exit with a named code."""
    try:
        return load_settings()
    except SettingsError as error:
        print(f"scrutin: {error}", file=sys.stderr)  # noqa: T201 - logging needs the settings
        print(f"exit {int(error.exit_code)} {error.exit_code.name}", file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_code)
