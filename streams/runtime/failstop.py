"""Fail-stop: an unexpected error ends the process before anything is committed.

Faust acknowledges an event whose agent raised and goes on, which would lose a vote. So the stages
end the process with a named exit code, and a supervisor restarts it.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import NoReturn

import structlog

from streams.errors import ExitCode, ScrutinError

log = structlog.get_logger(__name__)


def fail(error: BaseException, *, cause: BaseException | None = None) -> NoReturn:
    """Log the error and end the process at once, without commit or clean-up.

    Args:
        error: a :class:`ScrutinError` sets the exit code; any other error means `STAGE_FAILED`.
        cause: the original error.
    """
    code = error.exit_code if isinstance(error, ScrutinError) else ExitCode.STAGE_FAILED
    if cause is not None and error.__cause__ is None:
        error.__cause__ = cause
    log.critical(
        "the process ends",
        error=str(error) or type(error).__name__,
        exit_code=int(code),
        exit_name=code.name,
        exc_info=None if isinstance(error, ScrutinError) and cause is None else error,
    )
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
