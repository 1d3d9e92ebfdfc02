"""`python -m streams.gateway`: runs a gateway until SIGTERM."""

from __future__ import annotations

import sys

import structlog
import uvloop

from streams.errors import ExitCode, ScrutinError
from streams.gateway.process import serve
from streams.runtime.logs import configure_logging
from streams.runtime.memory import raise_gc_thresholds
from streams.settings.build import gateway_config
from streams.settings.load import load_settings


def main() -> int:
    """Run; returns the exit code."""
    try:
        settings = load_settings()
        configure_logging(settings.log_level, settings.log_format)
        raise_gc_thresholds()
        return uvloop.run(serve(gateway_config(settings)))
    except ScrutinError as error:
        if error.exit_code is ExitCode.STAGE_FAILED:
            structlog.get_logger(__name__).exception("gateway failed")
        print(f"scrutin gateway: {error}", file=sys.stderr)  # noqa: T201
        print(f"exit {int(error.exit_code)} {error.exit_code.name}", file=sys.stderr)  # noqa: T201
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
