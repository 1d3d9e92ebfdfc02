"""Secrets read from files, as container platforms provide them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from streams.errors import SettingsError

_MAX_BYTES = 64 * 1024


def read_secret_files(given: Mapping[str, str], secrets: Sequence[str]) -> dict[str, str]:
    """Replace each NAME_FILE of a secret by NAME with the content of the file.

    Line breaks at the end are removed: editors and `echo` add one.

    Args:
        given: environment variables.
        secrets: names of the variables that hold secrets.

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
        # The error's text may contain the secret.
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SettingsError(
            f"The file of a secret cannot be read: {reason}",
            where=where,
            todo="Name a file that this process can read",
        ) from None
    if not value:
        raise SettingsError(
            "The file of a secret is empty", where=where, todo="Write the secret into it"
        )
    return value
