"""Loads settings from the environment, `.env` and secret files; errors name the variable."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from dotenv import dotenv_values
from pydantic import AliasChoices, SecretStr, ValidationError

from streams.errors import SettingsError
from streams.settings.checks import check_queues, check_services, check_test_settings
from streams.settings.model import Settings

_MAX_SECRET_BYTES: Final = 64 * 1024


def variables() -> dict[str, tuple[str, ...]]:
    """Map each field name to its environment variables, the preferred one first."""
    names: dict[str, tuple[str, ...]] = {}
    for field, info in Settings.model_fields.items():
        alias = info.validation_alias
        assert isinstance(alias, AliasChoices)
        names[field] = tuple(str(choice) for choice in alias.choices)
    return names


def secrets() -> tuple[str, ...]:
    """Variables that hold a secret; each can be given as a file instead, as NAME_FILE."""
    names = variables()
    return tuple(
        name
        for field, info in Settings.model_fields.items()
        if info.annotation is SecretStr
        for name in names[field]
    )


def load_settings(environ: Mapping[str, str] | None = None, dotenv: Path | None = None) -> Settings:
    """Read the settings from the environment, which takes precedence over `.env` in the folder.

    Raises:
        SettingsError: unknown `SCRUTIN_*`, malformed value, aliases that disagree, or settings
            that contradict each other; the message names the variables.
    """
    given: dict[str, str] = {}
    if environ is None:
        path = dotenv or Path(".env")
        if path.is_file():
            given.update({k: v for k, v in dotenv_values(path).items() if v is not None})
        given.update(os.environ)
    else:
        given.update(environ)
    given = _read_secret_files(given, secrets())
    _refuse_unknown(given)
    values = _one_value_each(given)
    try:
        settings = Settings(**values)  # type: ignore[arg-type]
    except ValidationError as error:
        raise _explain(error) from error
    check_queues(settings)
    check_services(settings)
    check_test_settings(settings)
    return settings


def _read_secret_files(given: Mapping[str, str], secrets: Sequence[str]) -> dict[str, str]:
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
        value = _secret_in(variable, path)
        if found.get(name, "") not in {"", value}:
            raise SettingsError(
                "A secret and its file disagree",
                where={"variable": f"{name}, {variable}"},
                todo=f"Set only {variable}",
            )
        found[name] = value
    return found


def _secret_in(variable: str, path: str) -> str:
    where: dict[str, object] = {"variable": variable, "file": path}
    try:
        with Path(path).open("rb") as file:
            raw = file.read(_MAX_SECRET_BYTES)
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


def _refuse_unknown(given: Mapping[str, str]) -> None:
    known = {name for names in variables().values() for name in names}
    unknown = sorted(
        name
        for name in given
        if name.startswith("SCRUTIN_")
        and not name.startswith("SCRUTIN_TEST_")
        and name not in known
    )
    if unknown:
        raise SettingsError(
            "Unknown settings",
            where={"variable": ", ".join(unknown)},
            todo="Correct or unset them; `.env.example` lists all",
        )


def _one_value_each(given: Mapping[str, str]) -> dict[str, str]:
    values: dict[str, str] = {}
    for field, names in variables().items():
        found = {name: given[name] for name in names if given.get(name, "") != ""}
        if len(set(found.values())) > 1:
            raise SettingsError(
                "Two names of the same setting disagree",
                where={"variable": ", ".join(found)},
                todo=f"Set only {names[0]}",
            )
        if found:
            values[field] = next(iter(found.values()))
    return values


def _explain(error: ValidationError) -> SettingsError:
    names = variables()
    faults = []
    for fault in error.errors():
        # pydantic reports the alias it tried, or the field name if it was populated by name.
        place = str(fault["loc"][0])
        variable = names[place][0] if place in names else place
        faults.append(f"{variable}: {fault['msg'][0].lower()}{fault['msg'][1:]}")
    return SettingsError(
        "; ".join(faults), todo="See `.env.example` for the meaning and default of each setting"
    )
