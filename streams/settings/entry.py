"""How the entry points other than the CLI begin and end: arguments, settings, exit codes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import structlog
import uvloop

from streams.errors import ExitCode, ScrutinError, SettingsError
from streams.runtime.logs import configure_logging
from streams.runtime.memory import raise_gc_thresholds
from streams.settings.load import load_settings
from streams.settings.model import Settings


def entry_settings() -> Settings:
    """Load this process's settings; on an error print it and exit with a named code."""
    try:
        return load_settings()
    except SettingsError as error:
        sys.exit(_told("scrutin", error))


def run_process(
    module: str, purpose: str, serve: Callable[[Settings], Coroutine[Any, Any, ExitCode]]
) -> ExitCode:
    """Run a process that takes its settings from the environment until SIGTERM.

    Args:
        module: how it is started, `python -m MODULE`.
        purpose: what it does, for `--help`.
        serve: runs it with the settings.

    Returns:
        The exit code. `--help` and unknown arguments exit before anything is started.
    """
    _parser(module, purpose).parse_args()
    name = module.rpartition(".")[2]
    try:
        settings = load_settings()
        configure_logging(settings.log_level, settings.log_format)
        raise_gc_thresholds()
        return uvloop.run(serve(settings))
    except ScrutinError as error:
        if error.exit_code is ExitCode.STAGE_FAILED:
            structlog.get_logger(__name__).exception(f"{name} failed")
        return _told(f"scrutin {name}", error)


def _parser(module: str, purpose: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=f"{purpose} It runs until SIGTERM.",
        epilog=(
            "Settings come from environment variables; `scrutin settings` shows those in force. "
            f"Example: RABBITMQ_HOST=rabbit-1 LOG_LEVEL=DEBUG python -m {module}"
        ),
    )


def _told(who: str, error: ScrutinError) -> ExitCode:
    print(f"{who}: {error}", file=sys.stderr)  # noqa: T201 - logging needs the settings
    print(f"exit {int(error.exit_code)} {error.exit_code.name}", file=sys.stderr)  # noqa: T201
    return error.exit_code
