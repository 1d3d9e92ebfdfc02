"""Secrets that are in files, as container platforms hand them out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from streams.errors import SettingsError

_MAX_BYTES = 64 * 1024


def read_secret_files(given: Mapping[str, str], secrets: Sequence[str]) -> dict[str, str]:
    """Replace each NAME_FILE of a secret by NAME with what is in the file.

    A line break at the end is no part of it: editors and `echo` add one.

    Args:
        given: environment variables.
        secrets: names of those that are secret.

    Raises:
        SettingsError: a file cannot be read or is empty, or the variable is set too and differs.
    """
    found = dict(given)
    for name in secrets:
        variable = f"{name}_FILE"
        path = found.pop(variable, "")
        if not path:
            continue
        value = _read(variable, path)
        if found.get(name, "") not in {"", value}:
            raise SettingsError(
                "A secret and its file disagree",
                where={"variable": f"{name}, {variable}"},
                todo=f"Set only {variable}",
            )
        found[name] = value
    return found


def _read(variable: str, path: str) -> str:
    where: dict[str, object] = {"variable": variable, "file": path}
    try:
        with Path(path).open("rb") as file:
            raw = file.read(_MAX_BYTES)
        value = raw.decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        # The error's own text may hold the content.
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SettingsError(
            f"A secret's file cannot be read: {reason}",
            where=where,
            todo="Name a file that this process may read",
        ) from None
    if not value:
        raise SettingsError(
            "A secret's file is empty", where=where, todo="Write the secret into it"
        )
    return value
