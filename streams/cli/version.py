"""`scrutin version`."""

from __future__ import annotations

import platform
from importlib.metadata import version
from importlib.resources import files

from streams.cli.show import JsonOption, console, write_json


def command(*, as_json: JsonOption = False) -> None:
    """Print the version of Scrutin, of Python and of the database's newest migration.

    Examples:

        scrutin version

        scrutin version --json
    """
    migrations = sorted(f.name for f in files("sql").iterdir() if f.name[:4].isdigit())
    found = {
        "scrutin": version("scrutin"),
        "python": platform.python_version(),
        "migration": migrations[-1].removesuffix(".sql"),
    }
    if as_json:
        write_json(found)
    else:
        console().print("\n".join(f"{name} {value}" for name, value in found.items()))
