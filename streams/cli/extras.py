"""Commands whose packages are not installed: they say what to install.

The command line alone is small. Processes, encrypted elections and Parquet files need extras of
`scrutin`; the local stack and the load generator are a distribution of their own, `scrutin-local`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Final

import typer

from streams.errors import NotInstalled

_LOCAL: Final = "scrutin-local"
_PROVIDERS: Final[Mapping[str, str]] = {
    "streams.devstack": _LOCAL,
    "streams.load": _LOCAL,
    "uvloop": _LOCAL,
    "faust": "scrutin[worker]",
    "numpy": "scrutin[worker]",
    "rocksdict": "scrutin[worker]",
    "cryptography": "scrutin[gateway]",
    "joserfc": "scrutin[console]",
    "gmpy2": "scrutin[tally]",
    "nacl": "scrutin[tally]",
    "pyarrow": "scrutin[parquet]",
}
"""Module -> the distribution and extra that bring it. Any other missing module is a fault."""

_ANYTHING: Final = {"allow_extra_args": True, "ignore_unknown_options": True}


def provider(error: ImportError) -> str | None:
    """What brings the module that was not found; None where no extra does."""
    name = error.name or ""
    if name.startswith("scrutin["):
        return name
    for module, package in _PROVIDERS.items():
        if name == module or name.startswith(f"{module}."):
            return package
    return None


def needs(module: str, extra: str) -> None:
    """Say what brings a module that a command needs in another process, unless it is here.

    Raises:
        ImportError: with the extra as its name, for :func:`provider`.
    """
    # Faust, once imported, is a module without a spec, at which find_spec raises.
    if module not in sys.modules and find_spec(module) is None:
        raise ImportError(f"no module named {module!r}", name=f"scrutin[{extra}]")


def not_installed(command: str, package: str) -> NotInstalled:
    """The error of a command that needs a package."""
    # A name alone would be looked up in a public registry, where it may be somebody else's.
    source = "./local" if package == _LOCAL else package.replace("scrutin", ".")
    return NotInstalled(
        f"`scrutin {command}` needs {package}, which is not installed",
        todo=f"In a checkout of Scrutin type: pip install '{source}'",
    )


def attach_missing(app: typer.Typer, command: str, package: str, heading: str) -> None:
    """Attach a command that is listed in the help, takes any arguments and raises the error."""

    @app.command(
        command,
        help=f"Needs {package}, which is not installed.",
        context_settings=_ANYTHING,
        add_help_option=False,
        rich_help_panel=heading,
    )
    def _missing() -> None:
        raise not_installed(command, package)
