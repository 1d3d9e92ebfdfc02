"""`scrutin worker`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from streams.cli.extras import needs
from streams.cli.processes import become

needs("faust", "worker")

OPTIONS: dict[str, Any] = {
    "context_settings": {"allow_extra_args": True, "ignore_unknown_options": True}
}


def command(
    context: typer.Context,
    level: Annotated[
        str, typer.Option("--loglevel", "-l", help="debug, info, warning or error.")
    ] = "info",
) -> None:
    """Run a worker until SIGTERM: validates votes and counts them.

    The same as `faust -A topology worker -l info`; other options are handed to it. Settings come
    from environment variables.

    Examples:

        scrutin worker

        SCRUTIN_STAGES=tally scrutin worker --loglevel debug
    """
    become("faust", ["-A", "topology", "worker", "-l", level, *context.args])
